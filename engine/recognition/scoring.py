"""Score how likely a region shows an enrolled concept and nothing else (docs/recognition.md, Scoring). numpy only.

Every pair of a region and a concept gets five pair features: two compare it with the concept's references, one with the
best other concept, and two with the cohort. One logistic head for all concepts turns them into log-odds. It is fitted
on reference photos, scored as if they had not been given (leave one out), against everything that certainly shows
something else.
Log-odds of different concepts are on one scale, as one-to-one assignment and a common threshold need.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from engine.core.types import Kind
from engine.recognition.pair_features import (
    PAIR_FEATURES,
    ReferenceSet,
    left_out_pairs,
    negative_pairs,
    rejection_penalty,
)
from engine.vision.config import RecogniserConfig, ScoringWeights, ThresholdPrior

FEWEST_OTHERS = 30
"""With fewer features that show something else, a fit takes everything for the concept (measured: 99 % of unrelated
features with three).
"""
_ALONE_WEIGHT = 20.0
"""Log-odds for one unit of cosine similarity where nothing is known that shows something else."""
_FALLBACK = (10.0, 10.0, -4.0, -4.0, -4.0)
"""Weights of the pair features where no concept has two photos, so that nothing can be left out."""
_OF_COHORT = [PAIR_FEATURES.index("crowd"), PAIR_FEATURES.index("twins")]
"""The pair features that compare with the cohort."""
_RIDGE = 0.05
"""Penalty of the squared weights."""
_ROUNDS = 30
"""Steps of Newton's method, at most."""


@dataclass(frozen=True)
class Scorer:
    """The logistic head of a reference set.

    weights: (5,), of the pair features after (x - centre) / scale. rival: log-odds that a region loses for one unit of
    cosine by which it is nearer to another concept's mean.
    """

    gallery: ReferenceSet
    weights: np.ndarray
    bias: float
    centre: np.ndarray
    scale: np.ndarray
    rival: float = 0.0

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Return log-odds (R, C) float32 that regions with unit features (R, D) show each concept; higher is surer."""
        return self._odds(self._compared.prepared.pair_features(features)) - rejection_penalty(
            features, self.gallery.concepts
        )

    @cached_property
    def held_out(self) -> list[np.ndarray]:
        """The log-odds of each reference photo's plain crop, scored without that photo; a list of each concept's."""
        return [
            np.array([self._odds(e)[0] for e in left_out_pairs(self._compared, c, most=1)], np.float32)
            for c in range(len(self.gallery.concepts))
        ]

    def rejected(self) -> list[np.ndarray]:
        """Return per concept the log-odds (K,) of its rejected regions, without the penalty for rejections."""
        return [
            self._odds(self._compared.prepared.pair_features(own.rejected))[:, c]
            if len(own.rejected)
            else np.zeros(0, np.float32)
            for c, own in enumerate(self.gallery.concepts)
        ]

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the head as named arrays, for safetensors and `restore`; features are stored with the concepts."""
        return {
            "weights": self.weights.astype(np.float32),
            "bias": np.array([self.bias], np.float32),
            "centre": self.centre.astype(np.float32),
            "scale": self.scale.astype(np.float32),
        } | ({"rival": np.array([self.rival], np.float32)} if self.rival else {})

    @cached_property
    def _compared(self) -> ReferenceSet:
        """What regions are compared with: without the cohort, whose pair features take most of the time, where their
        weights are 0.
        """
        return self.gallery if self.weights[_OF_COHORT].any() else replace(self.gallery, cohort=self.gallery.cohort[:0])

    def _odds(self, features: np.ndarray) -> np.ndarray:
        found: np.ndarray = ((features - self.centre) / self.scale @ self.weights + self.bias).astype(np.float32)
        if self.rival:
            found -= self.rival * np.maximum(0.0, features[..., 2] - features[..., 0])
        return found


def restore(gallery: ReferenceSet, tensors: Mapping[str, np.ndarray]) -> Scorer:
    """Return the scorer with the arrays of `Scorer.tensors`, for the reference set that it was fitted on."""
    rival = float(tensors["rival"][0]) if "rival" in tensors else 0.0
    return Scorer(gallery, tensors["weights"], float(tensors["bias"][0]), tensors["centre"], tensors["scale"], rival)


def make_scorer(gallery: ReferenceSet, prior: ThresholdPrior, given: ScoringWeights | None) -> Scorer:
    """Return the logistic head with the given weights, or else fit it.

    Where little is known that shows something else, nothing can be fitted: then the likeness decides, and the name
    threshold without a calibration is at the cosine `prior.alone`.
    """
    if given is not None:
        return _fixed(gallery, (given.likeness, given.nearest, 0.0, 0.0, 0.0), given.bias, given.rival)
    others = len(gallery.cohort) + sum(len(t.views) for t in gallery.concepts[1:])
    if others < FEWEST_OTHERS:
        bias = prior.level + prior.max_shift - _ALONE_WEIGHT * prior.alone
        return _fixed(gallery, (_ALONE_WEIGHT, 0.0, 0.0, 0.0, 0.0), bias, 0.0)
    return fit(gallery)


def is_strict(config: RecogniserConfig, kind: Kind, others: int) -> bool:
    """Return whether concepts of a kind are named by likeness alone, with so many features of others known."""
    return config.scoring_weights(kind) is None and others < FEWEST_OTHERS


def _fixed(gallery: ReferenceSet, weights: Sequence[float], bias: float, rival: float) -> Scorer:
    centre = np.zeros(len(PAIR_FEATURES), np.float32)
    return Scorer(gallery, np.array(weights, np.float32), bias, centre, np.ones_like(centre), rival)


def fit(gallery: ReferenceSet) -> Scorer:
    """Fit the logistic head: left-out references against the cohort and other concepts. Deterministic.

    The user's decisions are left out: hard cases would change the scale that the thresholds of all concepts are on
    (seven rejections in a library: errors of nine other concepts 8 before, 14 after).

    With fewer than two photos for every concept there is nothing to leave out, and fixed weights are used.
    """
    kept = [len(np.unique(t.photos)) - t.confirmed for t in gallery.concepts]
    positives = [e for c, n in enumerate(kept) for e in left_out_pairs(gallery, c)[:n]]
    if not positives:
        return _fixed(gallery, _FALLBACK, -8.0, 0.0)
    negatives = negative_pairs(gallery)
    centre, scale = negatives.mean(axis=0), negatives.std(axis=0)
    scale = np.where(scale < 1e-4, 1.0, scale)
    rows = np.concatenate([*positives, negatives])
    labels = np.zeros(len(rows))
    labels[: sum(map(len, positives))] = 1.0
    share = np.concatenate([np.full(len(p), 1 / (len(p) * len(positives))) for p in positives])
    share = np.concatenate([share, np.full(len(negatives), 1 / len(negatives))])
    weights, bias = _logistic((rows - centre) / scale, labels, share)
    return Scorer(gallery, weights.astype(np.float32), float(bias), centre, scale)


def _logistic(rows: np.ndarray, labels: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, float]:
    """Ridge logistic regression by Newton's method; share (M,): the rows' weights. Returns weights (P,) and bias."""
    design = np.concatenate([rows, np.ones((len(rows), 1))], axis=1).astype(np.float64)
    penalty = np.full(design.shape[1], _RIDGE)
    penalty[-1] = 1e-4
    beta = np.zeros(design.shape[1])
    for _ in range(_ROUNDS):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        slope = design.T @ (share * (p - labels)) + penalty * beta
        bend = (design * (share * p * (1 - p))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(bend, slope)
        beta = beta - step
        if np.abs(step).max() < 1e-8:
            break
    return beta[:-1], float(beta[-1])
