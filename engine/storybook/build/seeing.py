"""What a frozen tower sees of the training pictures, computed once and kept."""

from collections.abc import Callable
from pathlib import Path

import engine.core.device  # noqa: F401

import numpy as np
import torch
from torch import Tensor

from engine.storybook.build.drawings import Drawings
from engine.storybook.build.vision import WIDTH, augment
from engine.storybook.world.scenes import Scene, render

See = Callable[[Tensor], np.ndarray]
"""Images (n, 3, 128, 128) in 0..1 to features (n, T, 192) float16."""
_BLOCK = 100


def see_drawings(path: Path, see: See, data: Drawings, tokens: int, seed: int | None = None) -> np.ndarray:
    """Features (N, tokens, 192) of every drawing, augmented when a seed is given; opened when they are there."""
    if not path.is_file():
        temporary = path.with_suffix(".tmp")
        found = np.lib.format.open_memmap(temporary, "w+", np.float16, (len(data), tokens, WIDTH))
        for start in range(0, len(data), _BLOCK):
            block = slice(start, start + _BLOCK)
            images = _pixels(data.images[block])
            if seed is not None:
                owners, boxes = torch.from_numpy(data.owners[block]), torch.from_numpy(data.boxes[block])
                images, _, _ = augment(images, owners, boxes, torch.Generator().manual_seed(seed + start))
            found[block] = see(images)
        found.flush()
        temporary.replace(path)
    return np.load(path, mmap_mode="r")


def see_scenes(path: Path, see: See, scenes: list[Scene]) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, T, 192) and boxes (N, C, 4) in 0..1 of scenes of C characters; the pictures are not kept."""
    if not path.is_file():
        features, boxes = [], []
        for start in range(0, len(scenes), _BLOCK):
            pictures = [render(s) for s in scenes[start : start + _BLOCK]]
            features.append(see(_pixels(np.stack([np.asarray(p.image) for p in pictures]))))
            boxes += [np.array(p.boxes, np.float32) / p.image.width for p in pictures]
        np.savez(path, features=np.concatenate(features), boxes=np.stack(boxes))
    kept = np.load(path)
    return kept["features"], kept["boxes"]


def _pixels(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images.copy()).permute(0, 3, 1, 2).float() / 255
