"""The shipped bank of negative features: what other things of a category look like to an encoder."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from engine.heads.config import RecogniserConfig
from engine.store.tensors import load_tensors


@dataclass(frozen=True)
class Bank:
    """features: (N, D) unit vectors; categories: the class word of each."""

    features: np.ndarray
    categories: tuple[str, ...]

    def of(self, category: str) -> np.ndarray:
        """Features of one class word, (n, D)."""
        return self.features[[i for i, c in enumerate(self.categories) if c == category]]


@lru_cache(maxsize=4)
def load_bank(config: RecogniserConfig) -> Bank:
    """The bank that belongs to a recogniser; empty when it has none."""
    if config.bank is None or not config.bank.is_file():
        return Bank(np.zeros((0, 1), np.float32), ())
    arrays = load_tensors(config.bank)
    words = bytes(arrays["words"]).decode().split("\n")
    features = arrays["features"].astype(np.float32)  # int8 of unit vectors
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return Bank(features, tuple(words[i] for i in arrays["categories"]))
