"""Find the region that a match is about, and the other concept that is most likely there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.core.boxes import Box, iou
from engine.core.types import Match
from engine.recognition.classifier import ConceptClassifier, open_set_size
from engine.recognition.feedback import nearest_region


@dataclass(frozen=True)
class RunnerUp:
    """The other concept that is most likely in a region, with its score there."""

    name: str
    score: float


def find_runner_up(classifier: ConceptClassifier, column: int, scores: np.ndarray) -> RunnerUp | None:
    """Return the concept with the highest score in a region, except for the concept `column`; None without others.

    scores: (C,) of the region. Only concepts with scores on the same scale are compared: the scores of an imported head
    are on another scale.
    """
    open_set, total = open_set_size(classifier), len(classifier.concepts)
    same_scale = range(open_set) if column < open_set else range(open_set, total)
    others = [c for c in same_scale if c != column]
    if not others:
        return None
    best = max(others, key=lambda c: float(scores[c]))
    return RunnerUp(classifier.concepts[best].name, float(scores[best]))


def row_of(match: Match, boxes: Sequence[Box], scores: np.ndarray) -> int | None:
    """Return the row of the region that a match is about; None for a confirmed box in which nothing was detected.

    boxes: of the R regions. scores: (R,) of the concept.
    """
    same = [r for r, b in enumerate(boxes) if b == match.box]
    if same:
        return min(same, key=lambda r: (abs(float(scores[r]) - match.score), r))
    row = nearest_region(boxes, match.box) if boxes else None
    return row if row is not None and iou(boxes[row], match.box) > 0.0 else None
