"""What every VLM of `AutoModelForImageTextToText` offers; transformers' annotations hide most of it."""

from typing import Any, Protocol

import engine.core.device  # noqa: F401

import torch
from torch import Tensor

from engine.vlms.model_types import Logits


class ChatConfig(Protocol):
    """The settings of any VLM; `image_token_id` stands for a piece of an image in its ids."""

    model_type: str
    image_token_id: int

    def get_text_config(self) -> Any:
        """Return the language model's settings, whose names depend on the family."""


class ChatModel(Protocol):
    """A VLM of `AutoModelForImageTextToText`; `model` is the same without its output layer."""

    model: Any
    generation_config: Any

    @property
    def config(self) -> ChatConfig:
        """The model's settings."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the weights."""

    def __call__(self, **inputs: Any) -> Logits:
        """Return the logits."""

    def generate(self, **inputs: Any) -> Tensor:
        """Generate ids behind the prompt's: (B, S + L) int64."""

    def get_input_embeddings(self) -> torch.nn.Module:
        """Return the table of token embeddings."""

    def get_output_embeddings(self) -> torch.nn.Module:
        """Return the output layer: hidden states (T, D) to logits (T, V)."""
