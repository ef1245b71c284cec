"""From whatever a decoder gives to upright RGB with 8 bits a channel."""

import io
import math
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageCms

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a stored picture upright, by EXIF orientation (EXIF 2.32, tag 0x0112)."""
_SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK", "LAB": "Lab "}
"""ICC's name of the colour space of a mode (ICC.1:2022, 7.2.6)."""


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn a stored picture as its EXIF orientation says."""
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def to_rgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Eight-bit RGB in sRGB; what is transparent becomes white.

    A colour profile is followed where it fits the picture and is not sRGB already; without one, CMYK and others are
    converted by Pillow's plain formulas.
    """
    image = _eight_bits(image)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode in ("La", "RGBa"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    alpha = image.getchannel("A") if image.mode in ("LA", "PA", "RGBA") else None
    if alpha is None and "transparency" in image.info and image.mode in ("1", "L", "RGB"):
        alpha = image.convert("RGBA").getchannel("A")
    image.info.pop("transparency", None)
    plain = _to_srgb(_without_alpha(image), profile)
    if alpha is None or alpha.getextrema() == (255, 255):
        return plain
    plain.paste("white", mask=ImageChops.invert(alpha))
    return plain


def shrink(image: Image.Image, most_pixels: int) -> Image.Image:
    """A picture of more pixels at 1/2, 1/3, … of its sides."""
    factor = math.ceil(math.sqrt(image.width * image.height / most_pixels))
    return image.reduce(factor) if factor > 1 else image


def _without_alpha(image: Image.Image) -> Image.Image:
    if image.mode in ("1", "LA"):
        return image.convert("L")
    return image if image.mode in _SPACES else image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits, or floating point, as 8 bits."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode not in ("I", "F"):
        return image
    values = np.nan_to_num(np.asarray(image, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    top = float(values.max(initial=0.0))
    return Image.fromarray(np.clip(values * (255 / _white(top, image.mode)), 0, 255).astype(np.uint8))


def _white(top: float, mode: str) -> float:
    """The value meant as white: that of the smallest usual range that holds the greatest value of the picture."""
    ranges = (1.0, 255.0, 65535.0) if mode == "F" else (255.0, 65535.0)
    return next((r for r in ranges if top <= r), top)


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    known = image.mode if image.mode in _SPACES else ""
    if image.mode == "LAB" and not profile:
        return ImageCms.applyTransform(image, _from_lab())
    transform = _transform(profile, known) if profile and known else None
    if transform is None:
        return ImageCms.applyTransform(image, _from_lab()) if image.mode == "LAB" else image.convert("RGB")
    return ImageCms.applyTransform(image, transform)


@lru_cache(maxsize=1)
def _from_lab() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The way from a profile to sRGB; None where there is none to go, or the profile is not of this mode or damaged."""
    try:
        found = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if found.profile.xcolor_space != _SPACES[mode] or "srgb" in ImageCms.getProfileDescription(found).lower():
            return None
        return ImageCms.buildTransform(found, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
