"""Draw crops of individuals as recognition cuts them: families of look-alikes, several crops of each member."""

import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from engine.core.boxes import Box
from engine.storybook.world import attributes as words
from engine.storybook.world.individuals import (
    Figure,
    Individual,
    Rng,
    draw_category,
    draw_individual,
    draw_lookalike,
    draw_twin,
    pick,
    shuffle,
)
from engine.storybook.world.population import draw_companion
from engine.storybook.world.scenes import compose, render
from engine.vision.regions import crop

CROP_SIZE = 112
VIEWS = 6
FAMILY = 3
_SCENE = 320
_BLOCK = 50


def draw_family(rng: Rng) -> tuple[Individual, ...]:
    """Draw an individual with a look-alike, and a twin (figures) or a second look-alike (people)."""
    category = pick(rng, words.PEOPLE) if rng.random() < 0.12 else draw_category(rng)
    first = draw_individual(rng, category)
    third = draw_twin(rng, first) if isinstance(first, Figure) else draw_lookalike(rng, first)
    return first, draw_lookalike(rng, first), third


def draw_view(rng: Rng, who: Individual) -> np.ndarray:
    """Draw a scene with an individual and cut it out: (112, 112, 3) uint8; 16 % of crops are 1.3–2.2 times as wide."""
    cast = [who] + [draw_companion(rng, who) for _ in range(int(rng.choice(3, p=(0.4, 0.45, 0.15))))]
    shuffle(rng, cast)
    picture = render(compose(rng, tuple(cast)), _SCENE, _SCENE, supersample=1 if rng.random() < 0.4 else 2)
    x0, y0, x1, y1 = picture.boxes[cast.index(who)]
    w, h = x1 - x0, y1 - y0
    dx, dy = rng.uniform(-0.07, 0.07, 2)
    grow = float(rng.uniform(1.3, 2.2) if rng.random() < 0.16 else rng.uniform(0.88, 1.15))
    box = Box(x0 + dx * w, y0 + dy * h, x1 + dx * w, y1 + dy * h).grown(grow, _SCENE, _SCENE)
    return np.asarray(crop(picture.image, box).resize((CROP_SIZE, CROP_SIZE), Image.Resampling.BICUBIC))


def draw_families(seed: int, n: int) -> list[tuple[Individual, ...]]:
    """Draw n families; the same seed gives the same families."""
    rng = np.random.default_rng((seed, 0))
    return [draw_family(rng) for _ in range(n)]


def _draw_block(seed: tuple[int, int], families: list[tuple[Individual, ...]]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([draw_view(rng, who) for family in families for who in family for _ in range(VIEWS)])


def draw_crops(folder: Path, seed: int, n: int) -> np.ndarray:
    """Draw six crops of each member of n families, (n, 3, 6, 112, 112, 3) uint8, cached in `folder`."""
    path = folder / f"crops_{seed}_{n}.npy"
    if not path.is_file():
        families = draw_families(seed, n)
        starts = range(0, n, _BLOCK)
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            blocks = [families[b : b + _BLOCK] for b in starts]
            crops = list(pool.map(_draw_block, [(seed, b + 1) for b in starts], blocks))
        np.save(path, np.concatenate(crops).reshape(n, FAMILY, VIEWS, CROP_SIZE, CROP_SIZE, 3))
    return np.load(path, mmap_mode="r")
