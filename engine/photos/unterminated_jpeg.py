"""JPEG files without their end marker: whether every pixel is there all the same.

libjpeg fills in what is missing and tells nobody but by a warning, which Pillow does not pass on. So the picture is
decoded with several continuations behind the file's last byte: if it is the same with all of them, no pixel depends on
what is missing. Pillow itself refuses such a file, unless something follows its data, such as the zeros of a
preallocated file: then it takes the file, whatever is missing.

Other data behind the picture are decoded as if they were the picture's. A motion photo's video and Samsung's trailer
say where they begin and are left out. With others, it stays open whether the picture's last bytes are its own.
"""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from engine.photos.metadata import jpeg
from engine.photos.metadata.bmff import iter_boxes

_END = bytes((0xFF, jpeg.END))
_NOISE = 512
"""Bytes that stand in for what may be missing: enough to spoil a block that is not whole."""
_COEFFICIENTS = 64
_TAIL = 8
"""Bytes at the end of which a picture without anything behind it needs some: they hold its last blocks."""


@dataclass(frozen=True)
class Mended:
    """A JPEG with its end marker put in; ends_alone: nothing followed the picture that may be taken for its pixels."""

    data: bytes
    ends_alone: bool


def lacks_end(data: bytes) -> bool:
    """Whether a file is a JPEG that ends in the data of a picture, without an end marker."""
    return _last_coded(_without_trailers(data)) is not None


def with_end(data: bytes, decode: Callable[[bytes], Image.Image]) -> Mended | None:
    """A JPEG with the end marker that it lacks; None for other files, and where pixels are missing.

    decode: from a whole file to pixels; it may raise what Pillow raises.
    """
    data = _without_trailers(data)
    coded = _last_coded(data)
    if coded is None or not _has_all_scans(data):
        return None
    kept = _without_filling(data)
    continuations = _continuations(data[coded.start :])
    first = _digest(kept + continuations[0], decode)
    if any(_digest(kept + more, decode) != first for more in continuations[1:]):  # stops at the first that differs
        return None
    whole = _digest(kept, decode)
    if not whole:
        return None
    needs_tail = any(_digest(kept[:-_TAIL] + more, decode) != whole for more in reversed(continuations))
    return Mended(kept + _END, ends_alone=needs_tail)


def _without_trailers(data: bytes) -> bytes:
    """A file without a Samsung trailer and without an MP4 video whose boxes reach to the file's end."""
    data = _without_samsung(data)
    at = data.find(b"ftyp") - 4
    boxes = list(iter_boxes(data, at, len(data))) if at > 2 else []
    return data[:at] if len(boxes) > 1 and boxes[-1].stop == len(data) else data


def _without_samsung(data: bytes) -> bytes:
    """A file without the trailer of Samsung's phones. A directory at its end, `SEFH` to `SEFT`, says of each block how
    far before it the block begins; both begin with the same four bytes (as in ExifTool, `Samsung.pm`). A trailer in
    which they do not stays.
    """
    at = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    if data[-4:] != b"SEFT" or at < 0 or data[at : at + 4] != b"SEFH":
        return data
    count = int.from_bytes(data[at + 8 : at + 12], "little")
    entries = data[at + 12 : min(at + 12 + 12 * count, len(data) - 8)]
    parts = [entries[k : k + 12] for k in range(0, len(entries), 12)]
    blocks = [(at - int.from_bytes(part[4:8], "little"), part[:4]) for part in parts]
    start = min((k for k, _ in blocks), default=at)
    is_sound = start >= 2 and all(data[k : k + 4] == kind for k, kind in blocks)
    return data[:start] if is_sound else data


def _last_coded(data: bytes) -> jpeg.Segment | None:
    """The coded data in which a file ends; None for one that ends elsewhere, or has its end marker."""
    last = None
    try:
        for segment in jpeg.iter_coded(data):
            last = segment
    except ValueError:
        if last is not None and last.marker == jpeg.START_OF_SCAN and last.stop < len(data):
            return jpeg.Segment(0, last.stop, len(data))
    return None


def _has_all_scans(data: bytes) -> bool:
    """Whether every component has all its coefficients to the last bit, as far as the headers of the scans promise."""
    components, is_progressive, bits = b"", False, dict[tuple[int, int], int]()
    try:
        for segment in jpeg.iter_coded(data):
            content = data[segment.start : segment.stop]
            if segment.marker in jpeg.FRAMES:
                components = content[6 : 6 + 3 * content[5] : 3]
                is_progressive = segment.marker & 3 == 2
            elif segment.marker == jpeg.START_OF_SCAN:
                first, last, approximation = content[1 + 2 * content[0] :][:3]
                band = range(first, min(last, _COEFFICIENTS - 1) + 1) if is_progressive else range(_COEFFICIENTS)
                low = approximation & 15 if is_progressive else 0
                bits |= {(c, k): low for c in content[1 : 1 + 2 * content[0] : 2] for k in band}
    except IndexError:
        return False
    except ValueError:  # the missing end, or a header cut short
        pass
    return bool(components) and all(bits.get((c, k)) == 0 for c in components for k in range(_COEFFICIENTS))


def _without_filling(data: bytes) -> bytes:
    """A file without what a card or a download leaves where nothing was written, and without half a marker.

    One zero may belong to the picture: as a byte of its own, or behind a stuffed 0xFF (T.81, F.1.2.3).
    """
    kept = data.rstrip(b"\xff")
    bare = kept.rstrip(b"\0")
    if len(kept) - len(bare) <= 1:
        return kept
    return bare + b"\0" if bare.endswith(b"\xff") else bare


def _continuations(coded: bytes) -> tuple[bytes, ...]:
    """Nothing, noise, and noise behind the restart marker that would be next."""
    markers = sum(coded.count(bytes((0xFF, 0xD0 + n))) for n in range(8))
    restart = bytes((0xFF, 0xD0 + markers % 8))
    noises = [bytes(random.Random(seed).choices(range(255), k=_NOISE)) for seed in range(3)]
    return (
        b"",
        *(bytes((start,)) + noise for start, noise in zip((0x2A, 0x9C, 0xE1), noises, strict=True)),
        restart + noises[0],
    )


def _digest(coded: bytes, decode: Callable[[bytes], Image.Image]) -> bytes:
    """What tells the picture of a file without its end marker from others; b"" where it cannot be decoded."""
    try:
        return hashlib.sha256(decode(coded + _END).tobytes()).digest()
    except (OSError, ValueError, SyntaxError):
        return b""
