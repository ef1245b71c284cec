"""Draw training pictures once, in parallel, into memory-mapped arrays with their labels."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Literal

import numpy as np

from engine.storybook.build.labels import COLUMNS, MAX_CHARACTERS, encode_scene
from engine.storybook.world import attributes as words
from engine.storybook.world.population import draw_population
from engine.storybook.world.scenes import Scene, render

SIZE = 128
BLOCK = 1000


@dataclass(frozen=True)
class Drawings:
    """A set of drawn scenes.

    images (N, 128, 128, 3) uint8; owners (N, 64, 64) uint8 (character index + 1, 0 background, 250 + index its object);
    labels (N, 3, 16) int8 as in `labels.py`; boxes (N, 3, 4) float32, xyxy in 0..1; places (N,) int8; heroes (N,)
    int32, the group of scenes with the same hero; hero_index (N,) int8, the hero's index in the scene.
    """

    images: np.ndarray
    owners: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    places: np.ndarray
    heroes: np.ndarray
    hero_index: np.ndarray

    def __len__(self) -> int:
        return len(self.places)


_LAYOUT: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
    "images": ((SIZE, SIZE, 3), np.uint8),
    "owners": ((64, 64), np.uint8),
    "labels": ((MAX_CHARACTERS, len(COLUMNS)), np.int8),
    "boxes": ((MAX_CHARACTERS, 4), np.float32),
    "places": ((), np.int8),
    "heroes": ((), np.int32),
    "hero_index": ((), np.int8),
}


def iter_scenes(seed: int, n: int) -> Iterator[Scene]:
    """Yield the scenes of a set, in order, without drawing them."""
    for block in range(0, n, BLOCK):
        yield from (scene for scene, _ in draw_population((seed, block), min(BLOCK, n - block)))


def _create(folder: Path, n: int) -> None:
    for name, (shape, dtype) in _LAYOUT.items():
        np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", shape=(n, *shape), dtype=dtype).flush()


def _open(folder: Path, mode: Literal["r", "r+"]) -> dict[str, np.memmap]:
    return {name: np.load(folder / f"{name}.npy", mmap_mode=mode) for name in _LAYOUT}


def _draw_block(folder: Path, seed: int, start: int, stop: int) -> None:
    arrays = _open(folder, "r+")
    rng = np.random.default_rng((seed, start, 1))
    for k, (scene, hero) in enumerate(draw_population((seed, start), stop - start), start):
        picture = render(scene, SIZE, SIZE, supersample=int(rng.choice((2, 3, 4), p=(0.6, 0.2, 0.2))))
        arrays["images"][k] = np.asarray(picture.image)
        arrays["owners"][k] = picture.owners
        arrays["labels"][k] = encode_scene(scene)
        arrays["boxes"][k, : len(picture.boxes)] = np.array(picture.boxes) / SIZE
        arrays["places"][k] = words.PLACES.index(scene.place)
        arrays["heroes"][k] = k // 4
        arrays["hero_index"][k] = [c.who for c in scene.characters].index(hero)
    for array in arrays.values():
        array.flush()


def draw_set(folder: Path, seed: int, n: int) -> Drawings:
    """Draw n scenes of a seed into `folder`, or open them where they were drawn before."""
    done = folder / "done.json"
    facts = {"seed": seed, "n": n, "size": SIZE}
    if not done.is_file() or json.loads(done.read_text()) != facts:
        folder.mkdir(parents=True, exist_ok=True)
        _create(folder, n)
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            starts = range(0, n, BLOCK)
            stops = [min(s + BLOCK, n) for s in starts]
            list(pool.map(_draw_block, repeat(folder), repeat(seed), starts, stops))
        done.write_text(json.dumps(facts))
    return Drawings(**_open(folder, "r"))
