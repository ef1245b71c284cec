"""The protocol that every VLM family implements, and the values that pass between it and its callers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import engine.core.device  # noqa: F401

import torch
from PIL import Image
from torch import Tensor

from engine.core.boxes import Box
from engine.vlms.config import VlmConfig
from engine.vlms.generation import Generation

IGNORED = -100
"""Label of a token that is not supervised: the value that `torch.nn.functional.cross_entropy` ignores."""
_MAX_ASPECT_RATIO = 8


@dataclass(frozen=True)
class ImageFeatures:
    """The image rows of a batch of photos, at the place where concept rows are appended.

    features: (B, N, D), or B tensors (N_i, D) where photos have different numbers of rows.
    norms: (B,), the L2 norm that the concept rows of each photo are given.
    """

    features: Tensor | list[Tensor]
    norms: Tensor

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the features."""
        return self.features[0].dtype

    def select(self, photos: list[int]) -> "ImageFeatures":
        """Return the features of some of the photos, by their indices in the batch."""
        return ImageFeatures([self.features[i] for i in photos], self.norms[photos])


@dataclass(frozen=True)
class Tiles:
    """Photos cut into tiles.

    pixel_values: (B, T, 3, S, S), padded to the largest number of tiles; sizes: (B, 2) int64, height and width of
    each photo in pixels.
    """

    pixel_values: Tensor
    sizes: Tensor


@dataclass(frozen=True)
class Losses:
    """Training losses of one batch, scalars: mean cross-entropy over answer tokens, and the weighted penalty."""

    cross_entropy: Tensor
    penalty: Tensor

    @property
    def total(self) -> Tensor:
        """Return the sum, which training minimises."""
        return self.cross_entropy + self.penalty


class Encoded(Protocol):
    """A batch of encoded photos, which callers pass on and take photos from; `ImageFeatures` is one."""

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the features."""

    def select(self, photos: list[int]) -> Self:
        """Return some of the photos, by their indices in the batch."""


Pixels = TypeVar("Pixels")
Features = TypeVar("Features", bound=Encoded)
Rows = TypeVar("Rows")
Prompt = TypeVar("Prompt")
Labels = TypeVar("Labels")


class Vlm(Protocol[Pixels, Features, Rows, Prompt, Labels]):
    """A frozen VLM with the operations that MyVLM needs; each family has one implementation.

    The order of calls is `preprocess`, `encode`, `inject`, then `generate` or `loss`. What passes from one call to the
    next is the family's own and opaque to callers, who write `Vlm` for any of them. The three families of the paper use
    pixel values, `ImageFeatures`, rows (N + K_i, D), token ids and labels.
    """

    config: VlmConfig

    @property
    def width(self) -> int:
        """Return the width D of a concept embedding."""

    @property
    def device(self) -> torch.device:
        """Return the device of the weights."""

    @property
    def image_edge(self) -> int:
        """Return the side in pixels of the square image that the vision tower receives."""

    def view(self, image: Image.Image) -> Box:
        """Return the part of an upright photo that the vision tower receives, in the photo's pixels."""

    def preprocess(self, images: list[Image.Image]) -> Pixels:
        """Convert upright RGB images to what the vision tower takes."""

    def encode(self, pixel_values: Pixels) -> Features:
        """Compute the image features of a batch."""

    def inject(self, image_features: Features, embeddings: list[Tensor]) -> list[Rows]:
        """Give each photo its concept rows; embeddings[i]: (K_i, D) raw, K_i may be 0."""

    def encode_prompt(self, request: str) -> Prompt:
        """Return the prompt that holds a request, in the form that `generate` takes."""

    def encode_example(self, request: str, answer: str) -> tuple[Prompt, Labels]:
        """Return a training example in the form that `loss` takes."""

    def loss(
        self,
        rows: list[Rows],
        concepts: list[int],
        ids: list[Prompt],
        labels: list[Labels],
        penalty_weight: float | None = None,
    ) -> Losses:
        """Compute the teacher-forced losses of a batch.

        rows[i]: from `inject`; concepts[i]: K_i, how many concept rows they hold; ids[i], labels[i]: from
        `encode_example`; penalty_weight: used instead of the config's λ.
        """

    def generate(self, rows: list[Rows], ids: list[Prompt], max_new_tokens: int | None = None) -> list[Generation]:
        """Generate greedy answers to a batch of prompts; photos may have different numbers of rows."""

    def concept_attention(self, rows: list[Rows], concepts: list[int], ids: list[Prompt]) -> list[Tensor]:
        """Map each concept row's attention over the part of the photo that `view` returns (paper fig. 3).

        Returns for each photo (K_i, h, w) float32, non-negative.
        """


def pad_lines(lines: list[list[int]], fill: int, device: torch.device, *, left: bool = False) -> Tensor:
    """Pad lists of ids or labels to the longest, on the right or on the left: (B, L) int64."""
    length = max(len(line) for line in lines)
    return torch.tensor(
        [[fill] * (length - len(v)) + v if left else v + [fill] * (length - len(v)) for v in lines], device=device
    )


def limit_aspect_ratio(image: Image.Image) -> Image.Image:
    """Crop the centre of an image whose sides have a ratio above 8.

    The centre crop that follows shows no more of it, and the shortest side is resized first: a picture of
    1 × 20,000 pixels would grow to gigabytes.
    """
    short, long = min(image.size), max(image.size)
    if long <= _MAX_ASPECT_RATIO * short:
        return image
    width, height = (min(side, _MAX_ASPECT_RATIO * short) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def check_complete(loading_info: Mapping[str, Any], optional: Sequence[str] = ()) -> None:
    """Check that a checkpoint held every weight: transformers gives missing weights random values.

    loading_info: from `from_pretrained`; its `missing_keys` leave out weights that are tied to others.
    optional: names of weights that may be missing.

    Raises:
        ValueError: other weights are missing.
    """
    missing = sorted(set(loading_info["missing_keys"]) - set(optional))
    if missing:
        raise ValueError(f"{len(missing)} weights are missing, the first is {missing[0]}")
