"""Load the shipped banks of negative features: features of other objects and of other people's faces."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from engine.core.files import sha256_of
from engine.core.tensors import load_tensors
from engine.vision.config import RecogniserConfig


@dataclass(frozen=True)
class FeatureBank:
    """Negative features, (N, D) float32 of unit length."""

    features: np.ndarray

    @cached_property
    def digest(self) -> str:
        """A digest of the features, 12 hex digits; it is part of stored digests."""
        return sha256_of(self.features.tobytes())[:12]


def load_bank(config: RecogniserConfig) -> FeatureBank:
    """Load the bank of a recogniser's region features; empty, (0, 1), when it has none."""
    if config.bank is None or not config.bank.is_file():
        return FeatureBank(np.zeros((0, 1), np.float32))
    return _load(config.bank)


def load_face_bank(config: RecogniserConfig) -> FeatureBank:
    """Load the bank of other people's faces of a face pack; empty, (0, 1), when it has none."""
    if config.faces.bank is None or not config.faces.bank.is_file():
        return FeatureBank(np.zeros((0, 1), np.float32))
    return _load(config.faces.bank)


@lru_cache(maxsize=4)
def _load(path: Path) -> FeatureBank:
    features = load_tensors(path)["features"].astype(np.float32)  # (N, D), stored as int8
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return FeatureBank(features)
