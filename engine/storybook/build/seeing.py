"""Compute a frozen tower's features of the training pictures once, and cache them."""

from collections.abc import Callable
from pathlib import Path

import engine.core.device  # noqa: F401

import numpy as np
import torch
from torch import Tensor

from engine.storybook.build.drawings import Drawings
from engine.storybook.build.vision import WIDTH, augment, to_pixels
from engine.storybook.world.scenes import Scene, render

Encode = Callable[[Tensor], np.ndarray]
"""Computes features (n, T, 192) float16 of images (n, 3, 128, 128) in 0..1."""
_BLOCK = 100


def encode_drawings(path: Path, encode: Encode, data: Drawings, tokens: int, seed: int | None = None) -> np.ndarray:
    """Compute features, (N, tokens, 192), of all drawings, augmented where a seed is given; cached in `path`."""
    if not path.is_file():
        temporary = path.with_suffix(".tmp")
        features = np.lib.format.open_memmap(temporary, "w+", np.float16, (len(data), tokens, WIDTH))
        for start in range(0, len(data), _BLOCK):
            block = slice(start, start + _BLOCK)
            images = _to_pixels(data.images[block])
            if seed is not None:
                owners, boxes = torch.from_numpy(data.owners[block]), torch.from_numpy(data.boxes[block])
                images, _, _ = augment(images, owners, boxes, torch.Generator().manual_seed(seed + start))
            features[block] = encode(images)
        features.flush()
        temporary.replace(path)
    return np.load(path, mmap_mode="r")


def encode_scenes(path: Path, encode: Encode, scenes: list[Scene]) -> tuple[np.ndarray, np.ndarray]:
    """Draw scenes of C characters and compute features (N, T, 192) and boxes (N, C, 4) in 0..1; cached in `path`."""
    if not path.is_file():
        features, boxes = [], []
        for start in range(0, len(scenes), _BLOCK):
            pictures = [render(s) for s in scenes[start : start + _BLOCK]]
            features.append(encode(_to_pixels(np.stack([np.asarray(p.image) for p in pictures]))))
            boxes += [np.array(p.boxes, np.float32) / p.image.width for p in pictures]
        np.savez(path, features=np.concatenate(features), boxes=np.stack(boxes))
    with np.load(path) as arrays:
        return arrays["features"], arrays["boxes"]


def _to_pixels(images: np.ndarray) -> Tensor:
    return to_pixels(images.copy())  # memory-mapped arrays are read-only
