"""Augment training photos as in the paper (docs/method.md, section 1)."""

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

FLIP = 0.5
"""Probability of a horizontal flip."""
BRIGHTNESS = 0.6
"""Brightness is multiplied by a factor between 1 minus this and 1 plus this."""
ROTATION = 45.0
"""Largest rotation in degrees, in either direction."""


def augment(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Flip, change the brightness and rotate a photo at random; rotation is nearest-neighbour with black corners."""
    if rng.random() < FLIP:
        image = ImageOps.mirror(image)
    image = ImageEnhance.Brightness(image).enhance(float(rng.uniform(1 - BRIGHTNESS, 1 + BRIGHTNESS)))
    return image.rotate(float(rng.uniform(-ROTATION, ROTATION)), Image.Resampling.NEAREST, fillcolor=(0, 0, 0))


def working_size(image: Image.Image, edge: int) -> Image.Image:
    """Scale an image down to a shortest edge of `edge` pixels; a smaller image is returned as it is.

    The vision tower receives 336 × 336 pixels or so; augmenting 12 megapixels at every step would take long.
    """
    short = min(image.size)
    if short <= edge:
        return image
    size = (round(image.width * edge / short), round(image.height * edge / short))
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
