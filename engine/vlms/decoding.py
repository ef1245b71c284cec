"""Generate with fixed shapes in long runs on a CUDA GPU, so that the step for one token is compiled once and reused.

transformers compiles that step where the keys and values lie in a static cache (`cache_implementation="static"`). It
pays after some hundred photos, and only while the size of batches and the length of the cache stay the same.
"""

import logging
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Protocol, TypeVar

import engine.core.device  # noqa: F401

import torch
from torch import Tensor

from engine.core.errors import first_line, is_out_of_memory

T = TypeVar("T")
_LONG_RUN = 300
"""Texts after which compiling is worth its time: about a minute, which a compiled step earns back in some hundred
photos. A judgement from published figures; it was not measured here."""
_LENGTHS = 256
"""The cache's length in tokens is rounded up to a multiple of this, so that it hardly ever changes."""
_LEAST_SHARE = 0.5
"""Share of a batch from which it is filled up with copies; smaller ones are generated as they are."""


class _Generator(Protocol):
    """A model of transformers that generates."""

    def generate(self, **inputs: Any) -> Tensor:
        """Return ids (B, L)."""


class Decoding:
    """How one VLM generates; it remembers the shapes of the run so far."""

    def __init__(self, *, after: int = _LONG_RUN, device_types: Sequence[str] = ("cuda",)) -> None:
        """Start with shapes as they come.

        after: texts until shapes are fixed. device_types: where they are at all; none for a family that writes
        something else with them.
        """
        self._after, self._device_types = after, tuple(device_types)
        self._generated = self._batch = self._length = 0
        self._is_fixed = False
        self.why_not = ""  # why shapes are not fixed any more

    def fill(self, items: list[T]) -> list[T]:
        """Repeat the last item of a batch until it is as large as those before it, where shapes are fixed."""
        missing = self._batch - len(items) if self._is_fixed and self._is_large(len(items)) else 0
        return items + [items[-1]] * missing

    def generate(self, model: _Generator, *, prompt: int, max_new_tokens: int, **inputs: Any) -> Tensor:
        """Return the ids that `model.generate` gives, greedily. prompt: length of the longest prompt in tokens.

        Where fixed shapes do not work with a model, it goes on without them. Where memory runs out, the size of batches
        is found anew: smaller ones follow, which must not be filled up again.
        """
        try:
            return self._generate(model, prompt, max_new_tokens, inputs)
        except Exception as err:
            if is_out_of_memory(err):
                self._is_fixed, self._batch = False, 0
            raise

    def _generate(self, model: _Generator, prompt: int, max_new_tokens: int, inputs: dict[str, Any]) -> Tensor:
        mask: Tensor = inputs["attention_mask"]
        options = inputs | {"max_new_tokens": max_new_tokens, "do_sample": False}
        self._generated += len(mask)
        self._batch = max(self._batch, len(mask))
        is_long = self._generated >= self._after and mask.device.type in self._device_types
        if not is_long or self.why_not or not self._is_large(len(mask)):
            return self._run(model, options)
        self._length = max(self._length, -(-(prompt + max_new_tokens) // _LENGTHS) * _LENGTHS)
        static = {"cache_implementation": "static", "max_cache_len": self._length}
        self._is_fixed = True
        try:
            return self._run(model, options | static | {"disable_compile": find_spec("triton") is None})
        except Exception as err:  # compilers raise types of their own
            if is_out_of_memory(err):
                raise
            self._is_fixed, self.why_not = False, first_line(err)
            logging.getLogger(__name__).info("no fixed shapes with %s: %s", type(model).__name__, self.why_not)
        return self._run(model, options)

    def _is_large(self, size: int) -> bool:
        return size >= _LEAST_SHARE * self._batch

    @torch.inference_mode()
    def _run(self, model: _Generator, options: dict[str, Any]) -> Tensor:
        return model.generate(**options)
