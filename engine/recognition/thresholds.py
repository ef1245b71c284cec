"""Fit thresholds to an unlabelled library: a prior, left-out references, and the tail of impostor scores. numpy only.

Nearly all photos of a library show no enrolled concept, and still have a best score. The upper tail of these scores is
extrapolated to the requested rate: above a high quantile, excesses are exponential (the Gumbel case of Pickands 1975).
Photos of the enrolled concepts must not count as impostors: a photo that scores like a left-out reference is suspected
to show the concept and left out (docs/recognition.md, Thresholds).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.vision.config import ThresholdPrior

CAUTION = 0.4
"""Share of the requested rate that is aimed at: with 2 false names allowed in 2,000 photos, 0.8 expected ones stay
within that number in 95 % of libraries (Poisson).
"""
_TAIL = 25
"""Scores below the cut that the tail is fitted on; fewer where the library has fewer."""
_FEWEST = 20
"""With fewer scores below the cuts no tail is fitted."""
_FURTHEST = 12.0
"""Spreads above the start of the tail up to which a threshold is looked for."""
_SHARPEST, _WIDEST = 0.02, 1.0
"""Bounds of the spread. Log-odds above t are rarer than exp(-t) among impostors (Markov's inequality for likelihood
ratios), so a wider tail consists of poor photos of the enrolled concepts.
"""
_PRIOR_SPREAD, _PRIOR_COUNT = 0.4, 20
"""Mean and number of the excesses that are added as a prior. On 15 storybook libraries 0.7 false names in 1,000 photos
are then predicted, and 0.7 were counted; without the prior 2.4 are predicted.
"""
_NARROWEST_SHIFT, _WIDEST_SHIFT = 0.05, 0.25
"""Bounds of the spread by which thresholds follow the requested rate."""
_DEFAULT_CUT = 2.0
"""Log-odds from which a photo is suspected to show a concept when no concept has left-out references."""
_SUSPECT = 0.1
"""How far below its floor a concept is suspected in a photo: a share of the median left-out reference's log-odds."""
_ENOUGH = 0.25
"""Share of left-out references that a threshold must leave above it, or the concept is not separable."""
_LEAST_GAP = 0.25
"""Log-odds by which a suggestion threshold is at least below the name threshold."""
_FEWEST_CONFIRMED = 2
_MOST_LOWERED = 0.5
_ABOVE_REJECTED = 0.1
"""A threshold is lowered if so many regions were confirmed, by so much at most, and stays so far above rejected scores
(docs/recognition.md, Suggestions and feedback).
"""
_SUGGESTIONS = 15.0
"""Number of wrong suggestions that are allowed for each allowed false name."""


OBJECTS = ThresholdPrior(level=2.6, max_shift=0.25, floor_ratio=0.85)
"""The prior of the storybook's regions, as in its recogniser's config. Chosen on 15 storybook libraries (seeds 1001 to
1004, 1109 to 1117, 1119, 1120; benchmarks/library_cases.py): 0.7 false names in 1,000 photos over all, at most 1 in 14
of the libraries. The floor decides: levels from 2.0 to 2.6 give the same recall to 0.002.
"""


@dataclass(frozen=True)
class Tail:
    """Expected impostors of a library: of concept c above t ≥ start, counts[c] · exp(-(t - start) / spread)."""

    start: float
    spread: float
    counts: np.ndarray

    def above(self, thresholds: np.ndarray) -> float:
        """Return how many impostors are expected above the concepts' thresholds (C,), over all concepts."""
        return float((self.counts * np.exp(-np.maximum(0.0, thresholds - self.start) / self.spread)).sum())

    def level(self, floors: np.ndarray, expected: float) -> float:
        """Return the lowest common threshold above which, and above the floors (C,), so many are expected at most."""
        levels = self.start + self.spread * np.linspace(0.0, _FURTHEST, 400)
        over = np.maximum(0.0, np.maximum(floors[None], levels[:, None]) - self.start)
        fine = (self.counts * np.exp(-over / self.spread)).sum(axis=1) <= expected
        return float(levels[int(np.argmax(fine))] if fine.any() else levels[-1])


@dataclass(frozen=True)
class Calibration:
    """Thresholds of a group of concepts, and what the library's tail predicts for them.

    name_thresholds, suggestion_thresholds: (C,) log-odds. separable: (C,) bool, whether enough left-out references of a
    concept reach its name threshold. expected: false names in 1,000 photos. photos: how many it was made on.
    """

    name_thresholds: np.ndarray
    suggestion_thresholds: np.ndarray
    separable: np.ndarray
    expected: float
    photos: int
    tail: Tail

    def at(self, names: np.ndarray, held_out: Sequence[np.ndarray]) -> "Calibration":
        """Return the calibration with other name thresholds, and what the tail predicts for these."""
        expected = 1000 * self.tail.above(names) / max(1, self.photos)
        return replace(self, name_thresholds=names, separable=_separable(held_out, names), expected=expected)


def best_in_photos(scores: np.ndarray, photos: np.ndarray, names: np.ndarray | None = None) -> np.ndarray:
    """Return each concept's best score in each photo, (P, C); -inf where no region is most like the concept.

    scores: (R, C) log-odds of regions. photos: (R,) int 0..P-1, the photo that each region is in. names: (C,) name
    thresholds, which decide what a region is most like, where they are known.
    """
    count = int(photos.max()) + 1 if len(photos) else 0
    found = np.full((count, scores.shape[1]), -np.inf, np.float64)
    if len(scores):
        winner = (scores if names is None else scores - names).argmax(axis=1)
        np.maximum.at(found, (photos, winner), scores[np.arange(len(scores)), winner])
    return found


def calibrate(
    best: np.ndarray,
    held_out: Sequence[np.ndarray],
    prior: ThresholdPrior = OBJECTS,
    *,
    per_1000: float = 1.0,
    stricter: float = 1.0,
) -> Calibration:
    """Fit thresholds for at most `per_1000` false names in 1,000 photos, over all these concepts together.

    best: (P, C), see `best_in_photos`. held_out: for each concept the log-odds of its left-out references. prior:
    values chosen on labelled libraries, which this library may shift by `prior.max_shift`: two expected false names in
    2,000 photos cannot be counted, only extrapolated to. No threshold is below its concept's floor. stricter: the rate
    that the prior was chosen for divided by the requested rate of all groups together; thresholds move by
    spread * ln(stricter), which makes an exponential tail so much rarer.
    """
    tail = fit_tail(best, _cuts(held_out, prior.floor_ratio))
    floors = _floors(held_out, prior)
    allowed = per_1000 * len(best) / 1000
    wanted = tail.level(floors, CAUTION * allowed)
    names = np.maximum(floors, min(prior.level + prior.max_shift, max(prior.level - prior.max_shift, wanted)))
    names = names + max(_NARROWEST_SHIFT, min(_WIDEST_SHIFT, tail.spread)) * np.log(stricter)
    nowhere = np.full(len(floors), -np.inf)
    suggestions = np.minimum(
        names - _LEAST_GAP, min(tail.level(nowhere, _SUGGESTIONS * allowed), prior.level - prior.max_shift)
    )
    found = Calibration(names, suggestions, np.ones(len(names), bool), 0.0, len(best), tail)
    return found.at(names, held_out)


def learn_from_decisions(
    names: np.ndarray, suggestions: np.ndarray, decided: Sequence[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """Return name thresholds (C,), lowered for concepts of which the user confirmed regions that score below them.

    names, suggestions: (C,) thresholds. decided: for each concept the log-odds of confirmed regions, each scored as if
    it had not been confirmed, and of rejected regions. A threshold goes down to the lower quartile of the confirmed
    scores, by half a unit at most, and stays above every rejected score.
    """
    found = names.astype(np.float64)
    for c, (confirmed, rejected) in enumerate(decided):
        if len(confirmed) >= _FEWEST_CONFIRMED:
            least = max(suggestions[c], names[c] - _MOST_LOWERED, np.max(rejected, initial=-np.inf) + _ABOVE_REJECTED)
            found[c] = min(names[c], max(least, float(np.quantile(confirmed, 0.25))))
    return found


def prior_thresholds(
    held_out: Sequence[np.ndarray], prior: ThresholdPrior = OBJECTS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return name thresholds, suggestion thresholds and separable as a `Calibration` has them, without a library.

    They are a little stricter than the prior's level.
    """
    names = np.maximum(_floors(held_out, prior), prior.level + prior.max_shift)
    return names, np.minimum(names - _LEAST_GAP, prior.level - prior.max_shift), _separable(held_out, names)


def _floors(held_out: Sequence[np.ndarray], prior: ThresholdPrior) -> np.ndarray:
    """Return the concepts' floors (C,); level + maximum shift for a concept without left-out references."""
    strict = prior.level + prior.max_shift
    return np.array([prior.floor_ratio * float(np.median(h)) if len(h) else strict for h in held_out])


def _separable(held_out: Sequence[np.ndarray], names: np.ndarray) -> np.ndarray:
    return np.array([not len(h) or np.mean(h >= t) >= _ENOUGH for h, t in zip(held_out, names, strict=True)], bool)


def _cuts(held_out: Sequence[np.ndarray], floor: float) -> np.ndarray:
    """Return the log-odds (C,) from which a photo is suspected to show each concept: a little below its floor.

    A concept without left-out references has the lowest of the others' cuts.
    """
    known = [(floor - _SUSPECT) * float(np.median(h)) for h in held_out if len(h)]
    lowest = min(known, default=_DEFAULT_CUT)
    return np.array([(floor - _SUSPECT) * float(np.median(h)) if len(h) else lowest for h in held_out])


def fit_tail(best: np.ndarray, cuts: np.ndarray) -> Tail:
    """Fit the tail of the scores (P, C) below each concept's cut (C,): one spread for all, a count for each concept."""
    clear = np.where(best < cuts, best, -np.inf)
    pooled = np.sort(clear[np.isfinite(clear)])
    if len(pooled) < _FEWEST:
        return Tail(float(cuts.min(initial=0.0)), 1.0, np.full(len(cuts), max(1, len(pooled)) / max(1, len(cuts))))
    start = float(pooled[-min(_TAIL, len(pooled))])
    spans = np.maximum(1e-6, cuts - start)
    over = np.where(clear >= start, clear - start, np.nan)
    spread = _truncated_spread(over, spans)
    seen = 1.0 - np.exp(-spans / spread)  # the share of the tail that is below the cut
    counts = np.isfinite(over).sum(axis=0) / np.maximum(0.01, seen) + 1.0 / len(cuts)  # a tail is never empty
    return Tail(start, spread, counts.astype(np.float64))


def _truncated_spread(over: np.ndarray, spans: np.ndarray) -> float:
    """Return the maximum-likelihood mean of exponential excesses (P, C) that were cut off at the spans (C,).

    NaN marks scores below the start of the tail. The mean is where the sum of E[y | y < span] equals that of the
    excesses, found by bisection. A short span says little about it, so excesses of the prior mean are added.
    """
    each = np.isfinite(over).sum(axis=0)
    total = float(np.nansum(over)) + _PRIOR_COUNT * _PRIOR_SPREAD

    def expected(spread: float) -> float:
        ratio = np.minimum(50.0, spans / spread)
        return float((each * (spread - spans / np.expm1(ratio))).sum()) + _PRIOR_COUNT * spread

    low, high = _SHARPEST, _WIDEST
    if expected(high) <= total:
        return high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if expected(middle) < total else (low, middle)
    return high


def interval(expected: float, photos: int) -> tuple[float, float]:
    """Return the false names in 1,000 photos that 95 % of libraries with so many photos have (Poisson).

    expected: the expected number in 1,000 photos.
    """
    count = expected * photos / 1000
    low, high = (1000 * _poisson_quantile(q, count) / photos for q in (0.025, 0.975))
    return low, high


def _poisson_quantile(share: float, mean: float) -> int:
    """Return the least count that a Poisson variable with this mean does not exceed with this probability."""
    count, chance = 0, math.exp(-mean)
    total = chance
    while total < share and count < 10 * mean + 100:
        count += 1
        chance *= mean / count
        total += chance
    return count
