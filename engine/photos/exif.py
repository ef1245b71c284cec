"""What the camera wrote: when and where a photo was taken, and how the camera was held."""

import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.files import open_regular
from engine.photos.blocks.containers import Blocks, read_blocks
from engine.photos.blocks.slices import FileSlices, SliceFile, Slices
from engine.photos.blocks.tiff import Tiff


@dataclass(frozen=True)
class Exif:
    """Facts from EXIF; taken is ISO 8601 (with its offset when the camera wrote one), place (lat, lon) degrees.

    orientation: EXIF 1..8 as stored; of HEIC and AVIF that of the container (`irot`, `imir`).
    """

    orientation: int = 1
    taken: str | None = None
    place: tuple[float, float] | None = None
    software: str = ""


def read_exif(data: Slices) -> Exif:
    """Read EXIF from a photo file's bytes; whatever is missing or damaged is left out."""
    return exif_of(read_blocks(data))


def exif_of(blocks: Blocks) -> Exif:
    """The facts in a file's metadata."""
    tags = _read_tags(blocks)
    return Exif(blocks.orientation, _taken(tags), _place(tags), _text(tags, "Image Software"))


def read_taken(path: Path) -> datetime | None:
    """When a photo was taken, by the camera's clock and without an offset; reads the file's metadata only.

    None where the file does not say, or cannot be read.
    """
    exif = _read_file(path)
    return datetime.fromisoformat(exif.taken).replace(tzinfo=None) if exif.taken else None


def read_software(path: Path) -> str:
    """The program that made a photo; "" where the file does not say, or cannot be read. Reads its metadata only."""
    return _read_file(path).software


def _read_file(path: Path) -> Exif:
    try:
        with open_regular(path) as descriptor:
            return read_exif(FileSlices(descriptor))
    except (OSError, ValueError):
        return Exif()


def _read_tags(blocks: Blocks) -> dict[str, Any]:
    """Exifread's tags by its names, of files that it reads in bounded time. CR3 has each directory by itself."""
    import exifread

    logging.getLogger("exifread").setLevel(logging.CRITICAL)
    found: dict[str, Any] = {}
    for k, data in enumerate(blocks.tiffs):
        try:
            if Tiff(data).is_plain():
                tags = exifread.process_file(SliceFile(data), details=False, extract_thumbnail=False)  # type: ignore[arg-type]
                found |= {_CR3_NAMES.get((k, name), name): value for name, value in tags.items()}
        except Exception:  # noqa: BLE001  exifread raises many types on damaged files; such a photo has no EXIF
            continue
    return found


_CR3_NAMES = {
    (2, "Image Tag 0x0001"): "GPS GPSLatitudeRef",
    (2, "Image Tag 0x0002"): "GPS GPSLatitude",
    (2, "Image Tag 0x0003"): "GPS GPSLongitudeRef",
    (2, "Image Tag 0x0004"): "GPS GPSLongitude",
    (1, "Image OffsetTimeOriginal"): "EXIF OffsetTimeOriginal",
}


def _text(tags: dict[str, Any], name: str) -> str:
    return str(tags.get(name, "")).strip("\0 \t\r\n")


def _taken(tags: dict[str, Any]) -> str | None:
    """The date of the shutter, of digitising, of the last change: the first that is there."""
    for name, offset in (
        ("EXIF DateTimeOriginal", "EXIF OffsetTimeOriginal"),
        ("Image DateTimeOriginal", "EXIF OffsetTimeOriginal"),  # TIFF/EP and CR3 keep it here
        ("EXIF DateTimeDigitized", "EXIF OffsetTimeDigitized"),
        ("Image DateTime", "EXIF OffsetTime"),
    ):
        try:
            found = datetime.strptime(_text(tags, name), "%Y:%m:%d %H:%M:%S").isoformat()
        except ValueError:
            continue
        return found + _zone(_text(tags, offset))
    return None


def _zone(text: str) -> str:
    try:
        datetime.strptime(text, "%z")
    except ValueError:
        return ""
    return text if len(text) == 6 else ""


def _place(tags: dict[str, Any]) -> tuple[float, float] | None:
    try:
        latitude = _degrees(tags["GPS GPSLatitude"].values, _text(tags, "GPS GPSLatitudeRef"), "S")
        longitude = _degrees(tags["GPS GPSLongitude"].values, _text(tags, "GPS GPSLongitudeRef"), "W")
    except (KeyError, AttributeError, IndexError, TypeError, ValueError, ZeroDivisionError):
        return None
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180) or (latitude, longitude) == (0.0, 0.0):
        return None
    return round(latitude, 6), round(longitude, 6)


def _degrees(values: list[Any], reference: str, negative: str) -> float:
    """Degrees of degrees, minutes and seconds, the last two of which may be absent (EXIF 2.32, 4.6.6)."""
    if not reference[0].isalpha() or not values:
        raise ValueError
    found = sum(float(part) / unit for part, unit in zip(values, (1, 60, 3600), strict=False))
    return -found if reference[0].upper() == negative else found
