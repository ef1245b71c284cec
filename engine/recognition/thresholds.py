"""Thresholds from a library that nobody has labelled: the impostors' tail, left-out references, two cuts. numpy only.

Nearly all photos of a library show no enrolled concept, and still have a best score. The upper tail of these scores is
extrapolated to the promised rate: above a high quantile, excesses are exponential (the Gumbel case of Pickands 1975).
Since the library is unlabelled, photos of the enrolled themselves must not pass for impostors: whatever scores like a
left-out reference is suspected to be one and left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.vision.config import ThresholdPrior

CAUTION = 0.4
"""Share of the promised rate that is aimed at: with 2 false names allowed in 2,000 photos, 0.8 expected
ones stay within that in 95 % of libraries (Poisson).
"""
_TAIL = 25
"""Scores below the cut that the tail is fitted on; fewer where the library has fewer."""
_FEWEST = 20
_FURTHEST = 12.0
_SHARPEST, _WIDEST = 0.02, 1.0
"""Log-odds of impostors above t are rarer than exp(-t) (Markov's inequality for likelihood ratios), so a wider tail
is photos of the enrolled that were badly seen, not impostors.
"""
_USUAL_SPREAD, _PRIOR = 0.4, 20
"""On 15 storybook libraries 0.7 false names in 1,000 are then predicted, and 0.7 were counted; without them 2.4."""
_NARROWEST, _WIDEST_SHIFT = 0.05, 0.25
"""Of the spread by which thresholds follow the promised rate."""
_USUAL_CUT = 2.0
"""Where suspicion begins when there is nothing to leave out."""
_SUSPECT = 0.1
_ENOUGH = 0.25
"""Share of left-out references that a threshold must leave above it, or the concept is not separable."""
_LEAST_GAP = 0.25
_FEWEST_CONFIRMED = 2
_MOST_LOWERED = 0.5
_ABOVE_REJECTED = 0.1
_MAYBE = 15.0
"""A maybe may be wrong so many times as often as a name."""


OBJECTS = ThresholdPrior(level=2.6, max_shift=0.25, floor_ratio=0.85)
"""Of the storybook's regions, as its recogniser's config has it (with that of faces). Chosen on 15 storybook libraries
(seeds 1001 to 1004, 1109 to 1117, 1119, 1120; engine/benchmarks/library_cases.py): 0.7 false names in 1,000 photos, at
most 1 in 14 of them. It is the floor that decides: levels from 2.0 to 2.6 give the same to 0.002 of recall.
"""


@dataclass(frozen=True)
class Tail:
    """Expected impostors of the library above t ≥ start, of concept c: `counts[c]` · exp(-(t - start) / spread)."""

    start: float
    spread: float
    counts: np.ndarray

    def above(self, thresholds: np.ndarray) -> float:
        """How many are expected above the concepts' thresholds (C,), all together."""
        return float((self.counts * np.exp(-np.maximum(0.0, thresholds - self.start) / self.spread)).sum())

    def level(self, floors: np.ndarray, expected: float) -> float:
        """The lowest common threshold so that no more than so many are expected above it and the floors (C,)."""
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
        """What is to be expected of other name thresholds."""
        expected = 1000 * self.tail.above(names) / max(1, self.photos)
        return replace(self, name_thresholds=names, separable=_separable(held_out, names), expected=expected)


def best_in_photos(scores: np.ndarray, photos: np.ndarray, names: np.ndarray | None = None) -> np.ndarray:
    """Each concept's best score in each photo, (P, C), -inf where no region is most like it: what could be named.

    scores: (R, C) log-odds of regions; photos: (R,) int 0..P-1, which photo each is of; names: (C,) name thresholds,
    which decide whom a region is most like, as far as they are known.
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
    """Thresholds for at most `per_1000` false names in 1,000 photos, over all these concepts together.

    stricter: how many times as rare as the rate that `prior` was chosen for false names are to be, those of all kinds
    together; thresholds go up (or down) by as much as makes an exponential tail so much rarer.

    best: (P, C), see `best_in_photos`; held_out: for each concept the log-odds of its left-out references.
    `prior`: what labelled libraries taught, which the library at hand may correct by `prior.max_shift`: two expected
    false names cannot be counted in 2,000 photos, only extrapolated to. No threshold is under its concept's floor.
    """
    tail = fit_tail(best, _cuts(held_out, prior.floor_ratio))
    floors = _floors(held_out, prior)
    allowed = per_1000 * len(best) / 1000
    wanted = tail.level(floors, CAUTION * allowed)
    names = np.maximum(floors, min(prior.level + prior.max_shift, max(prior.level - prior.max_shift, wanted)))
    names = names + max(_NARROWEST, min(_WIDEST_SHIFT, tail.spread)) * np.log(stricter)
    nowhere = np.full(len(floors), -np.inf)
    maybes = np.minimum(names - _LEAST_GAP, min(tail.level(nowhere, _MAYBE * allowed), prior.level - prior.max_shift))
    found = Calibration(names, maybes, np.ones(len(names), bool), 0.0, len(best), tail)
    return found.at(names, held_out)


def learn_from_decisions(names: np.ndarray, maybes: np.ndarray, decided: Sequence[tuple]) -> np.ndarray:
    """Name thresholds (C,), lowered for concepts of which the user confirmed regions that score under them.

    decided: of each concept the log-odds of what was confirmed, scored as if it had not been, and of what was rejected.
    A threshold goes to the confirmed ones' lower quartile, by half a unit at most, and stays above everything rejected:
    what a library without labels must be suspected of, its owner has looked at.
    """
    found = names.astype(np.float64)
    for c, (confirmed, rejected) in enumerate(decided):
        if len(confirmed) >= _FEWEST_CONFIRMED:
            least = max(maybes[c], names[c] - _MOST_LOWERED, np.max(rejected, initial=-np.inf) + _ABOVE_REJECTED)
            found[c] = min(names[c], max(least, float(np.quantile(confirmed, 0.25))))
    return found


def prior_thresholds(
    held_out: Sequence[np.ndarray], prior: ThresholdPrior = OBJECTS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """names, maybes, separable as a `Calibration` has them, where there is no library: a little stricter than prior."""
    names = np.maximum(_floors(held_out, prior), prior.level + prior.max_shift)
    return names, np.minimum(names - _LEAST_GAP, prior.level - prior.max_shift), _separable(held_out, names)


def _floors(held_out: Sequence[np.ndarray], prior: ThresholdPrior) -> np.ndarray:
    """Under which no concept is named: by its left-out references; strict for one that has none."""
    strict = prior.level + prior.max_shift
    return np.array([prior.floor_ratio * float(np.median(h)) if len(h) else strict for h in held_out])


def _separable(held_out: Sequence[np.ndarray], names: np.ndarray) -> np.ndarray:
    return np.array([not len(h) or np.mean(h >= t) >= _ENOUGH for h, t in zip(held_out, names, strict=True)], bool)


def _cuts(held_out: Sequence[np.ndarray], floor: float) -> np.ndarray:
    """Per concept the log-odds from which a photo is suspected to show it: a little under its floor; for a concept
    without left-out references the lowest of the others'.
    """
    known = [(floor - _SUSPECT) * float(np.median(h)) for h in held_out if len(h)]
    usual = min(known, default=_USUAL_CUT)
    return np.array([(floor - _SUSPECT) * float(np.median(h)) if len(h) else usual for h in held_out])


def fit_tail(best: np.ndarray, cuts: np.ndarray) -> Tail:
    """The tail of the scores (P, C) below each concept's cut (C,): one spread for all concepts, counts of their own."""
    clear = np.where(best < cuts, best, -np.inf)
    pooled = np.sort(clear[np.isfinite(clear)])
    if len(pooled) < _FEWEST:
        return Tail(float(cuts.min(initial=0.0)), 1.0, np.full(len(cuts), max(1, len(pooled)) / max(1, len(cuts))))
    start = float(pooled[-min(_TAIL, len(pooled))])
    spans = np.maximum(1e-6, cuts - start)
    over = np.where(clear >= start, clear - start, np.nan)
    spread = _truncated_spread(over, spans)
    seen = 1.0 - np.exp(-spans / spread)  # the share of the tail that is below the cut
    counts = np.isfinite(over).sum(axis=0) / np.maximum(0.01, seen) + 1.0 / len(cuts)  # nobody's tail is empty
    return Tail(start, spread, counts.astype(np.float64))


def _truncated_spread(over: np.ndarray, spans: np.ndarray) -> float:
    """An exponential's mean from excesses (P, C), NaN where there are none, of which those over the concept's span (C,)
    were cut off: where the sum of E[y | y < span] is that of the excesses (maximum likelihood, by bisection). With a
    short span that says little; some excesses of the usual mean are thought beside them.
    """
    each = np.isfinite(over).sum(axis=0)
    total = float(np.nansum(over)) + _PRIOR * _USUAL_SPREAD

    def expected(spread: float) -> float:
        ratio = np.minimum(50.0, spans / spread)
        return float((each * (spread - spans / np.expm1(ratio))).sum()) + _PRIOR * spread

    low, high = _SHARPEST, _WIDEST
    if expected(high) <= total:
        return high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if expected(middle) < total else (low, middle)
    return high
