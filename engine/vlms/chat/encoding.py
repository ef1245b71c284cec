"""Encode photos once, and join what the vision tower gave for each of them into a batch."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, cast

import engine.core.device  # noqa: F401

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

BESIDE = ("image_grid_thw",)
"""What the language model takes beside encoded photos: the grid of an image's tokens, for positions (M-RoPE)."""


def encodes_once(model: Any) -> bool:
    """Return whether a VLM takes the output of its vision tower in place of pixels."""
    return "mm_encoder_outputs" in inspect.signature(model.forward).parameters and hasattr(
        model.model, "get_image_features"
    )


def to_device(pixels: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """Move a photo's tensors to a device; those with real numbers get the model's number format."""
    return {
        name: value.to(device, dtype) if value.is_floating_point() else value.to(device)
        for name, value in pixels.items()
    }


@torch.no_grad()
def encode_photo(model: Any, pixels: Mapping[str, Tensor]) -> BaseModelOutputWithPooling:
    """Run the vision tower on one photo; only what the language model takes of its output is kept."""
    encode = model.model.get_image_features
    taken = {name: pixels[name] for name in inspect.signature(encode).parameters if name in pixels}
    seen = encode(**taken, return_dict=True)
    return _output(seen, seen.pooler_output, getattr(seen, "deepstack_features", None))


def join_photos(photos: Sequence[BaseModelOutputWithPooling]) -> BaseModelOutputWithPooling:
    """Join the outputs of several photos, as the family's own batch would be."""
    pooled = [photo.pooler_output for photo in photos]
    deep = [getattr(photo, "deepstack_features", None) for photo in photos]
    levels = None if deep[0] is None else [_join_level(level) for level in zip(*deep, strict=True)]
    return _output(photos[0], None if pooled[0] is None else _join(pooled), levels)


def _output(like: Any, pooled: Any, levels: Any) -> BaseModelOutputWithPooling:
    """Make an output of the family's own class."""
    deep = {} if levels is None else {"deepstack_features": levels}
    return cast(BaseModelOutputWithPooling, type(like)(pooler_output=pooled, **deep))


def _join(parts: Sequence[Any]) -> Any:
    """Join tensors along the photos, or the lists that hold a tensor for each photo."""
    if isinstance(parts[0], Tensor):
        return torch.cat(list(parts))
    return [tensor for part in parts for tensor in part]


def _join_level(parts: Sequence[Any]) -> Any:
    """Join one level of DeepStack; Granite's levels are pairs of a layer's number and the features."""
    if isinstance(parts[0], tuple) and isinstance(parts[0][0], int):
        return parts[0][0], _join([features for _, features in parts])
    return _join(parts)
