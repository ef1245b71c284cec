"""What the camera wrote: when and where a photo was taken, and how the camera was held."""

import io
import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Exif:
    """Facts from EXIF; taken is ISO 8601 (with its offset when the camera wrote one), place (lat, lon) degrees."""

    orientation: int = 1
    taken: str | None = None
    place: tuple[float, float] | None = None
    software: str = ""


def read_exif(data: bytes) -> Exif:
    """Read EXIF from a photo file's bytes; whatever is missing or damaged is left out."""
    import exifread

    logging.getLogger("exifread").setLevel(logging.CRITICAL)
    try:
        tags = exifread.process_file(io.BytesIO(data), details=False, extract_thumbnail=False)
    except Exception:  # noqa: BLE001  exifread raises many types on damaged files; such a photo has no EXIF
        return Exif()
    software = str(tags.get("Image Software", "")).strip("\x00 ")
    return Exif(_orientation(tags), _taken(tags), _place(tags), software)


def _orientation(tags: dict[str, Any]) -> int:
    values = getattr(tags.get("Image Orientation"), "values", None)
    value = values[0] if isinstance(values, list) and values else 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _taken(tags: dict[str, Any]) -> str | None:
    for key, offset in (
        ("EXIF DateTimeOriginal", "EXIF OffsetTimeOriginal"),
        ("EXIF DateTimeDigitized", "EXIF OffsetTimeDigitized"),
        ("Image DateTime", "EXIF OffsetTime"),
    ):
        text = str(tags.get(key, "")).strip("\x00 ")
        try:
            found = datetime.strptime(text, "%Y:%m:%d %H:%M:%S").isoformat()
        except ValueError:
            continue
        zone = str(tags.get(offset, "")).strip("\x00 ")
        return found + zone if len(zone) == 6 and zone[0] in "+-" else found
    return None


def _place(tags: dict[str, Any]) -> tuple[float, float] | None:
    try:
        latitude = _degrees(tags["GPS GPSLatitude"].values, str(tags["GPS GPSLatitudeRef"]), "S")
        longitude = _degrees(tags["GPS GPSLongitude"].values, str(tags["GPS GPSLongitudeRef"]), "W")
    except (KeyError, AttributeError, IndexError, TypeError, ValueError, ZeroDivisionError):
        return None
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180) or (latitude, longitude) == (0.0, 0.0):
        return None
    return round(latitude, 6), round(longitude, 6)


def _degrees(values: list[Any], reference: str, negative: str) -> float:
    degrees, minutes, seconds = (float(v) for v in values[:3])
    found = degrees + minutes / 60 + seconds / 3600
    return -found if reference.strip("\x00 ").upper() == negative else found
