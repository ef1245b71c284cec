"""Draw each training photo's augmented views once, and keep what the frozen VLM makes of them.

What is kept depends on the photo, the view and the seed only, never on what else is kept: a view that finds no room is
computed again when it is needed, with the same numbers.
"""

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

import engine.core.device  # noqa: F401

import numpy as np
import torch
from PIL import Image

from engine.training.augment import augment
from engine.vlms.base import Encoded, Vlm
from engine.vlms.config import Training
from engine.vlms.memory import machine_memory_gb
from engine.vlms.prefix import Prefix, PrefixVlm

_GPU_SHARE = 0.5
"""Share of a GPU's free memory that views may take; the rest is for the step itself."""
_MACHINE_SHARE = 0.125
"""Share of the machine's memory that views may take where there is no CUDA GPU; Apple's GPU shares it."""
_UNKNOWN = 1e9
"""Bytes that views may take where the system does not tell how much memory it has."""
_FEATURES_SHARE = 0.25
"""Share of those bytes for image features; keys and values take 64 times as many (LLaVA-1.6: 512 KiB a row, not 8)."""

T = TypeVar("T")


class _Shelf(Generic[T]):
    """Keeps values up to a number of bytes; what comes later is not kept.

    Views come in turns. A cache that makes room for the latest would have dropped each view just before its next use.
    """

    def __init__(self, limit: float) -> None:
        self.limit, self.used = limit, 0
        self._kept: dict[Hashable, T] = {}

    def get(self, key: Hashable) -> T | None:
        return self._kept.get(key)

    def put(self, key: Hashable, value: T) -> None:
        size = bytes_of(value)
        if self.used + size <= self.limit:
            self._kept[key] = value
            self.used += size

    def halve(self) -> bool:
        """Drop everything and keep half as much from now on; returns whether anything was dropped."""
        had = bool(self._kept)
        self.limit, self.used = self.used / 2, 0
        self._kept.clear()
        return had


class Views:
    """The views of a training's photos, encoded, and the prefixes of their prompts.

    Photo p's view v is drawn from (seed, p, v). Without augmentation, the only view is the photo itself.
    """

    def __init__(
        self, vlm: Vlm, images: Sequence[Image.Image], settings: Training, seed: int, limit: float | None = None
    ) -> None:
        """Draw nothing yet. limit: bytes to keep; None for a share of the memory that is free."""
        self._vlm, self._images, self._settings, self._seed = vlm, images, settings, seed
        limit = free_bytes(torch.device(vlm.device)) if limit is None else limit
        self._features: _Shelf[Encoded] = _Shelf(limit * _FEATURES_SHARE)
        self._prefixes: _Shelf[Prefix] = _Shelf(limit * (1 - _FEATURES_SHARE))
        self.have_prefixes = isinstance(vlm, PrefixVlm) and vlm.caches_prefixes

    def view_at(self, step: int) -> int:
        """Return the view that all photos have at a step, counted from 0: each in turn."""
        return step % self._settings.views if self._settings.augment else 0

    @torch.no_grad()
    def features(self, photo: int, view: int) -> Encoded:
        """Return the image features of a photo's view. Each is encoded alone, so that no other one changes it."""
        found = self._features.get((photo, view))
        if found is None:
            image = self._images[photo]
            if self._settings.augment:
                image = augment(image, np.random.default_rng((self._seed, photo, view)))
            found = cast(Encoded, self._vlm.encode(self._vlm.preprocess([image])))
            self._features.put((photo, view), found)
        return found

    def prefix(self, photo: int, view: int, ids: Any) -> Prefix:
        """Return the prefix of a photo's view and a prompt; only where `have_prefixes`."""
        vlm = cast(PrefixVlm, self._vlm)
        features = self.features(photo, view)
        key = (photo, view, vlm.head_of(features, ids))
        found = self._prefixes.get(key)
        if found is None:
            found = vlm.prefix(features, ids)
            self._prefixes.put(key, found)
        return found

    def keep_less(self) -> bool:
        """Drop everything and keep half as much from now on; returns whether that freed memory."""
        dropped = [shelf.halve() for shelf in (self._features, self._prefixes)]
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return any(dropped)


def free_bytes(device: torch.device) -> float:
    """Return the bytes that views may take on a device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return _GPU_SHARE * torch.cuda.mem_get_info(device)[0]
    return _MACHINE_SHARE * machine_memory_gb() * 1e9 or _UNKNOWN


def bytes_of(value: object) -> int:
    """Return the bytes of all tensors in a value: in its items, its parts and its fields."""
    if isinstance(value, torch.Tensor):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(map(bytes_of, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(bytes_of, value))
    if dataclasses.is_dataclass(value):
        return sum(bytes_of(getattr(value, f.name)) for f in dataclasses.fields(value))
    return 0
