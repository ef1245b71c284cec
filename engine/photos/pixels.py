"""Convert decoded pictures to upright RGB with 8 bits per channel."""

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
"""The transposition that makes a stored picture upright, by EXIF orientation (EXIF 2.32, tag 0x0112)."""
_SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK", "LAB": "Lab "}
"""Name of the colour space of a Pillow mode in ICC profiles (ICC.1:2022, 7.2.6)."""


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn a stored picture upright, by its EXIF orientation."""
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def to_rgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert a picture to 8-bit RGB in sRGB; transparent pixels become white.

    profile: ICC profile, applied if it fits the mode of the picture and is not sRGB already. Without one, CMYK and
    other modes are converted by Pillow's plain formulas.
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
    """Reduce a picture of more than `most_pixels` to 1/2, 1/3, … of its sides."""
    factor = math.ceil(math.sqrt(image.width * image.height / most_pixels))
    return image.reduce(factor) if factor > 1 else image


def _without_alpha(image: Image.Image) -> Image.Image:
    if image.mode in ("1", "LA"):
        return image.convert("L")
    return image if image.mode in _SPACES else image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Convert grey of 16 or 32 bits, or in floating point, to 8 bits."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode not in ("I", "F"):
        return image
    values = np.nan_to_num(np.asarray(image, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    top = float(values.max(initial=0.0))
    return Image.fromarray(np.clip(values * (255 / _white(top, image.mode)), 0, 255).astype(np.uint8))


def _white(top: float, mode: str) -> float:
    """Return the value of white: the end of the smallest usual range that holds the greatest value of the picture."""
    ranges = (1.0, 255.0, 65535.0) if mode == "F" else (255.0, 65535.0)
    return next((r for r in ranges if top <= r), top)


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    mode = image.mode if image.mode in _SPACES else ""
    if image.mode == "LAB" and not profile:
        return _apply(image, _from_lab())
    transform = _transform(profile, mode) if profile and mode else None
    if transform is None:
        if image.mode == "RGB":
            return image  # `convert` would copy it
        return _apply(image, _from_lab()) if image.mode == "LAB" else image.convert("RGB")
    return _apply(image, transform)


def _apply(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    if converted is None:  # only when applied in place
        raise ValueError("no picture from a colour transform")
    return converted


@lru_cache(maxsize=1)
def _from_lab() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from a profile to sRGB; None if the profile is sRGB, not for this mode, or damaged."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space != _SPACES[mode] or "srgb" in ImageCms.getProfileDescription(source).lower():
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
