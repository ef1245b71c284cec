"""Figures with their 95 % intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z = 1.959964  # two-sided 95 % of the normal distribution
_RESAMPLINGS = 2000


@dataclass(frozen=True)
class Figure:
    """A measured value with the number of observations and its 95 % interval; value None when n is 0."""

    value: float | None
    n: int
    low: float | None
    high: float | None

    def document(self) -> dict[str, float | int | list[float | None] | None]:
        """As plain data."""
        return {"value": self.value, "n": self.n, "ci95": [self.low, self.high]}

    def clipped(self, low: float, high: float) -> "Figure":
        """The figure with its interval inside the values that are possible."""
        if self.low is None or self.high is None:
            return self
        return Figure(self.value, self.n, max(low, self.low), min(high, self.high))

    def scaled(self, factor: float) -> "Figure":
        """The figure in another unit (per 1,000, say)."""
        if self.value is None or self.low is None or self.high is None:
            return self
        return Figure(round(self.value * factor, 4), self.n, round(self.low * factor, 4), round(self.high * factor, 4))


def proportion(hits: Sequence[bool]) -> Figure:
    """Share of hits with Wilson's score interval (Wilson 1927)."""
    n = len(hits)
    if n == 0:
        return Figure(None, 0, None, None)
    p = sum(hits) / n
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    return Figure(round(p, 4), n, round(max(0.0, centre - half), 4), round(min(1.0, centre + half), 4))


def ratio(found: Sequence[bool], base: Sequence[bool]) -> Figure:
    """Hits as a multiple of the base's hits on the same photos, with a paired bootstrap's interval (percentiles of
    2,000 resamplings of the photos; Efron 1979); not measured when the base never hits.
    """
    import numpy as np

    pairs = np.array([found, base], np.float64)
    n = pairs.shape[1]
    if not n or not pairs[1].sum():
        return Figure(None, 0, None, None)
    chosen = pairs[:, np.random.default_rng(0).integers(n, size=(_RESAMPLINGS, n))].sum(-1)
    ratios = chosen[0][chosen[1] > 0] / chosen[1][chosen[1] > 0]
    low, high = np.percentile(ratios, (2.5, 97.5))
    return Figure(round(float(pairs[0].sum() / pairs[1].sum()), 4), n, round(float(low), 4), round(float(high), 4))


def mean(values: Sequence[float]) -> Figure:
    """Mean with its normal interval."""
    n = len(values)
    if n == 0:
        return Figure(None, 0, None, None)
    m = sum(values) / n
    spread = math.sqrt(sum((v - m) ** 2 for v in values) / (n - 1)) if n > 1 else 0.0
    half = Z * spread / math.sqrt(n)
    return Figure(round(m, 4), n, round(m - half, 4), round(m + half, 4))
