"""What an image encoder computes."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Encoding:
    """Features (N, D) float32 of unit length, and a class word for each image, "" where none is sure."""

    features: np.ndarray
    words: tuple[str, ...]
