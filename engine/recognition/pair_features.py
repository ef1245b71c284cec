"""Compare regions with enrolled concepts: the pair features (docs/recognition.md, Pair features). numpy only."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

PAIR_FEATURES = ("likeness", "nearest", "rival", "crowd", "twins")
"""Columns of the pair features, all cosine similarities: to the mean of the concept's reference crops; to the nearest
crop of each of the four reference photos most alike, their mean; to the best other concept's mean; to the cohort
members most like the region, their mean; of the concept's mean to the cohort members most like it. The names are those
of the JSON output.
"""
_PENALTY = 30.0
"""Log-odds that a region loses for each unit of cosine by which it is nearer to a rejected region than to any crop of
the concept: 0.05 nearer is 1.5. Values of 15, 30 and 60 remove as many false names; higher values remove more right
ones, too. Rejections as a pair feature of the logistic head were far worse: one of them removed names of concepts that
had no rejection (errors of the nine others in a library: 31 before, 63 after).
"""
_COHORT = 50
"""Members of the compared cohort, as in adaptive score normalisation of speaker verification (Matějka et al. 2017)."""
_NEIGHBOURS = 4
"""Reference photos that a region is compared with. With more photos, and with confirmed ones, those that show the
concept from another side then do not count against it.
"""
_HIGHEST_LIKENESS, _SURE_MARGIN = 0.8, 0.15
"""The highest likeness of references that is assumed, and how far below it a region surely shows something else."""
_HARDEST = 300
"""Negatives for each concept: the cohort members most like it. The others do not influence the fit."""
_CHUNK = 2048
"""Regions that are compared with the cohort at once."""


@dataclass(frozen=True)
class Template:
    """The features of one concept.

    views: (V, D) unit features of its reference crops, plain and altered, and of confirmed regions. photos: (V,) int,
    the photo that each is of. rejected: (K, D) features of rejected regions. confirmed: how many of the photos, which
    come last, were confirmed and not enrolled.
    """

    views: np.ndarray
    photos: np.ndarray
    rejected: np.ndarray
    confirmed: int = 0

    def without(self, photo: int) -> "Template":
        """Return the template without one photo."""
        kept = self.photos != photo
        return replace(self, views=self.views[kept], photos=self.photos[kept])


@dataclass(frozen=True)
class ReferenceSet:
    """All enrolled concepts that one kind of feature tells apart (faces, or regions), in a fixed order.

    cohort: (N, D) unit features that show none of them: shipped bank, background of references, library regions.
    """

    concepts: tuple[Template, ...]
    cohort: np.ndarray

    @cached_property
    def prepared(self) -> "PreparedConcepts":
        """What the pair features of any region need, computed once."""
        return PreparedConcepts(self.concepts, self.cohort)


def compute_pair_features(features: np.ndarray, concepts: Sequence[Template], cohort: np.ndarray) -> np.ndarray:
    """Return the pair features (R, C, 5) float32 of regions (R, D) for each concept; see `PAIR_FEATURES`."""
    return PreparedConcepts(concepts, cohort).pair_features(features)


class PreparedConcepts:
    """What the pair features of any region need of a reference set, computed once."""

    def __init__(self, concepts: Sequence[Template], cohort: np.ndarray) -> None:
        self._cohort = cohort
        self._count = len(concepts)
        if not concepts:
            return
        self.centres = np.stack([unit(t.views.mean(axis=0)) for t in concepts])
        orders = [np.argsort(t.photos, kind="stable") for t in concepts]
        self._views = np.concatenate([t.views[o] for t, o in zip(concepts, orders, strict=True)])
        photos = [t.photos[o] for t, o in zip(concepts, orders, strict=True)]
        new = np.concatenate([np.append(True, p[1:] != p[:-1]) for p in photos])
        self._starts = np.flatnonzero(new)  # of each reference photo's views
        counts = [len(np.unique(p)) for p in photos]
        self._spans = np.cumsum([0, *counts])
        self._concept_cohort = _top_mean(self.centres @ cohort.T) if len(cohort) else np.zeros(self._count, np.float32)

    def pair_features(self, features: np.ndarray) -> np.ndarray:
        """Return the pair features (R, C, 5) float32 of regions (R, D)."""
        found = np.zeros((len(features), self._count, len(PAIR_FEATURES)), np.float32)
        if not len(features) or not self._count:
            return found
        likeness = features @ self.centres.T
        found[..., 0] = likeness
        best = np.maximum.reduceat(features @ self._views.T, self._starts, axis=1)  # a column a reference photo
        for c, (start, end) in enumerate(pairwise(self._spans)):
            found[:, c, 1] = np.sort(best[:, start:end], axis=1)[:, -_NEIGHBOURS:].mean(axis=1)
        found[..., 2] = _best_other(likeness)
        for start in range(0, len(features) if len(self._cohort) else 0, _CHUNK):
            rows = slice(start, start + _CHUNK)
            found[rows, :, 3] = _top_mean(features[rows] @ self._cohort.T)[:, None]
        found[..., 4] = self._concept_cohort
        return found


def rejection_penalty(features: np.ndarray, concepts: Sequence[Template]) -> np.ndarray:
    """Return the log-odds (R, C) that regions (R, D) lose for being nearer to a rejected region than to any crop."""
    found = np.zeros((len(features), len(concepts)), np.float32)
    for column, own in enumerate(concepts):
        if len(own.rejected) and len(features):
            nearer = (features @ own.rejected.T).max(axis=1) - (features @ own.views.T).max(axis=1)
            found[:, column] = _PENALTY * np.maximum(0.0, nearer)
    return found


def left_out_pairs(gallery: ReferenceSet, concept: int, most: int | None = None) -> list[np.ndarray]:
    """Return the pair features (V, 5) of each reference photo's crops, computed as if the photo had not been given."""
    own = gallery.concepts[concept]
    photos = np.unique(own.photos)
    if len(photos) < 2:
        return []
    others = np.delete(gallery.prepared.centres, concept, axis=0)
    found = []
    for photo in photos:
        views = own.views[own.photos == photo][:most]
        evidence = PreparedConcepts([own.without(int(photo))], gallery.cohort).pair_features(views)[:, 0]
        if len(others):
            evidence[:, PAIR_FEATURES.index("rival")] = (views @ others.T).max(axis=1)
        found.append(evidence)
    return found


def negative_pairs(gallery: ReferenceSet) -> np.ndarray:
    """Return the pair features (M, 5) of pairs that are certainly wrong: other concepts' crops, nearest cohort."""
    views = np.concatenate([t.views for t in gallery.concepts])
    owner = np.repeat(np.arange(len(gallery.concepts)), [len(t.views) for t in gallery.concepts])
    of_views, of_cohort = (gallery.prepared.pair_features(f) for f in (views, gallery.cohort))
    rows = []
    for c in range(len(gallery.concepts)):
        nearest = np.argsort(-of_cohort[:, c, 0], kind="stable")[:_HARDEST]
        rows += [of_views[owner != c, c], of_cohort[nearest, c]]
    found = np.concatenate(rows)
    return found if len(found) else np.zeros((1, len(PAIR_FEATURES)), np.float32)


def find_cohort(features: np.ndarray, concepts: Sequence[Template]) -> np.ndarray:
    """Return which regions (R, D) of an unlabelled library surely show none of the concepts: (R,) bool.

    Those well under the likeness that each concept's worst reference has to the others, or under a fixed one.
    """
    found = np.ones(len(features), bool)
    for own in concepts:
        photos = np.unique(own.photos)
        rest = [own.without(int(p)).views.mean(axis=0) for p in photos] if len(photos) > 1 else []
        left = [float((own.views[own.photos == p] @ unit(r)).mean()) for p, r in zip(photos, rest, strict=False)]
        found &= features @ unit(own.views.mean(axis=0)) < min([*left, _HIGHEST_LIKENESS]) - _SURE_MARGIN
    return found


def unit(vector: np.ndarray) -> np.ndarray:
    """Return a vector (D,) with unit length; a zero vector stays zero."""
    scaled: np.ndarray = vector / max(float(np.linalg.norm(vector)), 1e-9)
    return scaled


def _best_other(likeness: np.ndarray) -> np.ndarray:
    """For each entry of (R, C) the largest other one of its row; 0 with one concept."""
    if likeness.shape[1] < 2:
        return np.zeros_like(likeness)
    order = np.argsort(likeness, axis=1, kind="stable")
    rows = np.arange(len(likeness))
    found = np.repeat(likeness[rows, order[:, -1]][:, None], likeness.shape[1], axis=1)
    found[rows, order[:, -1]] = likeness[rows, order[:, -2]]
    return found


def _top_mean(likeness: np.ndarray) -> np.ndarray:
    """Mean of each row's 50 largest: (R,)."""
    k = min(_COHORT, likeness.shape[1])
    found: np.ndarray = np.partition(likeness, -k, axis=1)[:, -k:].mean(axis=1)
    return found
