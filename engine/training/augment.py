"""The method's augmentations of a training photo (method.md §1)."""

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

FLIP = 0.5
BRIGHTNESS = 0.6
ROTATION = 45.0


def augment(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Flip with probability 0.5, brightness times 0.4..1.6, turn by -45..45° (nearest, black fill)."""
    if rng.random() < FLIP:
        image = ImageOps.mirror(image)
    image = ImageEnhance.Brightness(image).enhance(float(rng.uniform(1 - BRIGHTNESS, 1 + BRIGHTNESS)))
    return image.rotate(float(rng.uniform(-ROTATION, ROTATION)), Image.Resampling.NEAREST, fillcolor=(0, 0, 0))


def working_size(image: Image.Image, edge: int) -> Image.Image:
    """The image with its shortest edge at most `edge`: augmenting 12 megapixels to use 336² is waste."""
    short = min(image.size)
    if short <= edge:
        return image
    size = (round(image.width * edge / short), round(image.height * edge / short))
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
