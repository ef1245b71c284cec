"""Cluster unit vectors by average linkage, exactly and in little memory: numpy only.

The mean cosine similarity of two clusters is the scalar product of their mean vectors, so that no matrix of all pairs
is kept. Average linkage is reducible (Bruynooghe 1977): clusters that are each other's nearest are merged in any order
with the same result, and a cluster whose nearest is below the threshold never comes above it. So each round merges all
pairs of nearest neighbours at once (Sumengen et al. 2021, "Scaling Hierarchical Agglomerative Clustering to
Billion-sized Datasets") and drops what is finished.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from engine.vision.config import GroupThresholds

_CELLS = 2**24
"""Similarities that are held at a time: 64 MiB of float32."""
APART = -1.0
"""Cosine similarity that two vectors from one photo are given, which cannot be of one individual."""
ESTABLISHED = 3
"""Members from which a cluster is large enough for others to join it at a lower similarity."""


def cluster(features: np.ndarray, photos: np.ndarray, thresholds: GroupThresholds) -> np.ndarray:
    """Return the cluster (N,) of each unit vector (N, D), numbered by their first members.

    photos: (N,) int, the photo that each vector is from. First any two clusters are merged from `thresholds.start` on,
    then those of at least `ESTABLISHED` members take others from `thresholds.join` on
    (docs/experiments.md#groups-of-those-without-a-name).
    """
    clusters = Clusters(features, photos)
    clusters.merge_all(thresholds.start)
    clusters.join_established(thresholds.join)
    return clusters.numbers()


@dataclass(frozen=True)
class _Pairs:
    """Pairs of vectors that are apart, in both directions: (P,) each. excess: by how much too high their cosine is."""

    a: np.ndarray
    b: np.ndarray
    excess: np.ndarray


class Clusters:
    """The clusters during the merging, each known by the number of one of its vectors."""

    def __init__(self, features: np.ndarray, photos: np.ndarray) -> None:
        """Begin with a cluster for each unit vector (N, D). photos: (N,) int, the photo that each is from."""
        size = len(features)
        self._sums = features.astype(np.float32)  # (N, D), of the members
        self._counts = np.ones(size, np.float32)
        self._labels = np.arange(size)
        self._open = np.ones(size, bool)  # exists, and may still be merged
        self._nearest = np.full(size, -1)
        self._similarity = np.full(size, -np.inf, np.float32)
        self._photos = photos
        self._apart = _both_ways(self._sums, np.array(list(_pairs(photos.tolist())), int).reshape(-1, 2))

    def numbers(self) -> np.ndarray:
        """Return the number of each vector's cluster, (N,); clusters are numbered by their first members."""
        _, first, labels = np.unique(self._labels, return_index=True, return_inverse=True)
        return np.argsort(np.argsort(first))[labels]

    def merge_all(self, threshold: float) -> None:
        """Merge clusters until no two have a mean similarity of at least the threshold: average linkage, exactly."""
        rows = np.arange(len(self._labels))
        while len(rows):
            self._look_for_nearest(rows, threshold)
            rows = self._merge_nearest()

    def join_established(self, threshold: float) -> None:
        """Merge clusters with established ones until none has a mean similarity of at least the threshold to one.

        In each round every cluster may join the established one that it is most like; two established ones merge if
        each is most like the other.
        """
        while True:
            present = np.unique(self._labels)
            established = present[self._counts[present] >= ESTABLISHED]
            if not len(established):
                return
            nearest, similarity = self._nearest_of(present, established)
            wanted = similarity >= threshold
            order = np.argsort(-similarity[wanted], kind="stable")
            pairs = list(zip(present[wanted][order].tolist(), nearest[wanted][order].tolist(), strict=True))
            joins = self._choose_joins(pairs, set(established.tolist()))
            if not joins:
                return
            self._merge([target for _, target in joins], [joining for joining, _ in joins])

    def _choose_joins(self, pairs: Sequence[tuple[int, int]], established: set[int]) -> list[tuple[int, int]]:
        """Return which clusters join which in this round, of pairs that are sorted by similarity.

        No two that share a photo join the same one, because they were not compared.
        """
        wishes, members = dict(pairs), self._members()
        done: set[int] = set()
        joins = []
        new_photos: dict[int, set[int]] = {}
        for joining, target in pairs:
            is_mutual = joining not in established or (wishes.get(target) == joining and joining > target)
            own = {int(p) for p in self._photos[members[joining]]}
            if done & {joining, target} or not is_mutual or own & new_photos.get(target, set()):
                continue
            if joining in established:
                if target in new_photos:
                    continue
                done |= {joining, target}
            new_photos.setdefault(target, set()).update(own)
            joins.append((joining, target))
        return [(j, t) for j, t in joins if j not in new_photos]

    def _members(self) -> dict[int, np.ndarray]:
        order = np.argsort(self._labels, kind="stable")
        labels, starts = np.unique(self._labels[order], return_index=True)
        return dict(zip(labels.tolist(), np.split(order, starts[1:]), strict=True))

    def _look_for_nearest(self, rows: np.ndarray, threshold: float) -> None:
        """Find the nearest open cluster of some clusters; those that have none above the threshold are closed."""
        open_rows = np.flatnonzero(self._open)
        if len(open_rows) < 2:
            self._open[:] = False
            return
        self._nearest[rows], self._similarity[rows] = self._nearest_of(rows, open_rows)
        self._open &= self._similarity >= threshold

    def _nearest_of(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which other one of some clusters is nearest to each of the rows, and its mean similarity."""
        means = self._sums[columns] / self._counts[columns, None]  # (C, D)
        column = np.full(len(self._labels), -1)
        column[columns] = np.arange(len(columns))
        nearest, similarity = np.full(len(rows), -1), np.full(len(rows), -np.inf, np.float32)
        step = max(1, _CELLS // len(columns))
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            found = (self._sums[block] / self._counts[block, None]) @ means.T  # (B, C)
            self._push_apart(found, block, column)
            own = column[block]
            found[np.flatnonzero(own >= 0), own[own >= 0]] = -np.inf
            best = found.argmax(axis=1)
            nearest[start : start + step] = columns[best]
            similarity[start : start + step] = found[np.arange(len(block)), best]
        return nearest, similarity

    def _push_apart(self, similarities: np.ndarray, block: np.ndarray, column: np.ndarray) -> None:
        """Lower the similarities (B, C) of a block of clusters by what is apart in them."""
        a, b = self._labels[self._apart.a], self._labels[self._apart.b]
        row = np.full(len(self._labels), -1)
        row[block] = np.arange(len(block))
        chosen = (row[a] >= 0) & (column[b] >= 0) & (a != b)
        a, b, excess = a[chosen], b[chosen], self._apart.excess[chosen]
        np.subtract.at(similarities, (row[a], column[b]), excess / (self._counts[a] * self._counts[b]))

    def _merge_nearest(self) -> np.ndarray:
        """Merge all pairs of open clusters that are each other's nearest; return the clusters to look at again."""
        rows = np.flatnonzero(self._open)
        rows = rows[self._open[self._nearest[rows]]]
        partners = self._nearest[rows]
        mutual = (self._nearest[partners] == rows) & (rows < partners)
        kept, gone = rows[mutual], partners[mutual]
        if not len(kept):
            if not len(rows):
                return rows
            best = rows[np.argmax(self._similarity[rows])]  # rounding hid who is whose nearest
            kept, gone = np.sort([[best], [self._nearest[best]]], axis=0)
        self._merge(kept, gone)
        self._open[gone] = False
        rows = np.flatnonzero(self._open)
        merged = np.zeros(len(self._labels), bool)
        merged[kept] = merged[gone] = True
        return rows[merged[rows] | merged[self._nearest[rows]]]

    def _merge(self, kept: Sequence[int] | np.ndarray, gone: Sequence[int] | np.ndarray) -> None:
        """Merge each cluster of `gone` into the one of `kept`."""
        np.add.at(self._sums, kept, self._sums[gone])
        np.add.at(self._counts, kept, self._counts[gone])
        target = np.arange(len(self._labels))
        target[gone] = kept
        self._labels = target[self._labels]


def _pairs(photos: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of vectors that are from the same photo."""
    rows: dict[int, list[int]] = {}
    for i, photo in enumerate(photos):
        yield from ((k, i) for k in rows.setdefault(photo, []))
        rows[photo].append(i)


def _both_ways(features: np.ndarray, apart: np.ndarray) -> _Pairs:
    a, b = np.concatenate([apart, apart[:, ::-1]]).T
    return _Pairs(a, b, np.einsum("pd,pd->p", features[a], features[b]) - np.float32(APART))
