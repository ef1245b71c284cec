"""Draw photos as large as a camera's: storybook scenes, enlarged, with noise, so that JPEG has as much to decode."""

from pathlib import Path

import numpy as np
from PIL import Image

from engine.storybook.album import CAST
from engine.storybook.world.individuals import draw_individual
from engine.storybook.world.scenes import compose, render

SIZE = (4032, 3024)
"""Width and height in pixels of a phone's photo: 12 megapixels."""
_PLACES = ("beach", "garden", "kitchen", "sofa")
_DRAWN = 1344
"""Width in pixels at which a scene is drawn before it is enlarged."""
_NOISE = 4.0
"""Standard deviation of the noise in grey levels; a drawing of 12 megapixels then has about 2 MB at quality 90."""


def draw_large_photos(folder: Path, number: int, seed: int, size: tuple[int, int] = SIZE) -> list[Path]:
    """Draw JPEGs of storybook scenes into a folder; a quarter of them is drawn anew, the others have other noise."""
    rng = np.random.default_rng(seed)
    width, height = size
    folder.mkdir(parents=True, exist_ok=True)
    noise = (rng.standard_normal((height, width, 1), np.float32) * _NOISE).astype(np.int16)
    paths, scene = [], np.zeros((height, width, 3), np.int16)
    for i in range(number):
        if i % 4 == 0:
            rex, mug, anna = CAST.values()
            cast = ((anna,), (rex, draw_individual(rng, "cat")), (mug,), (anna, rex))[i // 4 % 4]
            drawn = render(
                compose(rng, cast, place=_PLACES[i // 4 % 4]), _DRAWN, _DRAWN * height // width, supersample=1
            )
            scene = np.asarray(drawn.image.resize(size, Image.Resampling.BICUBIC)).astype(np.int16)
        pixels = np.clip(scene + np.roll(noise, 97 * i, axis=1), 0, 255).astype(np.uint8)
        paths.append(folder / f"IMG_{1001 + i}.jpg")
        Image.fromarray(pixels).save(paths[-1], quality=90)
    return paths
