"""Compute estimates with their 95 % intervals, and F1 of sets."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Z = 1.959964  # quantile of the normal distribution for a two-sided interval of 95 %
_RESAMPLINGS = 2000


@dataclass(frozen=True)
class Estimate:
    """A measured value with the number of observations and its 95 % interval; value None when n is 0."""

    value: float | None
    n: int
    low: float | None
    high: float | None

    def document(self) -> dict[str, float | int | list[float | None] | None]:
        """Return the estimate as plain data."""
        return {"value": self.value, "n": self.n, "ci95": [self.low, self.high]}

    def clipped(self, low: float, high: float) -> "Estimate":
        """Return the estimate with its interval clipped to the possible values."""
        if self.low is None or self.high is None:
            return self
        return Estimate(self.value, self.n, max(low, self.low), min(high, self.high))

    def scaled(self, factor: float) -> "Estimate":
        """Return the estimate in another unit, such as per 1,000."""
        if self.value is None or self.low is None or self.high is None:
            return self
        value, low, high = (round(v * factor, 4) for v in (self.value, self.low, self.high))
        return Estimate(value, self.n, low, high)


NOT_ESTIMATED = Estimate(None, 0, None, None)
"""The estimate from no observations."""


def f1(named: Iterable[object], present: Iterable[object]) -> float:
    """Compute F1 of two sets: 2·|both| / (|named| + |present|), 1.0 when both are empty."""
    a, b = set(named), set(present)
    return 2 * len(a & b) / (len(a) + len(b)) if a or b else 1.0


def proportion(hits: Sequence[bool]) -> Estimate:
    """Estimate the share of hits, with Wilson's score interval (Wilson 1927)."""
    return _wilson(sum(hits) / len(hits), len(hits)) if hits else NOT_ESTIMATED


def repeated_proportion(observations: Iterable[tuple[str, bool]]) -> Estimate:
    """Estimate the share of hits among observations of photos, each of which may be observed several times.

    observations: the photo and whether it was a hit. Observations of one photo are not independent: n and the interval
    (Wilson's) are those of as many observations as there are different photos.
    """
    rows = list(observations)
    if not rows:
        return NOT_ESTIMATED
    return _wilson(sum(hit for _, hit in rows) / len(rows), len({photo for photo, _ in rows}))


def _wilson(p: float, n: int) -> Estimate:
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    return Estimate(round(p, 4), n, round(max(0.0, centre - half), 4), round(min(1.0, centre + half), 4))


def ratio(hits: Sequence[bool], base: Sequence[bool]) -> Estimate:
    """Estimate hits as a multiple of the base's hits on the same photos.

    The interval is a paired bootstrap's: percentiles of 2,000 resamplings of the photos (Efron 1979). There is no
    estimate when the base never hits.
    """
    import numpy as np

    pairs = np.array([hits, base], np.float64)  # (2, n)
    n = pairs.shape[1]
    if not n or not pairs[1].sum():
        return NOT_ESTIMATED
    chosen = pairs[:, np.random.default_rng(0).integers(n, size=(_RESAMPLINGS, n))].sum(-1)
    ratios = chosen[0][chosen[1] > 0] / chosen[1][chosen[1] > 0]
    low, high = np.percentile(ratios, (2.5, 97.5))
    return Estimate(round(float(pairs[0].sum() / pairs[1].sum()), 4), n, round(float(low), 4), round(float(high), 4))


def mean(values: Sequence[float]) -> Estimate:
    """Estimate the mean, with its normal interval."""
    n = len(values)
    if n == 0:
        return NOT_ESTIMATED
    m = sum(values) / n
    spread = math.sqrt(sum((v - m) ** 2 for v in values) / (n - 1)) if n > 1 else 0.0
    half = Z * spread / math.sqrt(n)
    return Estimate(round(m, 4), n, round(m - half, 4), round(m + half, 4))
