"""Save storybook scenes as JPEG files with EXIF date, place and orientation."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from PIL import Image

from engine.core.boxes import Box
from engine.storybook.world.scenes import Picture, Scene, render

SOFTWARE = "myvlm storybook"
HEIGHT = 512
"""Height of the upright photos in pixels."""
_TURNS = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
"""For each EXIF orientation, the rotation from the upright picture to the stored one."""
_MAKE, _SOFTWARE, _ORIENTATION, _TIME, _EXIF, _GPS = 271, 305, 274, 306, 0x8769, 0x8825


@dataclass(frozen=True)
class DrawnPhoto:
    """A photo file of the storybook with its ground truth, in pixels of the upright photo.

    boxes[i]: of the whole individual i. faces[i]: of its face; None for animals and things.
    """

    path: Path
    scene: Scene
    boxes: tuple[Box, ...]
    faces: tuple[Box | None, ...]


def save_photo(
    scene: Scene,
    path: Path,
    *,
    taken: datetime | None = None,
    place: tuple[float, float] | None = None,
    orientation: int = 1,
    width: int = HEIGHT,
) -> DrawnPhoto:
    """Draw a scene and save it as a JPEG, rotated as a camera would store it.

    taken: date and time of the photo. place: latitude and longitude in degrees. orientation: EXIF value 1, 3, 6 or 8.
    width: of the upright photo in pixels; its height is `HEIGHT`.
    """
    picture = render(scene, width, HEIGHT, supersample=2)
    turn = _TURNS[orientation]
    stored = picture.image.transpose(turn) if turn is not None else picture.image
    path.parent.mkdir(parents=True, exist_ok=True)
    stored.save(path, "JPEG", quality=92, exif=_exif(taken, place, orientation))
    return _with_truth(path, picture)


def _with_truth(path: Path, picture: Picture) -> DrawnPhoto:
    """Return a photo file with the boxes of its picture."""
    boxes = tuple(Box(*b) for b in picture.boxes)
    faces = tuple(Box(*f.box) if f else None for f in picture.faces)
    return DrawnPhoto(path, picture.scene, boxes, faces)


def _exif(taken: datetime | None, place: tuple[float, float] | None, orientation: int) -> Image.Exif:
    """Return the EXIF tags: software, orientation, date, and GPS position."""
    exif = Image.Exif()
    exif[_MAKE], exif[_SOFTWARE], exif[_ORIENTATION] = "Storybook", SOFTWARE, orientation
    if taken:
        text = taken.strftime("%Y:%m:%d %H:%M:%S")
        exif[_TIME] = text
        exif.get_ifd(_EXIF)[36867] = text  # DateTimeOriginal
    if place:
        gps = exif.get_ifd(_GPS)
        gps[1], gps[2] = "N" if place[0] >= 0 else "S", _degrees(abs(place[0]))
        gps[3], gps[4] = "E" if place[1] >= 0 else "W", _degrees(abs(place[1]))
    return exif


def _degrees(value: float) -> tuple[float, float, float]:
    """Return degrees >= 0 as degrees, minutes and seconds."""
    minutes = (value - int(value)) * 60
    return float(int(value)), float(int(minutes)), round((minutes - int(minutes)) * 60, 2)
