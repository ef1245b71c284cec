"""Load the shipped banks of negative features, of other objects and other people's faces.

See docs/recognition.md, Negatives.
"""

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
        """Return the digest of the features, 12 hex digits; it is part of stored digests."""
        return sha256_of(self.features.tobytes())[:12]


def load_bank(config: RecogniserConfig) -> FeatureBank:
    """Load the bank of a recogniser's region features; empty, (0, 1), when it has none."""
    if config.bank is None or not config.bank.is_file():
        return FeatureBank(np.zeros((0, 1), np.float32))
    return _load(config.bank)


def load_face_bank(config: RecogniserConfig) -> FeatureBank:
    """Load the bank of a face pack with the features of other people's faces; empty, (0, 1), when it has none."""
    if config.faces.bank is None or not config.faces.bank.is_file():
        return FeatureBank(np.zeros((0, 1), np.float32))
    return _load(config.faces.bank)


@lru_cache(maxsize=4)
def _load(path: Path) -> FeatureBank:
    """Load and normalise the features of a bank file, (N, D) int8."""
    features = load_tensors(path)["features"].astype(np.float32)  # (N, D)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return FeatureBank(features)
