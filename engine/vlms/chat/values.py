"""The values that pass between the steps of the `chat` backend."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import engine.core.device  # noqa: F401

import torch
from PIL import Image
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling


@dataclass(frozen=True)
class ChatPhoto:
    """One preprocessed photo.

    image: the photo as the checkpoint's processor receives it: cropped to a ratio of 8, and with the pixel limit.
    pixels: what the model's vision tower takes, by name, in the processor's number format.
    kept: the output of the image processor, from which the processor writes the image's tokens.
    """

    image: Image.Image
    pixels: Mapping[str, Tensor]
    kept: Mapping[str, Any]


@dataclass(frozen=True)
class EncodedPhoto:
    """One encoded photo.

    seen: the output of the vision tower and projector.
    beside: what the language model takes beside it, by name, on the device.
    norm: (), the L2 norm that concept rows are given.
    dtype: the number format of the features.
    """

    photo: ChatPhoto
    seen: BaseModelOutputWithPooling
    beside: Mapping[str, Tensor]
    norm: Tensor
    dtype: torch.dtype


@dataclass(frozen=True)
class ChatFeatures:
    """A batch of encoded photos."""

    photos: list[EncodedPhoto]

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the features."""
        return self.photos[0].dtype

    def select(self, photos: list[int]) -> "ChatFeatures":
        """Return some of the photos, by their indices in the batch."""
        return ChatFeatures([self.photos[i] for i in photos])


@dataclass(frozen=True)
class ChatRows:
    """One encoded photo with its concept rows (K, D) float32, scaled; K may be 0."""

    photo: EncodedPhoto
    concepts: Tensor


@dataclass(frozen=True)
class Line:
    """The tokens of one photo and text.

    ids: token ids with all of the image's tokens.
    types: other values that the family has for each token ("token_type_ids", "mm_token_type_ids"), by name.
    image: the indices of the image's tokens; behind: the index behind the image's block, where slots go.
    slots: the indices of the slots, once they are there.
    labels: the ids that are supervised, -100 elsewhere; empty where nothing is trained.
    """

    ids: list[int]
    types: Mapping[str, list[int]]
    image: list[int]
    behind: int
    slots: range = range(0)
    labels: tuple[int, ...] = ()

    def shifted(self, by: int) -> "Line":
        """Return the line with its places in a sequence that is padded by `by` tokens on the left."""
        slots = range(self.slots.start + by, self.slots.stop + by)
        return replace(self, image=[i + by for i in self.image], behind=self.behind + by, slots=slots)

    def with_slots(self, count: int, slot_id: int) -> "Line":
        """Put slots behind the image's block; their other values are those of text, which all families write as 0."""
        at = self.behind
        types = {name: [*values[:at], *[0] * count, *values[at:]] for name, values in self.types.items()}
        ids = [*self.ids[:at], *[slot_id] * count, *self.ids[at:]]
        labels = (*self.labels[:at], *[-100] * count, *self.labels[at:]) if self.labels else ()
        return replace(self, ids=ids, types=types, slots=range(at, at + count), labels=labels)
