"""Complete JPEG files that lack their end marker, if every pixel is there.

libjpeg fills in missing data and only warns, and Pillow does not pass the warning on. Therefore the picture is decoded
with several continuations after the last byte of the file: if all give the same picture, no pixel depends on what is
missing. Pillow itself refuses such a file, unless something follows its data, such as the zeros of a preallocated file:
then it accepts the file, whatever is missing.

Other data behind the picture is decoded as part of the picture. The video of a motion photo and the trailer of Samsung
phones are left out, because they say where they begin. With other data it is unknown which of the last bytes are the
picture's.
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
"""Random bytes in place of what may be missing: enough to spoil an incomplete block."""
_COEFFICIENTS = 64
"""Coefficients of a block (ITU-T T.81, A.3.3)."""
_TAIL = 8
"""Last bytes of a picture that hold its last blocks: without them it changes, unless other data follow it."""


@dataclass(frozen=True)
class CompletedJpeg:
    """A JPEG with its end marker added. ends_alone: no data followed the picture that may be taken for its pixels."""

    data: bytes
    ends_alone: bool


def lacks_end(data: bytes) -> bool:
    """Return whether a file is a JPEG that ends in the data of its picture, without an end marker."""
    if data.endswith(_END):
        return False  # nothing follows the picture, and coded data ends at the first marker
    return _last_coded(_without_trailers(data)) is not None


def add_end(data: bytes, decode: Callable[[bytes], Image.Image]) -> CompletedJpeg | None:
    """Add the end marker that a JPEG lacks; None for other files, and if pixels are missing.

    decode: decodes a complete file; it may raise what Pillow raises.
    """
    data = _without_trailers(data)
    coded = _last_coded(data)
    if coded is None or not _has_all_scans(data):
        return None
    picture = _without_padding(data)
    continuations = _continuations(data[coded.start :])
    first = _digest(picture + continuations[0], decode)
    if any(_digest(picture + more, decode) != first for more in continuations[1:]):  # stops at the first that differs
        return None
    complete = _digest(picture, decode)
    if not complete:
        return None
    needs_tail = any(_digest(picture[:-_TAIL] + more, decode) != complete for more in reversed(continuations))
    return CompletedJpeg(picture + _END, ends_alone=needs_tail)


def _without_trailers(data: bytes) -> bytes:
    """Remove a Samsung trailer, and an MP4 video whose boxes reach to the end of the file."""
    data = _without_samsung(data)
    at = data.find(b"ftyp") - 4
    boxes = list(iter_boxes(data, at, len(data))) if at > 2 else []
    return data[:at] if len(boxes) > 1 and boxes[-1].stop == len(data) else data


def _without_samsung(data: bytes) -> bytes:
    """Remove the trailer of Samsung phones.

    A directory at its end, from `SEFH` to `SEFT`, says for each block how far before the directory it begins; the entry
    and its block begin with the same four bytes (as in ExifTool, `Samsung.pm`). A trailer in which they differ stays.
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
    """Return the coded data in which a file ends; None if it ends elsewhere, or has its end marker."""
    last = None
    try:
        for segment in jpeg.iter_coded(data):
            last = segment
    except ValueError:
        if last is not None and last.marker == jpeg.START_OF_SCAN and last.stop < len(data):
            return jpeg.Segment(0, last.stop, len(data))
    return None


def _has_all_scans(data: bytes) -> bool:
    """Return whether every component has all its coefficients to the last bit, by the headers of the scans."""
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


def _without_padding(data: bytes) -> bytes:
    """Remove bytes that a memory card or a download leaves where nothing was written, and half a marker.

    One zero may belong to the picture: as a byte of its own, or after a stuffed 0xFF (T.81, F.1.2.3).
    """
    kept = data.rstrip(b"\xff")
    bare = kept.rstrip(b"\0")
    if len(kept) - len(bare) <= 1:
        return kept
    return bare + b"\0" if bare.endswith(b"\xff") else bare


def _continuations(coded: bytes) -> tuple[bytes, ...]:
    """Return what may follow the coded data: nothing, noise, and noise after the next restart marker."""
    markers = sum(coded.count(bytes((0xFF, 0xD0 + n))) for n in range(8))
    restart = bytes((0xFF, 0xD0 + markers % 8))
    noises = [bytes(random.Random(seed).choices(range(255), k=_NOISE)) for seed in range(3)]
    return (
        b"",
        *(bytes((start,)) + noise for start, noise in zip((0x2A, 0x9C, 0xE1), noises, strict=True)),
        restart + noises[0],
    )


def _digest(coded: bytes, decode: Callable[[bytes], Image.Image]) -> bytes:
    """Hash the picture of a file without its end marker; b"" if it cannot be decoded."""
    try:
        return hashlib.sha256(decode(coded + _END).tobytes()).digest()
    except (OSError, ValueError, SyntaxError):
        return b""
