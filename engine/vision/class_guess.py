"""Guess a plain class word, such as "dog" or "mug", from the logits of an ImageNet-1k classifier."""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np


@dataclass(frozen=True)
class ClassWords:
    """The words, and the classes that each stands for.

    members: (K, W) float32, 1 where class k belongs to word w. A class may belong to no word, and to several.
    least: the lowest summed probability at which a word is given.
    """

    words: tuple[str, ...]
    members: np.ndarray
    least: float

    def guess(self, logits: np.ndarray) -> tuple[str, ...]:
        """Return the likeliest word for each row of logits (N, K); "" where no word is likely enough."""
        sums = softmax(logits) @ self.members  # (N, W)
        return tuple(self.words[w] if row[w] >= self.least else "" for row, w in zip(sums, sums.argmax(1), strict=True))


@cache
def imagenet_words(least: float, classes: int = 1000) -> ClassWords:
    """Read the table of words (`imagenet_words.json`): for each word, first and last class of its ranges."""
    table = json.loads(resources.files("engine.vision").joinpath("imagenet_words.json").read_text("utf-8"))
    members = np.zeros((classes, len(table)), np.float32)
    for column, ranges in enumerate(table.values()):
        for first, last in ranges:
            members[first : last + 1, column] = 1.0
    return ClassWords(tuple(table), members, least)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities (N, K) of logits (N, K)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return shares
