"""Read the size of a photo from its header, without decoding it."""

import io
import struct

from PIL import Image

from engine.core.boxes import TURNED
from engine.photos.discovery import RAW_SUFFIXES
from engine.photos.photo_file import PhotoFile

_UNTURNED = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
"""Formats whose readers leave it to the program to turn the picture by its EXIF orientation; JPEG opens MPO, too."""
_TURNED = ("HEIF",)
"""Formats whose readers state the size of the turned picture."""
_UNREADABLE = (OSError, ValueError, SyntaxError, TypeError, LookupError, ArithmeticError, RuntimeError, struct.error)
"""What Pillow's readers raise for headers that they cannot read."""


def read_size(file: PhotoFile) -> tuple[int, int] | None:
    """Return width and height of the upright photo, as `decode_photo` does; None where only decoding tells.

    That the rest of the file can be decoded is not checked.
    """
    if file.path.suffix.lower() in RAW_SUFFIXES:  # the size of a preview is not that of the photo
        return None
    try:
        if file.data[4:8] == b"ftyp":
            import pillow_heif

            pillow_heif.register_heif_opener()
        Image.MAX_IMAGE_PIXELS = None  # nothing is decoded here
        with Image.open(io.BytesIO(file.data), formats=(*_UNTURNED, *_TURNED)) as opened:
            (width, height), form = opened.size, opened.format
    except _UNREADABLE:  # decoding says what is wrong
        return None
    if form not in _TURNED and file.blocks.orientation in TURNED:
        return height, width
    return width, height
