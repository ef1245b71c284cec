"""Table 7's measurements: every head alone, on photos that it never saw."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.benchmarks.cases import Case, Item, box_of, contents_of
from engine.benchmarks.experiments import Part
from engine.benchmarks.train_case import learn_head
from engine.core.boxes import Box
from engine.core.class_words import kind_of_word
from engine.core.errors import NoUsablePhotoError, UsageError
from engine.core.files import read_bytes, sha256_of
from engine.core.types import Kind
from engine.photos.decode import load_photo
from engine.photos.photo_file import LARGEST_FILE
from engine.session import Session
from engine.store.concepts import Head
from engine.vision.cached_extractor import find_faces, find_regions

NEVER = 2.0
"""Threshold of a head that could not be trained."""
Seen = list[tuple[Box, np.ndarray]]
"""Boxes of one photo with their unit features."""


class Eyes:
    """Faces and regions of photos, each found once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._faces: dict[Path, Seen] = {}
        self._regions: dict[Path, Seen] = {}

    def faces(self, path: Path) -> Seen:
        """Faces of a photo, largest first."""
        if path not in self._faces:
            found = find_faces(self._session, [load_photo(path)], keep=True)[0]
            self._faces[path] = [(f.box, f.embedding) for f in found]
        return self._faces[path]

    def regions(self, path: Path) -> Seen:
        """Objects and other regions of a photo."""
        if path not in self._regions:
            found = find_regions(self._session, [load_photo(path)], keep=True)[0]
            self._regions[path] = [(r.box, f) for r, f in zip(found.regions, found.features, strict=True)]
        return self._regions[path]


def measure_heads(session: Session, cases: Sequence[Case], seed: int) -> Part:
    """Scores of every case's head on its validation photos, on strangers, and on the other cases' photos."""
    eyes, rows = Eyes(session), []
    heads = [_learn(session, case, cases, seed) for case in cases]
    known = [replace(case, kind=kind) for case, (_, kind, _) in zip(cases, heads, strict=True)]
    contents = {i.path: sha256_of(read_bytes(i.path, LARGEST_FILE)) for case in cases for i in case.validation}
    for case, (head, kind, reason) in zip(known, heads, strict=True):
        shown = contents_of(case)
        own = [_score(eyes, head, item) for item in case.validation]
        strangers = [_score(eyes, head, item) for item in case.strangers]
        rivals = [i for c in known if c.name != case.name and _alike(c.kind, kind) for i in c.validation]
        rivals = [i for i in rivals if contents[i.path] not in shown]
        others = [_score(eyes, head, item)["score"] for item in rivals]
        row = {"concept": case.name, "kind": str(kind), "threshold": head.threshold, "head": head.kind}
        row |= {"untrained": reason} if reason else {}
        rows.append({**row, "own": own, "strangers": strangers, "others": others})
    return {"heads": rows}


def _learn(session: Session, case: Case, cases: Sequence[Case], seed: int) -> tuple[Head, Kind, str]:
    """A case's head; one that never fires, and why, where it cannot be trained."""
    try:
        return *learn_head(session, case, cases, seed), ""
    except (NoUsablePhotoError, UsageError) as err:
        kind = case.kind or kind_of_word(case.category)
        return Head(case.name, "", "face" if kind is Kind.PERSON else "linear", NEVER, {}, {}), kind, str(err)


def _alike(a: Kind | None, b: Kind) -> bool:
    return (a is Kind.PERSON) == (b is Kind.PERSON)


def _score(eyes: Eyes, head: Head, item: Item) -> dict[str, Any]:
    """The best score in a photo, and whether it is where the concept is (None when nobody knows)."""
    row: dict[str, Any] = {"id": item.truth.id, "split": item.truth.split, "score": None, "right": None}
    if not head.tensors:
        return row
    seen = eyes.faces(item.path) if head.kind == "face" else eyes.regions(item.path)
    if not seen:
        return row
    scores = _scores(head, np.stack([f for _, f in seen]))
    best = int(np.argmax(scores))
    corners = item.truth.face if head.kind == "face" else item.truth.frame
    right = None if corners is None else _inside(seen[best][0], box_of(corners))
    return {**row, "score": round(float(scores[best]), 4), "right": right}


def _scores(head: Head, features: np.ndarray) -> np.ndarray:
    from engine.recognition.assignment import face_scores
    from engine.recognition.linear_head import LinearHead

    if head.kind == "face":
        return face_scores(features, [head.tensors["templates"]])[:, 0]
    return LinearHead(head.tensors["weight"], head.tensors["bias"], float(head.facts["scale"])).scores(features)


def _inside(found: Box, truth: Box) -> bool:
    """Whether the middle of a found box lies in the true one."""
    x, y = (found.x0 + found.x1) / 2, (found.y0 + found.y1) / 2
    return truth.x0 <= x <= truth.x1 and truth.y0 <= y <= truth.y1


def fires(row: dict[str, Any], threshold: float) -> bool:
    """Whether a head recognised its concept in a photo."""
    return row["score"] is not None and row["score"] >= threshold
