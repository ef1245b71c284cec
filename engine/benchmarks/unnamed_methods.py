"""Ways of clustering sightings that `myvlm evaluate --unnamed` compares with the one that `myvlm people` uses."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.core.errors import EnvironmentFault
from engine.unnamed.linkage import Clusters, cluster
from engine.vision.config import GroupThresholds

USED = "average linkage, then joined (used)"


@dataclass(frozen=True)
class Sample:
    """Sightings with their truth.

    features: (N, D) unit vectors. photos: (N,) int, the photo of each. truth: (N,) int, the individual that each shows.
    words: the class word of each.
    """

    features: np.ndarray
    photos: np.ndarray
    truth: np.ndarray
    words: tuple[str, ...]


Method = Callable[[np.ndarray, np.ndarray, GroupThresholds], np.ndarray]
"""Returns the clusters (N,) of features (N, D) of these photos (N,)."""


def by_word(method: Method, sample: Sample, thresholds: GroupThresholds) -> np.ndarray:
    """Return the clusters (N,) of a sample; sightings with different class words are never in one."""
    labels = np.full(len(sample.words), -1)
    for word in sorted(set(sample.words)):
        rows = np.flatnonzero([w == word for w in sample.words])
        own = method(sample.features[rows], sample.photos[rows], thresholds)
        labels[rows] = own + labels.max() + 1
    return labels


def _average(threshold: Callable[[GroupThresholds], float]) -> Method:
    def method(features: np.ndarray, photos: np.ndarray, thresholds: GroupThresholds) -> np.ndarray:
        clusters = Clusters(features, photos)
        clusters.merge_all(threshold(thresholds))
        return clusters.numbers()

    return method


def _without_photos(features: np.ndarray, photos: np.ndarray, thresholds: GroupThresholds) -> np.ndarray:
    return cluster(features, np.arange(len(features)), thresholds)


def _components(features: np.ndarray, photos: np.ndarray, thresholds: GroupThresholds) -> np.ndarray:
    """Return the connected components of the pairs that are alike enough."""
    connected = features @ features.T >= thresholds.start
    labels, before = np.arange(len(features)), np.full(len(features), -1)
    while (labels != before).any():
        before = labels
        labels = np.minimum(labels, np.where(connected, labels[None], len(features)).min(axis=1, initial=len(features)))
    return labels


def _whispers(features: np.ndarray, photos: np.ndarray, thresholds: GroupThresholds) -> np.ndarray:
    """Return the clusters of Chinese whispers (Biemann 2006): each takes the label with most weight around it."""
    weights = features @ features.T
    np.fill_diagonal(weights, 0.0)
    weights[weights < thresholds.start] = 0.0
    labels, rng = np.arange(len(features)), np.random.default_rng(0)
    for _ in range(20):
        before = labels.copy()
        for i in rng.permutation(len(features)):
            near = np.flatnonzero(weights[i])
            if len(near):
                labels[i] = np.bincount(labels[near], weights=weights[i][near]).argmax()
        if (labels == before).all():
            break
    return labels


def _hdbscan(least: int) -> Method:
    def method(features: np.ndarray, photos: np.ndarray, thresholds: GroupThresholds) -> np.ndarray:
        try:
            from sklearn.cluster import HDBSCAN
        except ImportError as err:
            raise EnvironmentFault("scikit-learn is not installed", hint="Run: pip install 'myvlm[evaluate]'") from err
        if len(features) <= least:
            return np.arange(len(features))
        distances = np.clip(1.0 - features.astype(np.float64) @ features.T, 0.0, None)
        np.fill_diagonal(distances, 0.0)
        labels = HDBSCAN(min_cluster_size=least, metric="precomputed", copy=True).fit(distances).labels_
        noise = np.flatnonzero(labels < 0)
        labels[noise] = labels.max() + 1 + np.arange(len(noise))
        clusters: np.ndarray = labels
        return clusters

    return method


METHODS: dict[str, Method] = {
    "average linkage, start": _average(lambda t: t.start),
    "average linkage, join": _average(lambda t: t.join),
    "as used, but photos are not apart": _without_photos,
    "Chinese whispers, start": _whispers,
    "connected components, start": _components,
    "HDBSCAN, 2 or more": _hdbscan(2),
    "HDBSCAN, 3 or more": _hdbscan(3),
}
"""The other ways, with the thresholds that they use of those of the recogniser."""
