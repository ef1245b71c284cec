"""Make the small pictures of pages: crops of regions, photos with a frame, thumbnails; as JPEG without metadata."""

import base64
import io

from PIL import Image, ImageDraw

from engine.core.boxes import Box

QUALITY = 82
MARGIN = 1.4
"""A crop is the region grown by this factor."""


def crop(image: Image.Image, box: Box, side: int) -> Image.Image:
    """Crop a region, in pixels of the image, with a margin around it; the longer side is at most `side` pixels."""
    x0, y0, x1, y1 = box.grown(MARGIN, *image.size).rounded()
    x0, y0 = min(x0, image.width - 1), min(y0, image.height - 1)
    return thumbnail(image.crop((x0, y0, max(x0 + 1, x1), max(y0 + 1, y1))), side)


def framed(image: Image.Image, box: Box, side: int, colour: str = "white") -> Image.Image:
    """Return a small copy of a picture with a region framed in a colour between black lines, visible anywhere.

    The frame can still be seen when the picture is shown at half its size.
    """
    small = thumbnail(image, side)
    small = small.copy() if small is image else small
    x0, y0, x1, y1 = (
        box.scaled(image.size, small.size).clipped(small.width - 1, small.height - 1).rounded()  # pixels from 0
    )
    width, draw = 3 + max(small.size) // 180, ImageDraw.Draw(small)
    for grown, line in ((1, "black"), *((-i, colour) for i in range(width)), (-width, "black")):
        if x1 - x0 + 2 * grown > 0 and y1 - y0 + 2 * grown > 0:
            draw.rectangle((x0 - grown, y0 - grown, x1 + grown, y1 + grown), outline=line)
    return small


def thumbnail(image: Image.Image, side: int) -> Image.Image:
    """Return a copy of a picture whose longer side is at most `side` pixels."""
    factor = min(1.0, side / max(image.size))
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def jpeg(image: Image.Image, quality: int = QUALITY) -> bytes:
    """Return a picture as JPEG, without any metadata."""
    plain, data = image.convert("RGB"), io.BytesIO()
    plain.info.clear()  # drop metadata: keep the pixels only
    plain.save(data, "JPEG", quality=quality)
    return data.getvalue()


def data_uri(picture: bytes) -> str:
    """Return a JPEG as an address that a page can hold."""
    return "data:image/jpeg;base64," + base64.b64encode(picture).decode()
