"""Clusters of unit vectors: as scipy's average linkage finds them, then joined to what is large already."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

import engine.unnamed.linkage
from engine.unnamed.linkage import APART, Clusters, cluster
from engine.vision.config import GroupThresholds


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def draw(seed):
    """Vectors around a few centres, and the photos that they are from, at random."""
    rng = np.random.default_rng(seed)
    count, width = int(rng.integers(2, 90)), int(rng.integers(2, 20))
    centres = rng.normal(size=(max(1, count // 6), width))
    noise = rng.normal(size=(count, width)) * rng.uniform(0.1, 1.0)
    features = unit(centres[rng.integers(len(centres), size=count)] + noise)
    return features, rng.integers(max(1, count // 2), size=count), float(rng.uniform(-0.2, 0.9))


def average(features, photos, threshold):
    clusters = Clusters(features, photos)
    clusters.merge_all(threshold)
    return clusters.numbers()


def same_partition(a, b):
    return len(set(zip(a.tolist(), b.tolist(), strict=True))) == len(set(a.tolist())) == len(set(b.tolist()))


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("cells", [engine.unnamed.linkage._CELLS, 50])
def test_the_clusters_are_those_of_average_linkage(seed, cells, monkeypatch):
    monkeypatch.setattr(engine.unnamed.linkage, "_CELLS", cells)
    features, photos, threshold = draw(seed)
    for of in (np.arange(len(features)), photos):
        similarity = features.astype(np.float64) @ features.T.astype(np.float64)
        similarity[np.equal.outer(of, of)] = APART
        np.fill_diagonal(similarity, 1.0)
        distance = squareform(1 - (similarity + similarity.T) / 2, checks=False)
        expected = fcluster(linkage(distance, "average"), 1 - threshold, "distance")
        assert same_partition(average(features, of, threshold), expected)


@pytest.mark.parametrize("seed", range(20))
def test_clusters_are_numbered_by_their_first_members_and_only_grow(seed):
    features, photos, start = draw(seed)
    before = average(features, photos, start)
    after = cluster(features, photos, GroupThresholds(start, start - 0.15))
    for labels in (before, after):
        firsts = np.unique(labels, return_index=True)[1]
        assert labels.max() == len(firsts) - 1
        assert (np.diff(firsts) > 0).all()
    assert len(set(zip(before, after, strict=True))) == len(set(before))  # none is divided again
    assert (after == cluster(features, photos, GroupThresholds(start, start - 0.15))).all()


def test_what_joins_a_large_group_does_not_found_one():
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(16, 16)))[0]

    def near(axis, other, cosine):
        return cosine * axes[axis] + np.sqrt(1 - cosine**2) * axes[other]

    large = [near(0, k, 0.95) for k in (1, 2, 3)]
    joining = near(0, 4, 0.6)
    pair = [near(8, 5, 0.8), near(8, 6, 0.8)]  # their cosine is 0.64
    features = unit(np.stack([*large, joining, *pair]))
    apart = np.arange(len(features))
    assert cluster(features, apart, GroupThresholds(0.7, 0.5)).tolist() == [0, 0, 0, 0, 1, 2]
    assert cluster(features, apart, GroupThresholds(0.6, 0.5)).tolist() == [0, 0, 0, 0, 1, 1]


def test_two_of_one_photo_do_not_join_the_same_group():
    features = unit(np.array([[1.0, 0.0, 0.1], [1.0, 0.1, 0.0], [1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.8, 0.0, 0.6]]))
    thresholds = GroupThresholds(0.97, 0.7)
    assert len(set(cluster(features, np.arange(5), thresholds))) == 1
    labels = cluster(features, np.array([0, 1, 2, 3, 3]), thresholds)
    assert labels[3] != labels[4]
    assert cluster(features[3:], np.zeros(2, int), GroupThresholds(-1.0, -1.0)).tolist() == [0, 0]


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_cluster(count):
    features = np.ones((count, 4), np.float32) / 2
    assert cluster(features, np.arange(count), GroupThresholds(0.5, 0.4)).tolist() == [0] * count
