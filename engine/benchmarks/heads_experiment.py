"""Measure each head alone, on photos that it was not trained on: the figures of Table 7."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.benchmarks.cases import Case, Item, hash_contents, to_box
from engine.benchmarks.experiments import Measurement
from engine.benchmarks.train_case import train_head
from engine.core.boxes import Box
from engine.core.class_words import kind_of_word
from engine.core.errors import NoUsablePhotoError, UsageError
from engine.core.files import read_bytes, sha256_of
from engine.core.types import Kind
from engine.photos.decode import load_photo
from engine.photos.photo_file import LARGEST_FILE
from engine.session import Session
from engine.store.heads import ConceptHead, FaceHead, HeadKind, ObjectHead

UNTRAINED_THRESHOLD = 2.0
"""Threshold of a head that could not be trained: above every score."""
BoxedFeatures = list[tuple[Box, np.ndarray]]
"""Boxes of one photo with their unit features (D,)."""


class PhotoFeatures:
    """Faces and regions of photos, each detected once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._faces: dict[Path, BoxedFeatures] = {}
        self._regions: dict[Path, BoxedFeatures] = {}

    def faces(self, path: Path) -> BoxedFeatures:
        """Return the faces of a photo, largest first."""
        if path not in self._faces:
            faces = self._session.extractor.find_faces([load_photo(path)], keep=True)[0]
            self._faces[path] = [(f.box, f.embedding) for f in faces]
        return self._faces[path]

    def regions(self, path: Path) -> BoxedFeatures:
        """Return the objects and other regions of a photo."""
        if path not in self._regions:
            detected = self._session.extractor.find_regions([load_photo(path)], keep=True)[0]
            self._regions[path] = [(r.box, f) for r, f in zip(detected.regions, detected.features, strict=True)]
        return self._regions[path]


def measure_heads(session: Session, cases: Sequence[Case], seed: int) -> Measurement:
    """Score each case's head on its validation photos, on strangers, and on the other cases' photos.

    The session must have an empty store; its heads are trained one at a time.
    """
    features, rows = PhotoFeatures(session), []
    heads = [_train(session, case, cases, seed) for case in cases]
    typed = [replace(case, kind=kind) for case, (_, kind, _) in zip(cases, heads, strict=True)]
    contents = {i.path: sha256_of(read_bytes(i.path, LARGEST_FILE)) for case in cases for i in case.validation}
    for case, (head, kind, reason) in zip(typed, heads, strict=True):
        case_contents = hash_contents(case)
        own = [_score(features, head, item) for item in case.validation]
        strangers = [_score(features, head, item) for item in case.strangers]
        rivals = [i for c in typed if c.name != case.name and _use_same_head(c.kind, kind) for i in c.validation]
        rivals = [i for i in rivals if contents[i.path] not in case_contents]
        others = [_score(features, head, item)["score"] for item in rivals]
        row = {"concept": case.name, "kind": str(kind), "threshold": head.threshold, "head": str(head.kind)}
        row |= {"untrained": reason} if reason else {}
        rows.append({**row, "own": own, "strangers": strangers, "others": others})
    return {"heads": rows}


def _train(session: Session, case: Case, cases: Sequence[Case], seed: int) -> tuple[ConceptHead, Kind, str]:
    """Train a case's head; where that is impossible, return a head that never fires, and the reason."""
    try:
        return *train_head(session, case, cases, seed), ""
    except (NoUsablePhotoError, UsageError) as err:
        kind = case.kind or kind_of_word(case.category)
        return _untrained(case.name, kind), kind, str(err)


def _untrained(name: str, kind: Kind) -> ConceptHead:
    """Return a head without any view, which never fires."""
    none = np.zeros((0, 1), np.float32)
    if kind is Kind.PERSON:
        return FaceHead(concept_id=name, encoder="", threshold=UNTRAINED_THRESHOLD, views=none)
    return ObjectHead(
        concept_id=name,
        encoder="",
        threshold=UNTRAINED_THRESHOLD,
        views=none,
        weight=np.zeros((2, 1), np.float32),
        bias=np.zeros(2, np.float32),
        scale=1.0,
        background=none,
    )


def _use_same_head(a: Kind | None, b: Kind) -> bool:
    return (a is Kind.PERSON) == (b is Kind.PERSON)


def _score(features: PhotoFeatures, head: ConceptHead, item: Item) -> dict[str, Any]:
    """Compute the best score in a photo, and whether its box is the concept's (None without a true box)."""
    row: dict[str, Any] = {"id": item.truth.id, "split": item.truth.split, "score": None, "right": None}
    if not len(head.views):
        return row
    boxed = features.faces(item.path) if head.kind is HeadKind.FACE else features.regions(item.path)
    if not boxed:
        return row
    scores = _scores(head, np.stack([f for _, f in boxed]))
    best = int(np.argmax(scores))
    corners = item.truth.face if head.kind is HeadKind.FACE else item.truth.frame
    right = None if corners is None else _has_middle_in(boxed[best][0], to_box(corners))
    return {**row, "score": round(float(scores[best]), 4), "right": right}


def _scores(head: ConceptHead, features: np.ndarray) -> np.ndarray:
    from engine.recognition.assignment import face_scores
    from engine.recognition.linear_head import LinearHead

    if isinstance(head, ObjectHead):
        return LinearHead(head.weight, head.bias, head.scale).scores(features)
    return face_scores(features, [head.views])[:, 0]


def _has_middle_in(box: Box, truth: Box) -> bool:
    x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    return truth.x0 <= x <= truth.x1 and truth.y0 <= y <= truth.y1


def fires(row: dict[str, Any], threshold: float) -> bool:
    """Tell whether a head recognised its concept in a photo: whether the row's best score reaches the threshold."""
    return row["score"] is not None and row["score"] >= threshold
