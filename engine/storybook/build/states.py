"""What the shared tower sees of the training scenes, computed once: the input of BLIP-2 and MiniGPT-v2."""

from dataclasses import dataclass
from pathlib import Path

import engine.device  # noqa: F401

import numpy as np
import torch
from torch import Tensor
from transformers import Blip2VisionModel

from engine.storybook.build.drawings import Drawings
from engine.storybook.build.eva import states_before_norm
from engine.storybook.build.loop import DEVICE
from engine.storybook.build.vision import GRID, WIDTH, augment, normalise
from engine.storybook.world.population import draw_crowds
from engine.storybook.world.scenes import Scene, render

TOKENS = GRID * GRID + 1
_BLOCK = 100


@dataclass(frozen=True)
class Seen:
    """States (N, 65, 192) float16 of plain, augmented and crowded pictures, with their scenes and boxes in 0..1."""

    plain: np.ndarray
    augmented: np.ndarray
    crowded: np.ndarray
    scenes: list[Scene]
    crowds: list[Scene]
    boxes: np.ndarray
    crowd_boxes: np.ndarray

    def draw(
        self, rng: np.random.Generator, n: int, augmented: float, crowded: float
    ) -> tuple[Tensor, list[Scene], list[np.ndarray], bool]:
        """N pictures of one sort: states (n, 65, 192) float32, scenes, boxes, and whether they are mirrored."""
        luck = rng.random()
        if luck < crowded:
            states, scenes, boxes = self.crowded, self.crowds, self.crowd_boxes
        else:
            states = self.augmented if luck < crowded + augmented else self.plain
            scenes, boxes = self.scenes, self.boxes
        rows = np.sort(rng.choice(len(states), min(n, len(states)), replace=False))
        found = torch.from_numpy(states[rows]).float()
        return found, [scenes[k] for k in rows], [boxes[k] for k in rows], states is self.augmented


def see_scenes(
    folder: Path, eva: Blip2VisionModel, data: Drawings, scenes: list[Scene], crowd_seed: int, crowds: int, seed: int
) -> Seen:
    """Compute the states of all sets, or open them; the first half of the scenes is also seen augmented."""
    eva.to(DEVICE).eval()
    plain = _cache(folder, eva, data, "plain", None, len(data))
    augmented = _cache(folder, eva, data, "augmented", seed, max(1, len(data) // 2))
    crowd_scenes = list(draw_crowds(crowd_seed, crowds))
    path = folder / "states_crowds.npz"
    if not path.is_file():
        states, boxes = [], []
        for start in range(0, crowds, _BLOCK):
            pictures = [render(s) for s in crowd_scenes[start : start + _BLOCK]]
            images = torch.from_numpy(np.stack([np.asarray(p.image) for p in pictures]))
            states.append(_see(eva, images.permute(0, 3, 1, 2).float() / 255))
            boxes += [np.array(p.boxes, np.float32) / p.image.width for p in pictures]
        np.savez(path, states=np.concatenate(states), boxes=np.stack(boxes))
    kept = np.load(path)
    eva.cpu()
    return Seen(plain, augmented, kept["states"], scenes, crowd_scenes, data.boxes, kept["boxes"])


@torch.inference_mode()
def _see(eva: Blip2VisionModel, images: Tensor) -> np.ndarray:
    with torch.autocast(DEVICE.type, torch.bfloat16):
        hidden = states_before_norm(eva, normalise(images).to(DEVICE))
    return hidden.float().cpu().numpy().astype(np.float16)


def _cache(folder: Path, eva: Blip2VisionModel, data: Drawings, name: str, seed: int | None, count: int) -> np.ndarray:
    path = folder / f"states_{name}.npy"
    if not path.is_file():
        temporary = path.with_suffix(".tmp")
        found = np.lib.format.open_memmap(temporary, "w+", np.float16, (count, TOKENS, WIDTH))
        for start in range(0, count, _BLOCK):
            stop = min(count, start + _BLOCK)
            images = torch.from_numpy(data.images[start:stop]).permute(0, 3, 1, 2).float() / 255
            if seed is not None:
                owners, boxes = torch.from_numpy(data.owners[start:stop]), torch.from_numpy(data.boxes[start:stop])
                images, _, _ = augment(images, owners, boxes, torch.Generator().manual_seed(seed + start))
            found[start:stop] = _see(eva, images)
        found.flush()
        temporary.replace(path)
    return np.load(path, mmap_mode="r")
