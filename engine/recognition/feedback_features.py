"""Features of what the user decided: kept beside a head, so that it can be trained again without photo and cache."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from engine.core.boxes import Box, iou
from engine.core.errors import PhotoError
from engine.core.types import Concept, Decision, Kind, Verdict
from engine.photos.decode import Photo, decode_photo, read_photo
from engine.recognition.feedback import nearest_region
from engine.recognition.linear_head import LinearHead
from engine.session import Session
from engine.store.concepts import Head
from engine.vision.cached_extractor import find_faces, find_regions, known_faces, known_regions

Rank: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""How likely regions with features (R, D) show a concept: (R,)."""

VIEWS = 3
"""Views of a decided region, plain and altered. Held-out errors (missed + false, of 40 + 40) of storybook heads on two
twins and a look-alike after 5 rejections and 5 confirmations: 54 before, 49 with one view, 37 with three, 39 with nine;
after 10 rejections 53 before, 46, 54, 65: with nine a head rejects its own concept.
"""
_THERE = 0.1
"""A decided box and a region that overlap less (IoU) are of different things."""


@dataclass(frozen=True)
class FeedbackFeatures:
    """Features (N, D) of decided regions, by what tells the decisions apart (`key_of`)."""

    confirmed: Mapping[str, np.ndarray] = field(default_factory=dict)
    rejected: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def beside(cls, *heads: Head | None) -> "FeedbackFeatures":
        """What is kept beside some heads of one encoder."""
        found: dict[str, dict[str, np.ndarray]] = {"confirmed": {}, "rejected": {}}
        for head in heads:
            for what, rows in found.items():
                at = 0
                for item in str(head.facts.get(what, "")).split() if head else ():
                    key, _, count = item.rpartition("=")
                    rows[key] = head.tensors[what][at : at + int(count)]  # type: ignore[union-attr]
                    at += int(count)
        return cls(found["confirmed"], found["rejected"])

    def tensors(self) -> dict[str, np.ndarray]:
        """The features as a head's tensors; none where nothing was decided."""
        return {w: np.concatenate([r for _, r in sorted(rows.items())]) for w, rows in self._sides() if rows}

    def facts(self) -> dict[str, str]:
        """Whose rows the tensors hold, as facts of a head: `key=rows` in order."""
        return {w: " ".join(f"{k}={len(r)}" for k, r in sorted(rows.items())) for w, rows in self._sides() if rows}

    def _sides(self) -> tuple[tuple[str, Mapping[str, np.ndarray]], ...]:
        return ("confirmed", self.confirmed), ("rejected", self.rejected)


def rank_by_views(views: np.ndarray) -> Rank:
    """By the likeness to the nearest of a concept's views (V, D)."""
    return lambda features: (features @ views.T).max(axis=1)


def rank_by_head(head: Head) -> Rank:
    """As a head ranks regions or faces."""
    if "templates" in head.tensors:
        return rank_by_views(head.tensors["templates"])
    return LinearHead(head.tensors["weight"], head.tensors["bias"], float(head.facts["scale"])).scores


def gather_feedback(
    session: Session, concept: Concept, decisions: Iterable[Decision], rank: Rank, kept: FeedbackFeatures
) -> tuple[FeedbackFeatures, tuple[Decision, ...]]:
    """The features of a concept's decisions: those that are kept, else from the photo, else from the cache; and the
    decisions of which nothing is known any more (their photo is elsewhere or changed, or shows no face there).
    """
    confirmed, rejected, lost = {}, {}, []
    for decision in decisions:
        key = key_of(decision)
        rows = kept.confirmed.get(key, kept.rejected.get(key))
        if rows is None:
            rows = _look(session, concept, decision, rank)
        if rows is None:
            lost.append(decision)
        else:
            (confirmed if decision.verdict is Verdict.CONFIRM else rejected)[key] = rows
    return FeedbackFeatures(confirmed, rejected), tuple(lost)


def key_of(decision: Decision) -> str:
    """What a decision's features are kept under: a later decision about another place has others."""
    box = decision.box
    return decision.content_hash + ("@" + ",".join(str(v) for v in box.rounded()) if box else "")


def _look(session: Session, concept: Concept, decision: Decision, rank: Rank) -> np.ndarray | None:
    """Features (N, D) of the region that a decision is about, or None."""
    photo = _load(decision)
    if concept.kind is Kind.PERSON:
        if photo is not None:
            find_faces(session, [photo], keep=True)
        faces = known_faces(session, decision.content_hash) or []
        i = _choose([f.box for f in faces], np.array([f.embedding for f in faces]), decision.box, rank)
        return None if i is None else faces[i].embedding[None].astype(np.float32)
    if photo is not None:
        find_regions(session, [photo], keep=True)
    found = known_regions(session, decision.content_hash)
    if found is None:
        return None
    boxes = [r.box for r in found.regions]
    i = _choose(boxes, found.features, decision.box, rank)
    if photo is None:
        return None if i is None else found.features[i : i + 1].astype(np.float32)
    box = decision.box or (None if i is None else boxes[i])
    return None if box is None else _encode(session, photo, photo.in_image(box))


def _encode(session: Session, photo: Photo, box: Box) -> np.ndarray:
    rng = np.random.default_rng(int(photo.facts.content_hash[:8], 16))
    return session.recogniser.encode_views(photo.image, box, rng)[:VIEWS].astype(np.float32)


def _load(decision: Decision) -> Photo | None:
    """The photo that a decision is about, if it is where it was."""
    try:
        file = read_photo(decision.path)
        return decode_photo(file) if file.content_hash == decision.content_hash else None
    except PhotoError:
        return None


def _choose(boxes: list[Box], features: np.ndarray, box: Box | None, rank: Rank) -> int | None:
    if not boxes:
        return None
    if box is None:
        return int(np.argmax(rank(features)))
    i = nearest_region(boxes, box)
    return i if iou(boxes[i], box) >= _THERE else None
