"""Train and apply the paper's object head: a linear classifier on features of a frozen encoder.

See docs/recognition.md, The paper's heads.
"""

import math
from dataclasses import dataclass

import numpy as np

from engine.recognition.torch_draws import TorchDraws


@dataclass(frozen=True)
class HeadTraining:
    """Training settings of a linear head; the defaults are the paper's recipe for CLIP ViT-H/14.

    steps: optimizer steps. batch: features in each step, drawn with replacement. scale: factor of the unit features.
    balanced: whether positives and negatives are drawn equally often, whatever their numbers.
    """

    steps: int = 500
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    batch: int = 16
    scale: float = 1.0
    balanced: bool = False


@dataclass(frozen=True)
class LinearHead:
    """A linear classifier with two classes: 0 is another thing, 1 is the concept.

    weight (2, D) and bias (2,) give the logits of a unit feature multiplied by `scale`.
    """

    weight: np.ndarray
    bias: np.ndarray
    scale: float

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Return the softmax probability of the concept, (N,) in 0..1, for unit features (N, D)."""
        logits = self.scale * features @ self.weight.T + self.bias
        return 1.0 / (1.0 + np.exp(logits[:, 0] - logits[:, 1]))


def train_head(positives: np.ndarray, negatives: np.ndarray, settings: HeadTraining, seed: int) -> LinearHead:
    """Train a head on unit features with AdamW, cosine annealing of the learning rate, and cross entropy.

    positives: (P, D), negatives: (M, D) float32. Without negatives (M = 0) the head scores every feature as positive.
    The steps and the random numbers are those of torch's AdamW and CosineAnnealingLR, in numpy: for so small a head
    many times as fast, and torch, which takes seconds to import, is not needed.
    """
    draws = TorchDraws(seed)
    weight = draws.normal((2, positives.shape[1]), 0.01)
    features = settings.scale * np.concatenate([positives, negatives]).astype(np.float32)
    rows = np.concatenate([features, np.ones((len(features), 1), np.float32)], axis=1)  # (P + M, D + 1), with the bias
    is_concept = np.arange(len(rows)) < len(positives)
    draw_weights = np.ones(len(rows), np.float32)
    if settings.balanced and len(negatives):
        draw_weights = np.where(is_concept, 0.5 / len(positives), 0.5 / len(negatives)).astype(np.float32)
    adamw = _AdamW(np.concatenate([weight, np.zeros((2, 1), np.float32)], axis=1), settings)
    drawn = draws.rows(draw_weights, settings.steps * settings.batch).reshape(settings.steps, settings.batch)
    for numbers, signs in zip(drawn, np.where(is_concept, 1.0, -1.0)[drawn], strict=True):
        adamw.step(_gradient(adamw.weight, rows.take(numbers, axis=0), signs))
    return LinearHead(adamw.weight[:, :-1].copy(), adamw.weight[:, -1].copy(), settings.scale)


def _gradient(weight: np.ndarray, rows: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Return the gradient (D + 1,) of the mean cross entropy over rows (B, D + 1) by the first row of the weight.

    signs: (B,), 1 for rows of the concept and -1 for others. The gradient by the second row is the negative.
    """
    logits = rows @ weight.T  # (B, 2)
    wrong = 1.0 / (1.0 + np.exp(signs * (logits[:, 1] - logits[:, 0])))  # 1 - P(true class)
    gradient: np.ndarray = ((signs * wrong).astype(np.float32) / len(rows)) @ rows
    return gradient


class _AdamW:
    """AdamW (Loshchilov and Hutter 2019) with a cosine-annealed learning rate, for the two rows of a head.

    Their gradients are opposite, and so are their moments and steps: those of the first row are kept.
    """

    _BETAS, _EPSILON = (0.9, 0.999), 1e-8

    def __init__(self, weight: np.ndarray, settings: HeadTraining) -> None:
        """Start from a weight (2, D + 1), which is changed in place in each step."""
        self.weight, self._settings, self._steps = weight, settings, 0
        self._mean, self._square = np.zeros_like(weight[0]), np.zeros_like(weight[0])

    def step(self, gradient: np.ndarray) -> None:
        """Take one step against the gradient (D + 1,) of the first row."""
        (first, second), settings = self._BETAS, self._settings
        rate = settings.learning_rate * (1 + math.cos(math.pi * self._steps / settings.steps)) / 2
        self._steps += 1
        self._mean += (1 - first) * (gradient - self._mean)
        self._square += (1 - second) * (gradient * gradient - self._square)
        scale = np.sqrt(self._square / (1 - second**self._steps)) + self._EPSILON
        step = rate / (1 - first**self._steps) * self._mean / scale
        self.weight *= 1 - rate * settings.weight_decay
        self.weight[0] -= step
        self.weight[1] += step
