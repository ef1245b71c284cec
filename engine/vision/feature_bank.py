"""The shipped bank of negative features: what other things look like to an encoder."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from engine.core.tensors import load_tensors
from engine.vision.config import RecogniserConfig


@dataclass(frozen=True)
class FeatureBank:
    """features: (N, D) unit vectors."""

    features: np.ndarray


def load_bank(config: RecogniserConfig) -> FeatureBank:
    """The bank that belongs to a recogniser; empty when it has none."""
    if config.bank is None or not config.bank.is_file():
        return FeatureBank(np.zeros((0, 1), np.float32))
    return _load(config.bank)


def load_face_bank(config: RecogniserConfig) -> FeatureBank:
    """The bank of strangers' faces that belongs to a face pack; empty when it has none."""
    if config.faces.bank is None or not config.faces.bank.is_file():
        return FeatureBank(np.zeros((0, 1), np.float32))
    return _load(config.faces.bank)


@lru_cache(maxsize=4)
def _load(path: Path) -> FeatureBank:
    features = load_tensors(path)["features"].astype(np.float32)  # int8 of unit vectors
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return FeatureBank(features)
