"""What the shared tower sees of the training scenes, computed once: the input of BLIP-2 and MiniGPT-v2."""

from dataclasses import dataclass
from pathlib import Path

import engine.core.device  # noqa: F401

import numpy as np
import torch
from torch import Tensor
from transformers import Blip2VisionModel

from engine.storybook.build.drawings import Drawings
from engine.storybook.build.eva import states_before_norm
from engine.storybook.build.loop import DEVICE
from engine.storybook.build.seeing import see_drawings, see_scenes
from engine.storybook.build.vision import GRID, normalise
from engine.storybook.world.scenes import Scene

TOKENS = GRID * GRID + 1


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


def see_all(
    folder: Path, eva: Blip2VisionModel, data: Drawings, scenes: list[Scene], crowds: list[Scene], seed: int
) -> Seen:
    """Compute the states of all sets, or open them; the first half of the scenes is also seen augmented."""

    @torch.inference_mode()
    def see(images: Tensor) -> np.ndarray:
        with torch.autocast(DEVICE.type, torch.bfloat16):
            hidden = states_before_norm(eva, normalise(images).to(DEVICE))
        return hidden.float().cpu().numpy().astype(np.float16)

    eva.to(DEVICE).eval()
    half = Drawings(**{name: value[: max(1, len(data) // 2)] for name, value in vars(data).items()})
    plain = see_drawings(folder / "states_plain.npy", see, data, TOKENS)
    augmented = see_drawings(folder / "states_augmented.npy", see, half, TOKENS, seed)
    crowded, crowd_boxes = see_scenes(folder / "states_crowds.npz", see, crowds)
    eva.cpu()
    return Seen(plain, augmented, crowded, scenes, crowds, data.boxes, crowd_boxes)
