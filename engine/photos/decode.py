"""The only place that opens photo files: one upright RGB decode with hash and facts."""

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from engine.errors import PhotoError
from engine.files import sha256_of
from engine.photos.exif import read_exif
from engine.types import PhotoFacts

MOST_PIXELS = 200_000_000
"""Larger pictures are refused rather than decoded (a 200-megapixel RGB picture takes 600 MB)."""
LARGEST_FILE = 2 * 2**30


@dataclass(frozen=True)
class PhotoFile:
    """A photo's file as read: bytes and their hex SHA-256."""

    path: Path
    data: bytes
    content_hash: str


@dataclass(frozen=True)
class Photo:
    """A decoded photo: upright RGB pixels with the facts of its file and its embedded XMP packet."""

    path: Path
    image: Image.Image
    facts: PhotoFacts
    xmp: bytes | None = None
    software: str = ""


def read_photo(path: Path) -> PhotoFile:
    """Read and hash a photo's file.

    Raises:
        PhotoError: it is missing, empty, over 2 GiB, or may not be read.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise PhotoError(f"{path}: the file is larger than 2 GiB", hint="Give myvlm a smaller copy.")
        data = path.read_bytes()
    except OSError as err:
        raise PhotoError(f"{path}: {err.strerror or err}", hint="Check the path and its permissions.") from err
    except ValueError as err:
        hint = "Paths that end with NUL (find -print0) are read with -0."
        raise PhotoError(f"{path!r}: no path ({err})", hint=hint) from err
    if not data:
        raise PhotoError(f"{path}: the file is empty", hint="Restore it from a backup or delete it.")
    return PhotoFile(path, data, sha256_of(data))


def decode_photo(file: PhotoFile, *, most_pixels: int = MOST_PIXELS) -> Photo:
    """Decode a photo upright (EXIF orientation, HEIC's own rotation) as RGB, 8 bit.

    Raises:
        PhotoError: not a picture, truncated, damaged, or over `most_pixels`.
    """
    path = file.path
    if _is_cut_short(file.data):
        raise PhotoError(f"{path}: damaged or truncated (its end is missing)", hint="Restore it from a backup.")
    try:
        with _open(file.data) as opened:
            pixels = opened.width * opened.height
            if pixels > most_pixels:
                raise PhotoError(
                    f"{path}: {pixels / 1e6:.0f} megapixels, more than {most_pixels / 1e6:.0f}",
                    hint="Give myvlm a smaller copy.",
                )
            exif = read_exif(file.data)
            orientation = int(opened.info.get("original_orientation") or exif.orientation)
            name, xmp = opened.format or "unknown", opened.info.get("xmp")
            upright = _upright(opened)
    except PhotoError:
        raise
    except UnidentifiedImageError as err:
        raise PhotoError(f"{path}: not a picture that can be read", hint="Check what the file really is.") from err
    except Exception as err:
        raise PhotoError(f"{path}: damaged or truncated ({err})", hint="Restore it from a backup.") from err
    facts = PhotoFacts(file.content_hash, *upright.size, name, orientation, exif.taken, exif.place)
    return Photo(path, upright, facts, xmp if isinstance(xmp, bytes) else None, exif.software)


def load_photo(path: Path) -> Photo:
    """Read and decode a photo; raises what these two raise."""
    return decode_photo(read_photo(path))


_BOXES = frozenset({b"ftyp", b"meta", b"mdat", b"moov", b"idat", b"free"})


def _is_cut_short(data: bytes) -> bool:
    """Whether a HEIC or AVIF file ends inside one of its boxes (ISO/IEC 14496-12, 4.2); decoders fill in grey."""
    if data[4:8] != b"ftyp":
        return False
    at = 0
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        size = int.from_bytes(data[at + 8 : at + 16], "big") if size == 1 else size
        if kind not in _BOXES or size < 8:
            return False
        at += size
    return at > len(data)


def _open(data: bytes) -> Image.Image:
    _register_heif()
    Image.MAX_IMAGE_PIXELS = None  # the cap above decides, with a message that says so
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    return Image.open(io.BytesIO(data))


def _register_heif() -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()


def _upright(opened: Image.Image) -> Image.Image:
    image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = image.point(lambda v: v / 256).convert("L") if image.mode != "F" else image.convert("L")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layered = image.convert("RGBA")
        page = Image.new("RGBA", layered.size, (255, 255, 255, 255))
        image = Image.alpha_composite(page, layered)
    return image.convert("RGB")
