"""Training pictures: drawn once, in parallel, into memory-mapped arrays with their labels."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

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

    images (N, 128, 128, 3) uint8; owners (N, 64, 64) uint8 (character + 1, 0 nobody, 250 + its object);
    labels (N, 3, 16) int8; boxes (N, 3, 4) float32, xyxy in 0..1; places (N,) int8; heroes (N,) int32,
    the group of scenes with the same hero; hero_index (N,) int8, the hero's place in the scene.
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


_LAYOUT = {
    "images": ((SIZE, SIZE, 3), np.uint8),
    "owners": ((64, 64), np.uint8),
    "labels": ((MAX_CHARACTERS, len(COLUMNS)), np.int8),
    "boxes": ((MAX_CHARACTERS, 4), np.float32),
    "places": ((), np.int8),
    "heroes": ((), np.int32),
    "hero_index": ((), np.int8),
}


def iter_scenes(seed: int, n: int) -> Iterator[Scene]:
    """The scenes of a set, in order, without drawing them."""
    for block in range(0, n, BLOCK):
        yield from (scene for scene, _ in draw_population((seed, block), min(BLOCK, n - block)))


def _open(folder: Path, n: int, mode: str) -> dict[str, np.ndarray]:
    return {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", mode=mode, shape=(n, *shape), dtype=dtype)
        if mode == "w+"
        else np.load(folder / f"{name}.npy", mmap_mode=mode)
        for name, (shape, dtype) in _LAYOUT.items()
    }


def _draw_block(folder: Path, seed: int, start: int, stop: int) -> None:
    arrays = _open(folder, 0, "r+")
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
        array.flush()  # type: ignore[attr-defined]


def draw_set(folder: Path, seed: int, n: int) -> Drawings:
    """Draw n scenes of a seed into `folder`, or open them when they are there already."""
    done = folder / "done.json"
    facts = {"seed": seed, "n": n, "size": SIZE}
    if not done.is_file() or json.loads(done.read_text()) != facts:
        folder.mkdir(parents=True, exist_ok=True)
        for array in _open(folder, n, "w+").values():
            array.flush()  # type: ignore[attr-defined]
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            starts = range(0, n, BLOCK)
            list(
                pool.map(
                    _draw_block,
                    [folder] * len(starts),
                    [seed] * len(starts),
                    starts,
                    [min(s + BLOCK, n) for s in starts],
                )
            )
        done.write_text(json.dumps(facts))
    return Drawings(**_open(folder, n, "r"))
