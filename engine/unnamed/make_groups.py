"""Make groups of sightings: cluster their features, order them, and choose the views that show each group best."""

from collections.abc import Callable, Sequence

import numpy as np

from engine.core.files import sha256_of
from engine.unnamed.groups import Group, Sighting
from engine.unnamed.linkage import cluster
from engine.vision.config import GroupThresholds

MOST_VIEWS = 8
"""Views that a group is enrolled from, at most; more make every match slower and improve little."""
_TYPICAL = 0.85
"""A view is as like the group as this share of the group's median at least: fewer views are of another individual."""
_WELL_SEEN = 0.5
"""A view is of this share of the group's median quality at least, where there are enough."""
_ALIKE = 0.97
"""Views more alike (cosine) show nothing new: they are of one burst, or copies."""


def make_groups(
    sightings: Sequence[Sighting],
    features: np.ndarray,
    thresholds: GroupThresholds,
    leave_out: Callable[[np.ndarray], bool] = lambda _: False,
) -> list[Group]:
    """Cluster sightings by their features (N, D), and return the groups, the one with the most photos first.

    leave_out: whether to leave out a group with these features (M, D). Animals with different class words are never in
    one group.
    """
    groups = []
    for word in sorted({s.word for s in sightings}):
        rows = np.flatnonzero([s.word == word for s in sightings])
        photos = np.unique([sightings[int(i)].content_hash for i in rows], return_inverse=True)[1]
        labels = cluster(features[rows], photos, thresholds)
        order = np.argsort(labels, kind="stable")
        for part in np.split(rows[order], np.flatnonzero(np.diff(labels[order])) + 1):
            if not leave_out(features[part]):
                groups.append(_group([sightings[int(i)] for i in part], features[part]))
    return sorted(groups, key=lambda g: (-g.photos, g.id))


def _group(members: Sequence[Sighting], features: np.ndarray) -> Group:
    keys = [(m.taken or "~", str(m.path), m.box.x0) for m in members]
    order = sorted(range(len(members)), key=keys.__getitem__)
    members, features = [members[i] for i in order], features[order]
    views = choose_views(features, np.array([m.quality for m in members]))
    typical = members[views[0]]
    text = f"{typical.content_hash} {typical.box.rounded()}"
    return Group(sha256_of(text.encode())[:12], tuple(members), tuple(views))


def choose_views(features: np.ndarray, quality: np.ndarray, most: int = MOST_VIEWS) -> list[int]:
    """Return the rows of the best and most different views (N, D), the most typical first.

    After the most typical view, each next one is that which is least like those before, among the views that are
    typical and well seen (Gonzalez 1985).
    """
    likeness = features @ _unit(features.sum(axis=0))
    good = np.flatnonzero((likeness >= _TYPICAL * np.median(likeness)) & (quality >= _WELL_SEEN * np.median(quality)))
    good = good if len(good) else np.arange(len(features))
    first = good[np.argmax(likeness[good] * quality[good] ** 0.25)]
    chosen, nearest = [int(first)], features[good] @ features[first]
    while len(chosen) < min(most, len(good)) and nearest.min() < _ALIKE:
        row = int(good[np.argmin(nearest)])
        chosen.append(row)
        nearest = np.maximum(nearest, features[good] @ features[row])
    return chosen


def _unit(vector: np.ndarray) -> np.ndarray:
    length = float(np.linalg.norm(vector))
    return vector / length if length > 0 else vector
