"""Limit the pixels of a photo before the checkpoint's processor receives it."""

from PIL import Image

DEFAULT_EDGE = 1024
"""The side of a square of about 1 MP: what most processors make of a photo at most."""
SMALLEST_SIDE = 64
"""The shortest side in pixels that a photo is given."""


def limited_size(width: int, height: int, most: int | None) -> tuple[int, int]:
    """Return the size that a photo is given so that it has at most `most` pixels; None is no limit.

    A photo with a side below 64 pixels becomes larger: vision towers need a few patches (of 14 to 32 pixels).
    """
    factor = max(1.0, SMALLEST_SIDE / min(width, height))
    if most is not None and width * height * factor**2 > most:
        factor = (most / (width * height)) ** 0.5
    return max(1, int(width * factor)), max(1, int(height * factor))


def limit_pixels(image: Image.Image, most: int | None) -> Image.Image:
    """Make an image smaller that has more than `most` pixels, and a tiny one larger; its sides keep their ratio."""
    size = limited_size(*image.size, most)
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)


def working_edge(most: int | None) -> int:
    """Return the side in pixels of the largest square that is not made smaller."""
    return int(most**0.5) if most else DEFAULT_EDGE
