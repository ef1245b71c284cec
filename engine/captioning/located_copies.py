"""Write copies of photos with the box of a located concept drawn on them; the photos themselves are never changed."""

import io
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from engine.core.boxes import Box
from engine.core.errors import EngineError, UsageError
from engine.core.files import read_bytes, write_atomically
from engine.photos.decode import Photo
from engine.photos.drawing import draw_boxes
from engine.photos.photo_file import LARGEST_FILE

_SOFTWARE, _MARK = 0x0131, "myvlm locate"
"""EXIF tag `Software` of drawings; a file without this mark is never replaced by one."""


def drawing_path(draw: Path, photo: Path, count: int, drawn: set[Path]) -> Path:
    """Return where a drawing goes: never over a file that is not such a drawing, nor over one of this run.

    draw: a folder, or a file for a single photo. count: how many photos there are. drawn: the drawings of this run.

    Raises:
        UsageError: that is a file which is no such drawing.
    """
    if count == 1 and draw.suffix and not draw.is_dir():
        target = draw
    else:
        names = (f"{photo.name}.located{n}.png" for n in ("", *(f"-{k}" for k in range(2, len(drawn) + 3))))
        target = next(t for n in names if (t := draw / n) not in drawn)
    if target.exists() and not _is_drawing(target):
        raise UsageError(
            f"--draw would replace {target}, which is no drawing of myvlm's", hint="Give another file or a folder."
        )
    return target


def _is_drawing(path: Path) -> bool:
    try:
        with Image.open(io.BytesIO(read_bytes(path, LARGEST_FILE))) as opened:
            return opened.getexif().get(_SOFTWARE) == _MARK
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError):
        return False


def draw_copy(photo: Photo, box: Box, name: str, target: Path) -> None:
    """Write a copy of a photo with a box, in pixels of the photo, drawn on it.

    Raises:
        EngineError: it cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        page = draw_boxes(photo.image, [(photo.in_image(box), name)])
        marks, data = Image.Exif(), io.BytesIO()
        marks[_SOFTWARE] = _MARK
        page.save(data, Image.registered_extensions().get(target.suffix.lower(), ""), exif=marks)
        write_atomically(target, data.getvalue())
    except (OSError, ValueError, KeyError) as err:
        raise EngineError(f"{target} cannot be written: {err}", hint="Give --draw a folder or a .png file.") from err
