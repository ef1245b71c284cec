"""Compute curves of recall against wrong names, as all thresholds are lowered together. numpy only."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Curve:
    """Wrong names per so many photos and recall in 0..1 as all thresholds are lowered together, (N,) each; both rise.

    `at` is the number of points at or above the present thresholds.
    """

    false: np.ndarray
    recall: np.ndarray
    at: int


def make_curve(margins: Sequence[tuple[float, bool]], *, right: int, photos: int, per: int) -> Curve:
    """Compute the curve of single names.

    margins: of each name that would be given if thresholds were low enough, how far its score is above its threshold,
    and whether it is right. right: the number of right names that could be given; photos: the number of photos in which
    wrong names are counted; per: the unit of that rate, such as 1,000 photos.
    """
    values = np.array([m for m, _ in margins], np.float64)
    order = np.argsort(-values, kind="stable")
    is_right = np.array([r for _, r in margins], bool)[order]
    last = np.append(np.diff(values[order]) != 0, True)[: len(values)]  # equal margins make one point
    false, hits = (np.concatenate([[0], np.cumsum(v)[last]]) for v in (~is_right, is_right))
    at = 1 + int((values[order][last] >= 0).sum())
    return Curve(per * false / max(1, photos), hits / max(1, right), at)
