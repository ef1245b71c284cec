"""Hash what decides the pixels of a photo, so that a rating written into its file does not make it another photo."""

import hashlib

from engine.core.files import sha256_of
from engine.photos.metadata import jpeg
from engine.photos.metadata.containers import PNG_SIGNATURE, iter_chunks, iter_riff, read_blocks

_COLORS = frozenset({b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"acTL", b"fcTL", b"fdAT"})
"""Ancillary PNG chunks that change the picture; all critical ones, which begin with a capital letter, do (PNG 3rd
edition, 5.4)."""
_PICTURES = frozenset({b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP"})
"""WebP chunks that decide the picture."""


def hash_content(data: bytes) -> str:
    """Return the hexadecimal SHA-256 of a JPEG, PNG or WebP without metadata, but with orientation and colour profile.

    JPEG: the segments up to the end marker without APPn and comments, but with the ICC profile, Adobe's colour
    transform (APP14), and whether there is a JFIF header (both choose the colour space). What follows the end marker
    (the video of a motion photo, the second picture of an MPO) is left out. Other formats, and files whose parts do not
    fit together, are hashed as a whole. Takes time linear in the size; never raises.
    """
    try:
        if data[:2] == b"\xff\xd8":
            parts = _jpeg_parts(data)
        elif data[:8] == PNG_SIGNATURE:
            parts = _png_parts(data)
        elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            parts = _webp_parts(data)
        else:
            return sha256_of(data)
    except ValueError:
        return sha256_of(data)
    digest = hashlib.sha256(b"orientation %d" % read_blocks(data).orientation)
    view = memoryview(data)
    for name, start, stop in parts:
        digest.update(b"\n%s %d " % (name, stop - start))
        digest.update(view[start:stop])
    return digest.hexdigest()


_Parts = list[tuple[bytes, int, int]]
"""Name, start and stop of each part that is hashed."""


def _jpeg_parts(data: bytes) -> _Parts:
    parts: _Parts = []
    for segment in jpeg.iter_coded(data):
        head = data[segment.start : min(segment.start + 12, segment.stop)]
        if segment.marker == jpeg.APP0:
            if head[:5] == b"JFIF\0":
                parts.append((b"JFIF", segment.start, segment.start))
            continue
        is_metadata = jpeg.APP0 < segment.marker <= jpeg.APP15 or segment.marker == jpeg.COMMENT
        if is_metadata and not _has_color(segment.marker, head):
            continue
        parts.append((b"%02x" % segment.marker, segment.start, segment.stop))
    return parts


def _has_color(marker: int, head: bytes) -> bool:
    profile = marker == jpeg.APP2 and head == jpeg.PROFILE_MARK
    return profile or (marker == jpeg.APP14 and head[:5] == b"Adobe")


def _png_parts(data: bytes) -> _Parts:
    parts = list(iter_chunks(data))
    kinds = {kind for kind, _, _ in parts}
    if not {b"IHDR", b"IDAT", b"IEND"} <= kinds:
        raise ValueError("a PNG file without an end")
    return [(kind, start, stop) for kind, start, stop in parts if kind in _COLORS or kind[:1].isupper()]


def _webp_parts(data: bytes) -> _Parts:
    chunks = list(iter_riff(data))
    parts = [(kind, start, stop) for kind, start, stop in chunks if kind in _PICTURES]
    if not {kind for kind, _, _ in parts} & {b"VP8 ", b"VP8L", b"ANMF"}:
        raise ValueError("a WebP file without a picture")
    if any(kind == b"ANIM" for kind, _, _ in parts):  # only an animation has a canvas, in its header
        parts += [(kind, start + 4, min(stop, start + 10)) for kind, start, stop in chunks if kind == b"VP8X"]
    return parts
