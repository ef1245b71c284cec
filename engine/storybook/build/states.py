"""Compute the shared tower's states of the training scenes once: the input of the BLIP-2 and MiniGPT-v2 stages."""

from dataclasses import dataclass
from pathlib import Path

import engine.core.device  # noqa: F401

import numpy as np
import torch
from torch import Tensor
from transformers import Blip2VisionModel

from engine.storybook.build.drawings import Drawings
from engine.storybook.build.eva import states_before_norm
from engine.storybook.build.loop import DEVICE, to_device
from engine.storybook.build.seeing import encode_drawings, encode_scenes
from engine.storybook.build.vision import GRID, normalise
from engine.storybook.world.scenes import Scene

TOKENS = GRID * GRID + 1


@dataclass(frozen=True)
class StatesBatch:
    """n pictures of one sort: states (n, 65, 192) float32, scenes, boxes in 0..1, and whether they may be mirrored."""

    states: Tensor
    scenes: list[Scene]
    boxes: list[np.ndarray]
    mirrored: bool


@dataclass(frozen=True)
class TowerStates:
    """States (N, 65, 192) float16 of plain, augmented and crowded pictures, with their scenes and boxes in 0..1."""

    plain: np.ndarray
    augmented: np.ndarray
    crowded: np.ndarray
    scenes: list[Scene]
    crowds: list[Scene]
    boxes: np.ndarray
    crowd_boxes: np.ndarray

    def draw(self, rng: np.random.Generator, n: int, augmented: float, crowded: float) -> StatesBatch:
        """Draw n pictures of one sort; `augmented` and `crowded` are the probabilities of these sorts."""
        luck = rng.random()
        if luck < crowded:
            states, scenes, boxes = self.crowded, self.crowds, self.crowd_boxes
        else:
            states = self.augmented if luck < crowded + augmented else self.plain
            scenes, boxes = self.scenes, self.boxes
        rows = np.sort(rng.choice(len(states), min(n, len(states)), replace=False))
        batch = torch.from_numpy(states[rows]).float()
        return StatesBatch(batch, [scenes[k] for k in rows], [boxes[k] for k in rows], states is self.augmented)


def encode_all(
    folder: Path, eva: Blip2VisionModel, data: Drawings, scenes: list[Scene], crowds: list[Scene], seed: int
) -> TowerStates:
    """Compute the states of all sets, cached in `folder`; of the first half of the scenes also augmented."""

    @torch.inference_mode()
    def encode(images: Tensor) -> np.ndarray:
        with torch.autocast(DEVICE.type, torch.bfloat16):
            hidden = states_before_norm(eva, normalise(images).to(DEVICE))
        return hidden.float().cpu().numpy().astype(np.float16)

    to_device(eva).eval()
    half = Drawings(**{name: value[: max(1, len(data) // 2)] for name, value in vars(data).items()})
    plain = encode_drawings(folder / "states_plain.npy", encode, data, TOKENS)
    augmented = encode_drawings(folder / "states_augmented.npy", encode, half, TOKENS, seed)
    crowded, crowd_boxes = encode_scenes(folder / "states_crowds.npz", encode, crowds)
    eva.cpu()
    return TowerStates(plain, augmented, crowded, scenes, crowds, data.boxes, crowd_boxes)
