"""JPEG files without their end marker: whether all pixels are there all the same."""

import hashlib
import io
import random

from PIL import Image, ImageFile

from engine.photos.blocks.jpeg import END, START_OF_SCAN, iter_coded, iter_segments

_EOI = bytes((0xFF, END))
_FILLS = tuple(
    random.Random(seed).randbytes(4096).replace(b"\xff", b"\xfe")
    for seed in range(8)  # 0xFF would begin a marker
)
"""What is put in place of coded data that may be missing: unlike bits, so that pixels that depend on them differ.
Eight, because a code that no table has ends a block alike for several of them.
"""
_COEFFICIENTS = 64
_MOST_PIXELS = 100_000_000
"""Of a larger picture without an end it is not found out whether it is whole."""


def has_end(data: bytes) -> bool:
    """Whether a JPEG has its end marker, whatever follows it."""
    try:
        return any(segment.marker == END for segment in iter_coded(data))
    except ValueError:
        return False


def with_end(data: bytes) -> bytes | None:
    """A JPEG that lacks its end marker with one; None when pixels are missing, too.

    libjpeg fills in missing pixels without telling its caller. Here the file is decoded with different bits where its
    end is: as long as any pixel of the last scan is missing, the pictures differ. Of a picture in several scans, all
    must have begun.
    """
    if not _is_covered(data):
        return None
    try:
        pictures = {_digest_of_pixels(data + fill + _EOI) for fill in _FILLS}
    except (OSError, SyntaxError, ValueError):
        return None
    return data + _EOI if len(pictures) == 1 else None


def _digest_of_pixels(data: bytes) -> bytes:
    """A digest of a JPEG's pixels.

    Raises:
        ValueError: it is too large to be decoded several times.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as opened:
        if opened.width * opened.height > _MOST_PIXELS:
            raise ValueError
        return hashlib.sha256(opened.tobytes()).digest()


def _is_covered(data: bytes) -> bool:
    """Whether the scans that are there hold every coefficient of every component, to its last bit (T.81, annex G)."""
    known: dict[int, list[bool]] = {}
    frame = next((data[s.start : s.stop] for s in iter_segments(data) if s.marker in (0xC0, 0xC1, 0xC2)), b"")
    if len(frame) < 6:
        return False
    components = frame[6 : 6 + 3 * frame[5] : 3]
    for scan in _scan_headers(data):
        count = scan[0] if scan else 0
        if len(scan) < 4 + 2 * count:
            return False
        first, last, bits = scan[1 + 2 * count : 4 + 2 * count]
        for component in scan[1 : 1 + 2 * count : 2]:
            exact = known.setdefault(component, [False] * _COEFFICIENTS)
            for k in range(first, min(last, _COEFFICIENTS - 1) + 1):
                exact[k] = bits & 15 == 0
    return bool(components) and all(all(known.get(c, [False])) for c in components)


def _scan_headers(data: bytes) -> list[bytes]:
    found = []
    try:
        for segment in iter_coded(data):
            if segment.marker == START_OF_SCAN:
                found.append(data[segment.start : segment.stop])
    except ValueError:
        pass
    return found
