"""What is told of a match beside its score: the region that it is about, and whom else that region is like."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.core.boxes import Box, iou
from engine.core.types import Match
from engine.recognition.classifier import ConceptClassifier, open_set_size
from engine.recognition.feedback import nearest_region


@dataclass(frozen=True)
class RunnerUp:
    """The other concept that is most likely in the same region, with its score there."""

    name: str
    score: float


def find_runner_up(judge: ConceptClassifier, column: int, scores: np.ndarray) -> RunnerUp | None:
    """Who is most likely in a region beside the concept of a column, by the region's scores (C,), among those whose
    scores are on the same scale: an imported head has one of its own.
    """
    own, everyone = open_set_size(judge), len(judge.concepts)
    alike = range(own) if column < own else range(own, everyone)
    others = [c for c in alike if c != column]
    if not others:
        return None
    best = max(others, key=lambda c: float(scores[c]))
    return RunnerUp(judge.concepts[best].name, float(scores[best]))


def row_of(match: Match, boxes: Sequence[Box], scores: np.ndarray) -> int | None:
    """The region that a match is about, by boxes and the concept's scores (R,); None where the user confirmed one in
    which nothing was found.
    """
    same = [r for r, b in enumerate(boxes) if b == match.box]
    if same:
        return min(same, key=lambda r: (abs(float(scores[r]) - match.score), r))
    row = nearest_region(boxes, match.box) if boxes else None
    return row if row is not None and iou(boxes[row], match.box) > 0.0 else None
