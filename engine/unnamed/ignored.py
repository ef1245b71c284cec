"""Find the sightings that belong to groups which the user ignores, also in photos that came later."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.core.boxes import Box, iou
from engine.core.types import Kind
from engine.store.ignored import IgnoredGroup
from engine.unnamed.groups import Group, Sighting
from engine.unnamed.linkage import ESTABLISHED
from engine.vision.config import GroupThresholds

_SAME_PLACE = 0.5
"""A sighting that overlaps an ignored box more (IoU) is the ignored one."""


@dataclass(frozen=True)
class Ignoring:
    """The ignored groups of one kind of sightings.

    boxes: by content hash. means: (I, D), the mean features of the groups for the recogniser in use; the means of
    another recogniser's are made of the sightings that are known by their places. large: (I,) bool, which groups have
    enough members for others to join them.
    """

    boxes: dict[str, list[Box]]
    means: np.ndarray
    large: np.ndarray

    @classmethod
    def of(
        cls, ignored: Iterable[IgnoredGroup], model: str, sightings: Sequence[Sighting], features: np.ndarray
    ) -> "Ignoring":
        """Prepare to look for ignored groups among sightings with these features (N, D) of a model."""
        boxes: dict[str, list[Box]] = {}
        means = [np.zeros((0, features.shape[1]), np.float32)]
        large = []
        for group in ignored:
            own: dict[str, list[Box]] = {}
            for content, box in group.places:
                own.setdefault(content, []).append(box)
                boxes.setdefault(content, []).append(box)
            rows = [i for i, s in enumerate(sightings) if _is_in(s, own)] if group.model != model else []
            if group.model == model or rows:
                means.append(group.mean[None] if group.model == model else features[rows].mean(axis=0, keepdims=True))
                large.append(len(group.places) >= ESTABLISHED)
        return cls(boxes, np.concatenate(means), np.array(large, bool))

    def find(self, sightings: Sequence[Sighting], features: np.ndarray, thresholds: GroupThresholds) -> np.ndarray:
        """Return which sightings, with these features (N, D), are of an ignored group: (N,) bool."""
        by_place = np.array([_is_in(s, self.boxes) for s in sightings], bool)
        found: np.ndarray = by_place | (features @ self.means.T >= self._least(thresholds)).any(axis=1)
        return found

    def is_ignored(self, features: np.ndarray, thresholds: GroupThresholds) -> bool:
        """Return whether a group with these features (M, D) would be merged with an ignored one."""
        least = thresholds.join if len(features) >= ESTABLISHED else self._least(thresholds)
        return bool((features.mean(axis=0) @ self.means.T >= least).any())

    def _least(self, thresholds: GroupThresholds) -> np.ndarray:
        """Return from which mean similarity on a sighting is of each group, (I,)."""
        return np.where(self.large, thresholds.join, thresholds.start)


def _is_in(sighting: Sighting, boxes: dict[str, list[Box]]) -> bool:
    return any(iou(sighting.box, box) > _SAME_PLACE for box in boxes.get(sighting.content_hash, ()))


def ignore(group: Group, kind: Kind, model: str, features: np.ndarray, now: str) -> IgnoredGroup:
    """Return what is stored of a group that is ignored. features: (M, D), of its members."""
    places = tuple((m.content_hash, m.box) for m in group.members)
    return IgnoredGroup(group.id, kind, model, features.mean(axis=0), group.sample.path, group.photos, places, now)
