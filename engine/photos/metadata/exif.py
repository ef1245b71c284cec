"""Read facts from the metadata of a photo: when and where it was taken, its orientation, the program that made it.

A date or place that EXIF lacks is taken from XMP and IPTC. Dates of the exposure (EXIF DateTimeOriginal, XMP
photoshop:DateCreated, IPTC DateCreated) come before those of digitising (EXIF DateTimeDigitized, xmp:CreateDate), these
before that of the last change (EXIF DateTime), and within each EXIF before XMP before IPTC: the order of the Metadata
Working Group (Guidelines for Handling Image Metadata 2.0, 3.2), of digiKam and of exiftool.
"""

import io
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

from engine.core.files import open_regular
from engine.photos.metadata.containers import Blocks, read_blocks
from engine.photos.metadata.iptc import read_iptc
from engine.photos.metadata.stored import FileSlices, Slices
from engine.photos.metadata.taken import first_date, naive, place_of_exif, place_of_xmp
from engine.photos.metadata.tiff import Tiff
from engine.photos.metadata.xmp import read_properties


@dataclass(frozen=True)
class Exif:
    """Facts from the metadata of a photo.

    orientation: EXIF 1..8 as stored; for HEIC and AVIF that of the container (`irot`, `imir`). taken: ISO 8601, as of
    `taken.read_date`. place: (latitude, longitude) in degrees. software: the program that made the file.
    """

    orientation: int = 1
    taken: str | None = None
    place: tuple[float, float] | None = None
    software: str = ""


def read_exif(data: Slices) -> Exif:
    """Read the facts from the bytes of a photo file; missing and damaged ones are left out."""
    return exif_of(read_blocks(data))


def exif_of(blocks: Blocks) -> Exif:
    """Extract the facts from the metadata of a file."""
    tags = _read_tags(blocks)
    return Exif(
        blocks.orientation, first_date(_dates(tags, blocks)), _place(tags, blocks), _text(tags, "Image Software")
    )


def read_taken(path: Path) -> datetime | None:
    """Read when a photo was taken, by the camera's clock and without an offset; only the metadata is read.

    None if the file does not say, or cannot be read.
    """
    exif = read_file(path)
    return naive(exif.taken) if exif.taken else None


def read_software(path: Path) -> str:
    """Read the program that made a photo; "" if the file does not say, or cannot be read. Only the metadata is read."""
    return read_file(path).software


def read_file(path: Path) -> Exif:
    """Read the facts from a photo file, of which only the metadata is read; none if it cannot be read."""
    try:
        with open_regular(path) as descriptor:
            return read_exif(FileSlices(descriptor))
    except (OSError, ValueError):
        return Exif()


def _read_tags(blocks: Blocks) -> dict[str, Any]:
    """Read the tags with exifread, by its names, if it takes bounded time. CR3 stores each directory separately."""
    import exifread

    logging.getLogger("exifread").setLevel(logging.CRITICAL)
    found: dict[str, Any] = {}  # values are exifread's IfdTag, which has no types
    for k, data in enumerate(blocks.tiffs):
        try:
            if Tiff(data).is_plain():
                file = cast(BinaryIO, _SliceFile(data))  # exifread only reads and seeks
                tags = exifread.process_file(file, details=False, extract_thumbnail=False)
                found |= {_CR3_NAMES.get((k, name), name): value for name, value in tags.items()}
        except Exception:  # noqa: BLE001  exifread raises many types on damaged files, which have no EXIF then
            continue
    return found


class _SliceFile(io.RawIOBase):
    """Slices in the form of a file, for libraries that read files."""

    def __init__(self, data: Slices) -> None:
        self._data = data
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the offset of the next read."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: len(self._data)}[whence]
        self._at = max(0, start + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes; all remaining ones if it is negative."""
        stop = len(self._data) if size is None or size < 0 else min(len(self._data), self._at + size)
        data = self._data[self._at : stop] if stop > self._at else b""
        self._at += len(data)
        return data


_CR3_NAMES = {  # exifread's names of tags in the second and third directory of a CR3 file, and their usual names
    (2, "Image Tag 0x0001"): "GPS GPSLatitudeRef",
    (2, "Image Tag 0x0002"): "GPS GPSLatitude",
    (2, "Image Tag 0x0003"): "GPS GPSLongitudeRef",
    (2, "Image Tag 0x0004"): "GPS GPSLongitude",
    (1, "Image OffsetTimeOriginal"): "EXIF OffsetTimeOriginal",
    (1, "Image OffsetTimeDigitized"): "EXIF OffsetTimeDigitized",
    (1, "Image OffsetTime"): "EXIF OffsetTime",
}
_XMP_EXIF = "{http://ns.adobe.com/exif/1.0/}"
_CREATED = "{http://ns.adobe.com/photoshop/1.0/}DateCreated"
_DIGITISED = "{http://ns.adobe.com/xap/1.0/}CreateDate"


def _text(tags: dict[str, Any], name: str) -> str:
    """Return the text of a tag up to its NUL; "" if it is absent."""
    value = tags.get(name, "")
    if isinstance(getattr(value, "values", None), list) and value.values and isinstance(value.values[0], int):
        return bytes(n & 0xFF for n in value.values[:100]).decode("latin-1").strip("\0 \t\r\n")  # stored as numbers
    return str(value).split("\0", 1)[0].strip(" \t\r\n")


def _dates(tags: dict[str, Any], blocks: Blocks) -> Iterator[tuple[str, str]]:
    """Yield the dates with their offsets, the most reliable first; XMP and IPTC are parsed only if they are needed."""
    offset = _text(tags, "EXIF OffsetTimeOriginal")
    yield _text(tags, "EXIF DateTimeOriginal"), offset
    yield _text(tags, "Image DateTimeOriginal"), offset  # TIFF/EP and CR3 store it here
    names = (f"{_XMP_EXIF}DateTimeOriginal", _CREATED, _DIGITISED, f"{_XMP_EXIF}DateTimeDigitized")
    xmp = read_properties(blocks.xmp, names)
    yield from ((xmp.get(name, ""), "") for name in names[:2])
    iptc = read_iptc(blocks.iptc)
    yield _iptc_date(iptc, 55), ""
    yield _text(tags, "EXIF DateTimeDigitized"), _text(tags, "EXIF OffsetTimeDigitized")
    yield _text(tags, "Image DateTimeDigitized"), _text(tags, "EXIF OffsetTimeDigitized")
    yield from ((xmp.get(name, ""), "") for name in names[2:])
    yield _iptc_date(iptc, 62), ""
    yield _text(tags, "Image DateTime"), _text(tags, "EXIF OffsetTime")


def _iptc_date(iptc: dict[int, tuple[str, ...]], number: int) -> str:
    """Return a date (CCYYMMDD) with its time (HHMMSS±HHMM), from datasets 2:55 and 2:60, or 2:62 and 2:63."""
    time = {55: 60, 62: 63}[number]
    return " ".join([*iptc.get(number, ())[:1], *iptc.get(time, ())[:1]])


def _place(tags: dict[str, Any], blocks: Blocks) -> tuple[float, float] | None:
    values = [getattr(tags.get(f"GPS GPS{name}"), "values", ()) for name in ("Latitude", "Longitude")]
    references = [_text(tags, f"GPS GPS{name}Ref") for name in ("Latitude", "Longitude")]
    place = place_of_exif((values[0], references[0]), (values[1], references[1]))
    if place is not None:
        return place
    names = (f"{_XMP_EXIF}GPSLatitude", f"{_XMP_EXIF}GPSLongitude")
    xmp = read_properties(blocks.xmp, names)
    return place_of_xmp(*(xmp.get(name, "") for name in names))
