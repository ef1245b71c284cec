"""What every VLM family offers, and the values that pass between it and its callers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import engine.core.device  # noqa: F401

import torch
from PIL import Image
from torch import Tensor

from engine.core.boxes import Box
from engine.vlms.config import VlmConfig

IGNORED = -100
"""Label of a token that is not supervised."""
_LONGEST = 8


@dataclass(frozen=True)
class ImageFeatures:
    """What the VLM sees of a batch of photos.

    features: (B, N, D) where concept rows are appended, or B of (N_i, D) where photos have different numbers of
    rows; norms: (B,) the L2 norm that a concept row takes there.
    """

    features: Tensor | list[Tensor]
    norms: Tensor

    def chosen(self, photos: list[int]) -> "ImageFeatures":
        """The same of some of the photos."""
        return ImageFeatures([self.features[i] for i in photos], self.norms[photos])


@dataclass(frozen=True)
class Tiles:
    """Photos cut into tiles: pixel_values (B, T, 3, S, S), padded to the most tiles; sizes (B, 2) height, width."""

    pixel_values: Tensor
    sizes: Tensor


@dataclass(frozen=True)
class Losses:
    """Training losses of one batch, scalars: mean cross-entropy over answer tokens, and the weighted penalty."""

    cross_entropy: Tensor
    penalty: Tensor

    @property
    def total(self) -> Tensor:
        """What is differentiated."""
        return self.cross_entropy + self.penalty


@dataclass(frozen=True)
class Generation:
    """A generated text; `capped` when it hit the token limit instead of ending by itself."""

    text: str
    capped: bool


class Vlm(Protocol):
    """A frozen VLM and the places where MyVLM reaches into it; one implementation a family."""

    config: VlmConfig

    @property
    def width(self) -> int:
        """Width D of a concept embedding."""

    @property
    def device(self) -> torch.device:
        """Where the model lives."""

    @property
    def image_edge(self) -> int:
        """Side in pixels of the square that the vision tower sees."""

    def view(self, image: Image.Image) -> Box:
        """The part of an upright photo that the vision tower sees, in the photo's pixels."""

    def preprocess(self, images: list[Image.Image]) -> Tensor | Tiles:
        """Upright RGB images to pixel values."""

    def encode(self, pixel_values: Tensor | Tiles) -> ImageFeatures:
        """Image features of a batch."""

    def inject(self, seen: ImageFeatures, embeddings: list[Tensor]) -> list[Tensor]:
        """Rows of each photo: (N + K_i, D); embeddings[i]: (K_i, D) raw, K_i may be 0."""

    def encode_prompt(self, request: str) -> list[int]:
        """Token ids of a prompt."""

    def encode_example(self, request: str, answer: str) -> tuple[list[int], list[int]]:
        """Ids and labels of a training example."""

    def loss(
        self,
        rows: list[Tensor],
        concepts: list[int],
        ids: list[list[int]],
        labels: list[list[int]],
        penalty_weight: float | None = None,
    ) -> Losses:
        """Teacher-forced losses of a batch; concepts[i]: how many of the last rows are concepts.

        `penalty_weight` takes the place of the config's λ.
        """

    def generate(self, rows: list[Tensor], ids: list[list[int]], max_new_tokens: int | None = None) -> list[Generation]:
        """Greedy answers to a batch of prompts, photos with different numbers of rows mixed."""

    def concept_attention(self, rows: list[Tensor], concepts: list[int], ids: list[list[int]]) -> list[Tensor]:
        """What each concept row has to do with each place of `view`: (K_i, h, w) float32, non-negative (fig. 3)."""


def pad_lines(lines: list[list[int]], fill: int, device: torch.device, *, left: bool = False) -> Tensor:
    """Lines of ids or labels, padded to the longest: (B, L) int64."""
    length = max(len(line) for line in lines)
    return torch.tensor(
        [[fill] * (length - len(v)) + v if left else v + [fill] * (length - len(v)) for v in lines], device=device
    )


def not_too_long(image: Image.Image) -> Image.Image:
    """The middle of a picture whose sides' ratio is beyond 8: a centre crop shows no more of it anyway, and a
    picture of 1 × 20,000 pixels would be blown up to gigabytes when its shortest side is resized.
    """
    short, long = min(image.size), max(image.size)
    if long <= _LONGEST * short:
        return image
    width, height = (min(side, _LONGEST * short) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def check_complete(found: Mapping[str, Any], optional: Sequence[str] = ()) -> None:
    """Make sure that a checkpoint held every weight: transformers fills in those that are missing at random.

    found: the loading info of `from_pretrained`, which does not count weights tied to others.

    Raises:
        ValueError: weights that are not `optional` are missing.
    """
    missing = sorted(set(found["missing_keys"]) - set(optional))
    if missing:
        raise ValueError(f"{len(missing)} weights are missing, the first is {missing[0]}")
