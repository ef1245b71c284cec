"""Walk through the segments of a JPEG file (ITU-T T.81, annex B)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from engine.photos.metadata.stored import Slices

START_OF_SCAN = 0xDA
END = 0xD9
APP0, APP1, APP2, APP13, APP14, APP15, COMMENT = 0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xEF, 0xFE
EXIF_MARK = b"Exif\0"
XMP_MARK = b"http://ns.adobe.com/xap/1.0/\0"
PHOTOSHOP_MARK = b"Photoshop 3.0\0"
PROFILE_MARK = b"ICC_PROFILE\0"
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of frame headers; the third of every four is progressive (T.81, table B.1)."""
_MOST_SEGMENTS = 20_000
"""Far more than any file has (a large ICC profile takes 200)."""
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A marker that ends coded data: not a stuffed 0xFF, not a restart (T.81, B.1.1.5)."""


@dataclass(frozen=True)
class Segment:
    """A marker and the range of its content, without the length field; `start` == `stop` if it has none."""

    marker: int
    start: int
    stop: int


def iter_segments(data: Slices) -> Iterator[Segment]:
    """Yield the segments up to and including the first start of scan; fewer if the file is damaged."""
    at, size = 2, len(data)
    for _ in range(_MOST_SEGMENTS):
        segment = _segment(data, at, size)
        if segment is None:
            return
        yield segment
        if segment.marker in (START_OF_SCAN, END):
            return
        at = segment.stop


def iter_coded(data: bytes) -> Iterator[Segment]:
    """Yield all segments of the picture up to its end marker, coded data with marker 0; later data is ignored.

    Raises:
        ValueError: the file is not a JPEG, or ends before its end marker.
    """
    if data[:2] != b"\xff\xd8":
        raise ValueError("not a JPEG file")
    at = 2
    for _ in range(_MOST_SEGMENTS):
        segment = _segment(data, at, len(data))
        if segment is None:
            break
        yield segment
        if segment.marker == END:
            return
        at = segment.stop
        if segment.marker == START_OF_SCAN:
            end = _SCAN_END.search(data, at)
            if end is None:
                break
            yield Segment(0, at, end.start())
            at = end.start()
    raise ValueError("a JPEG file without an end")


@dataclass(frozen=True)
class Scans:
    """How a JPEG is coded: the number of its scans, and whether a decoder must hold the whole picture in memory."""

    count: int
    held: bool


def read_scans(data: bytes) -> Scans:
    """Read how a JPEG is coded; of a damaged one as far as possible.

    libjpeg holds a picture as coefficients, two bytes per sample, before it makes any pixel, if it is progressive or
    its first scan lacks some components (`has_multiple_scans`); also if a smaller copy is requested.
    """
    try:
        count = sum(s.marker == START_OF_SCAN for s in iter_coded(data))
    except ValueError:
        count = data.count(bytes((0xFF, START_OF_SCAN)))
    components, held = 0, False
    for segment in iter_segments(data):
        if segment.marker in FRAMES and segment.stop - segment.start >= 6:
            components = data[segment.start + 5]
            held = held or segment.marker & 3 == 2
        elif segment.marker == START_OF_SCAN and segment.stop > segment.start:
            held = held or data[segment.start] < components
    return Scans(count, held)


def _segment(data: Slices, at: int, size: int) -> Segment | None:
    """Read the segment at an offset; None if there is none or it is damaged. size: of all the data."""
    head = data[at : at + 4]
    if head[:2] == b"\xff\xff":  # fill bytes before a marker; their number is not limited
        fill = data[at : at + 4096]
        at += len(fill) - len(fill.lstrip(b"\xff")) - 1
        head = data[at : at + 4]
    if len(head) < 2 or head[0] != 0xFF or head[1] in (0x00, 0xFF):
        return None
    marker = head[1]
    if marker == END or marker == 0x01 or 0xD0 <= marker <= 0xD8:
        return Segment(marker, at + 2, at + 2)
    length = int.from_bytes(head[2:4], "big")
    if len(head) < 4 or length < 2 or at + 2 + length > size:
        return None
    return Segment(marker, at + 4, at + 2 + length)
