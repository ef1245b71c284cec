"""Open stored pictures with Pillow, and decode their pixels at full size or, of a JPEG, at a fraction of its sides."""

import io
import zlib
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageFile, PngImagePlugin

from engine.core.errors import PhotoError
from engine.photos.metadata.containers import PNG_SIGNATURE, iter_chunks
from engine.photos.metadata.jpeg import Scans, read_scans
from engine.photos.pixels import shrink

MOST_PIXELS = 200_000_000
"""Larger pictures are refused, except a JPEG in one scan, which can be decoded at a fraction of its size.

Pillow takes 4 bytes per pixel, and turning or flattening needs a second picture: 1.6 GB at this size.
"""
MOST_AT_FULL_SIZE = 100_000_000
"""Larger pictures are reduced to a fraction of their sides, which is still more than any model uses.

JPEGs are decoded at 1/2, 1/4 or 1/8; others are decoded whole and reduced, because a batch holds several.
"""
_MOST_SCANNED = 5_000_000_000
"""Most pixels times scans of a JPEG. An ordinary one of 200 megapixels has ten scans; each takes a second or two."""
_JPEG_FACTORS = (1, 2, 4, 8)
"""Factors by which libjpeg can reduce the sides of a picture while it decodes it."""
_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "HEIF", "TIFF", "GIF", "BMP", "JPEG2000", "PPM", "PSD", "DIB")
"""Formats of Pillow that are decoded, whatever the name of a file says.

AVIF is before HEIF, whose reader opens AVIF files but cannot decode them. DIB, which is BMP without its file header, is
last because only four bytes identify it. Left out are formats that run other programs (EPS) or hold no photos.
"""


def open_picture(data: bytes) -> Image.Image:
    """Open the picture in a file's bytes; its pixels are not decoded yet."""
    _register_heif()
    Image.MAX_IMAGE_PIXELS = None  # `load_pixels` checks the size, with a message of ours
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    return Image.open(io.BytesIO(_without_ballast(data)), formats=_FORMATS)


def _register_heif() -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()


def _without_ballast(data: bytes) -> bytes:
    """Return a PNG without texts and without an overlong profile, because of which Pillow would refuse the picture."""
    if data[:8] != PNG_SIGNATURE:
        return data
    kept, at = [], 0
    for kind, start, stop in iter_chunks(data):
        if kind in (b"iTXt", b"zTXt", b"tEXt") or (kind == b"iCCP" and _is_overlong(data[start:stop])):
            kept.append(data[at : start - 8])
            at = stop + 4
    return b"".join([*kept, data[at:]]) if kept else data


def _is_overlong(profile: bytes) -> bool:
    most = PngImagePlugin.MAX_TEXT_CHUNK
    try:
        return len(zlib.decompressobj().decompress(profile.partition(b"\0")[2][1:], most + 1)) > most
    except zlib.error:
        return True


@dataclass(frozen=True)
class SizeLimits:
    """How large pictures are decoded.

    most_pixels: pictures with more are refused, but for JPEGs in one scan. edge: least longer side, in pixels, to which
    a picture may be reduced, the shorter one not below half of it: models that take squares squash wide photos. None
    for all its pixels.
    """

    most_pixels: int = MOST_PIXELS
    edge: int | None = None

    def reduced(self, image: Image.Image) -> Image.Image:
        """Return a decoded picture reduced to 1/2, 1/3, … of its sides, if it is larger than is needed."""
        factor = self._most(image.size)
        return image.reduce(factor) if factor > 1 else image

    def _most(self, size: tuple[int, int]) -> int:
        """Return the largest factor by which the sides of a picture may be reduced."""
        if not self.edge:
            return 1
        return max(1, min(max(size) // self.edge, 2 * min(size) // self.edge))

    def jpeg_factor(self, size: tuple[int, int]) -> int:
        """Return the factor by which the sides of a JPEG are reduced while it is decoded: 1, 2, 4 or 8."""
        pixels = size[0] * size[1]
        least = next(f for f in _JPEG_FACTORS if pixels <= f * f * MOST_AT_FULL_SIZE or f == _JPEG_FACTORS[-1])
        return max(least, *(f for f in _JPEG_FACTORS if f <= self._most(size)))


def within_most(image: Image.Image) -> Image.Image:
    """Reduce a picture of more than `MOST_AT_FULL_SIZE` pixels."""
    return shrink(image, MOST_AT_FULL_SIZE)


def load_pixels(path: Path, opened: Image.Image, data: bytes, limits: SizeLimits) -> bool:
    """Decode the first frame of an opened picture; a JPEG that is larger than is needed at a fraction of its size.

    libjpeg leaves out the high frequencies then, which takes half the time or less (`Image.draft`).
    Returns whether the picture has as many pixels as without `limits.edge`.

    Raises:
        PhotoError: it has too many pixels or scans.
    """
    pixels = opened.width * opened.height
    is_jpeg = opened.format in ("JPEG", "MPO")
    scans = read_scans(data) if is_jpeg else Scans(1, held=True)
    if pixels > limits.most_pixels and scans.held:
        raise PhotoError(
            f"{path}: {pixels / 1e6:.0f} megapixels, more than {limits.most_pixels / 1e6:.0f}",
            hint="Give myvlm a smaller copy.",
        )
    if pixels * scans.count > _MOST_SCANNED and scans.held:
        raise PhotoError(f"{path}: too many scans to decode", hint="Give myvlm a copy saved anew.")
    factor = limits.jpeg_factor(opened.size) if is_jpeg else 1
    exact = factor == SizeLimits().jpeg_factor(opened.size)
    if factor > 1:
        opened.draft(None, (max(1, opened.width // factor), max(1, opened.height // factor)))
    opened.load()
    return exact or not is_jpeg
