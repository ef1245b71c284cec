"""Apply the user's decisions to scores: place confirmed concepts first, and rejected ones not at all."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from engine.core.boxes import Box, iou
from engine.core.types import Concept, Decision, Verdict
from engine.recognition.assignment import assign

SAME_PLACE = 0.5
"""Regions that overlap a confirmed box more (IoU) show what was confirmed."""


@dataclass(frozen=True)
class UserLabels:
    """All decisions, by the photos' content hashes and by their paths; names: of the concepts, by id."""

    by_content: Mapping[str, tuple[Decision, ...]] = field(default_factory=dict)
    by_path: Mapping[Path, tuple[Decision, ...]] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, decisions: Iterable[Decision], concepts: Iterable[Concept]) -> "UserLabels":
        """Index decisions by content hash and path."""
        by_content: dict[str, tuple[Decision, ...]] = {}
        by_path: dict[Path, tuple[Decision, ...]] = {}
        for d in decisions:
            by_content[d.content_hash] = (*by_content.get(d.content_hash, ()), d)
            by_path[d.path] = (*by_path.get(d.path, ()), d)
        return cls(by_content, by_path, {c.id: c.name for c in concepts})

    def about(self, content_hash: str) -> tuple[Decision, ...]:
        """Return what was decided about a photo."""
        return self.by_content.get(content_hash, ())

    def notes(self, path: Path, content_hash: str) -> tuple[str, ...]:
        """Return notes about decisions that no longer count, because the photo's content changed since."""
        now = {d.concept_id for d in self.about(content_hash)}
        past = (d for d in self.by_path.get(path.absolute(), ()) if d.content_hash != content_hash)
        return tuple(
            f"the photo changed since the decision '{d.verdict} {self.names.get(d.concept_id, '')}', which no longer"
            " counts: decide again"
            for d in past
            if d.concept_id not in now
        )


@dataclass(frozen=True)
class Placement:
    """A concept (column) and its place; region: the row that its score is of, None where no region was detected."""

    concept: int
    region: int | None
    score: float
    box: Box


@dataclass(frozen=True)
class Scored:
    """The regions of a photo: scores (R, C) of concepts with these ids, thresholds (C,), boxes, and `same` (R, R) bool:
    which regions show the same thing.
    """

    ids: Sequence[str]
    scores: np.ndarray
    thresholds: np.ndarray
    boxes: Sequence[Box]
    same: np.ndarray | None = None


def place(photo: Scored, decisions: Sequence[Decision], whole: Box | None) -> list[Placement] | None:
    """Place concepts one-to-one, best margin first, after those that the user confirmed.

    Boxes of decisions are in the same pixels as those of the regions. whole: the photo's box, which is used for a
    confirmed concept where no region was detected. Return None when it is needed and None.
    """
    by_id = {d.concept_id: d for d in decisions}
    decided = [(c, by_id[i]) for c, i in enumerate(photo.ids) if i in by_id]
    free = photo.scores.astype(np.float64)
    for column, decision in decided:
        if decision.verdict is Verdict.REJECT:
            free[:, column] = -np.inf
    found = []
    confirmed = [(c, d) for c, d in decided if d.verdict is Verdict.CONFIRM]
    for column, decision in sorted(confirmed, key=lambda m: _surest_first(photo, *m)):
        placed = _place_confirmed(photo, free, column, decision.box, whole)
        if placed is None:
            return None
        found.append(placed)
        free[_rows_of(photo, placed)] = -np.inf
        free[:, column] = -np.inf
    others = assign(free, photo.thresholds, photo.same)
    return found + [Placement(a.concept, a.region, float(a.score), photo.boxes[a.region]) for a in others]


def place_suggestions(photo: Scored, decisions: Sequence[Decision], placed: Sequence[Placement]) -> list[Placement]:
    """Place suggestions one-to-one in the regions that are left after `placed`.

    The thresholds of `photo` are those of suggestions. Concepts that the user decided about are never suggested.
    """
    free = photo.scores.astype(np.float64)
    decided = {d.concept_id for d in decisions}
    free[:, [c for c, i in enumerate(photo.ids) if i in decided]] = -np.inf
    for p in placed:
        free[_rows_of(photo, p)] = -np.inf
        free[:, p.concept] = -np.inf
    found = assign(free, photo.thresholds, photo.same)
    return [Placement(a.concept, a.region, float(a.score), photo.boxes[a.region]) for a in found]


def nearest_region(boxes: Sequence[Box], box: Box) -> int:
    """Return the region that overlaps a box most."""
    return int(np.argmax([iou(b, box) for b in boxes]))


def _surest_first(photo: Scored, column: int, decision: Decision) -> tuple[bool, float]:
    best = float(photo.scores[:, column].max()) if len(photo.scores) else 0.0
    return decision.box is None, float(photo.thresholds[column]) - best


def _place_confirmed(
    photo: Scored, free: np.ndarray, column: int, box: Box | None, whole: Box | None
) -> Placement | None:
    if not len(photo.boxes):
        place = box or whole
        return None if place is None else Placement(column, None, 0.0, place)
    if box is not None:
        row = nearest_region(photo.boxes, box)
        if iou(photo.boxes[row], box) == 0.0:
            return Placement(column, None, 0.0, box)
    else:
        left = free[:, column]
        row = int(np.argmax(left if np.isfinite(left).any() else photo.scores[:, column]))
    return Placement(column, row, float(photo.scores[row, column]), box or photo.boxes[row])


def _rows_of(photo: Scored, placed: Placement) -> list[int]:
    """Return the regions that show what was placed, and cannot show another concept."""
    rows = {r for r, box in enumerate(photo.boxes) if iou(box, placed.box) > SAME_PLACE}
    if placed.region is not None and placed.box == photo.boxes[placed.region]:
        rows |= {placed.region}
        rows |= set() if photo.same is None else set(np.flatnonzero(photo.same[placed.region]).tolist())
    return sorted(rows)
