"""What one session's heads say of every photo of a scanned library, as plain data; no model runs, no pixel is read."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.benchmarks.experiments import Part
from engine.benchmarks.library_cases import Library
from engine.benchmarks.library_figures import (
    Individual,
    LibraryOutcome,
    LibraryTruth,
    Said,
    outcome_of,
    overlap_of,
    true_boxes,
    truth_of_library,
)
from engine.core.boxes import Box
from engine.core.errors import UsageError
from engine.core.types import Concept, Kind
from engine.recognition.classifier import ConceptClassifier
from engine.recognition.recognise import Gallery, Recognition, load_gallery, look_up_all
from engine.session import Session
from engine.storybook.photos import DrawnPhoto

_LOWERED = 60.0
"""How far name thresholds are lowered to see who would be named next: further than scores differ."""
FURTHEST = -8.0
"""Margins under this are not kept: at that setting nearly every photo has a false name."""
_FACE_SCALE = 20.0
_SUREST = 1e-9


@dataclass(frozen=True)
class LibraryPhoto:
    """A photo of a library that was scanned: its content hash, and the drawing that it is, where it is one."""

    content_hash: str
    drawn: DrawnPhoto


def measure(session: Session, library: Library, photos: Mapping[int, LibraryPhoto], root: Path | None = None) -> Part:
    """What a session's heads, with their thresholds for the folder `root`, say of a drawn library.

    Raises:
        UsageError: a photo was not scanned.
    """
    truth = truth_of_library(library)
    concepts = [session.store.find(e.name) for e in library.enrolled]
    boxes = [true_boxes(library, s, photos[s.number].drawn) for s in library.shots]
    return measure_said(session, concepts, truth, [photos[s.number].content_hash for s in library.shots], boxes, root)


def measure_said(
    session: Session,
    concepts: Sequence[Concept | None],
    truth: LibraryTruth,
    contents: Sequence[str],
    boxes: Sequence[Mapping[int, Box]],
    root: Path | None,
) -> Part:
    """The same for any library. concepts: as the truth has them, None for who could not be enrolled; contents, boxes:
    content hash and true boxes of each photo in the truth's order.

    Returns "names" and "maybes", per photo [concept, IoU or None]; "margins", per photo [concept, margin] of who would
    be named if all thresholds were lowered by up to -`FURTHEST`, in log-odds; "apart": who is never named.
    """
    enrolled = load_gallery(session, [c for c in concepts if c is not None], root)
    lowered = replace(enrolled, people=_lowered(enrolled.people), things=_lowered(enrolled.things))
    judges = [j for j in (enrolled.people, enrolled.things) if j is not None]
    known = {c.id: float(t) for j in judges for c, t in zip(j.concepts, j.names, strict=True)}
    margin = _paper_margin if session.choices.heads == "paper" else _margin
    place = {c.id: i for i, c in enumerate(concepts) if c is not None}
    names, maybes, margins = [], [], []
    near, far = (_looked_up(session, contents, e) for e in (enrolled, lowered))
    for found, wider, true in zip(near, far, boxes, strict=True):
        for rows, matches in ((names, found.names), (maybes, found.maybes)):
            own = ((place[m.concept_id], m.box) for m in matches)
            rows.append([[c, _rounded(overlap_of(box, true.get(c)))] for c, box in own])
        over = ((place[m.concept_id], margin(m.score, known[m.concept_id], m.kind)) for m in wider.names)
        margins.append([[c, round(v, 4)] for c, v in over if v >= FURTHEST])
    apart = [place[c.id] for j in judges for c, own in zip(j.concepts, j.separable, strict=True) if not own]
    apart += [i for i, c in enumerate(concepts) if c is None]
    calibrated = [j.calibration is not None for j in judges]
    return {
        "names": names,
        "maybes": maybes,
        "margins": margins,
        "apart": sorted(apart),
        "calibrated": all(calibrated) and bool(calibrated),
        "expected": sum(j.calibration.expected for j in judges if j.calibration is not None),
        "thresholds": _thresholds(judges, place),
    }


def truth_document(truth: LibraryTruth) -> Part:
    """A library's truth as plain data."""
    concepts = [
        {"name": c.name, "kind": c.kind, "likeness": c.likeness, "resembles": c.resembles} for c in truth.concepts
    ]
    return {"concepts": concepts, "present": [sorted(p) for p in truth.present]}


def truth_of_part(part: Part) -> LibraryTruth:
    """The truth from its plain data."""
    concepts = tuple(Individual(c["name"], c["kind"], c["likeness"], c["resembles"]) for c in part["concepts"])
    return LibraryTruth(concepts, tuple(frozenset(p) for p in part["present"]))


def said_of(part: Part) -> list[Said]:
    """What was named in each photo."""
    return [dict(map(tuple, own)) for own in part["names"]]


def outcome_of_part(part: Part, heads: str) -> LibraryOutcome:
    """What came of a measured library with "open-set" or "paper" heads."""
    return outcome_of(truth_of_part(part["truth"]), said_of(part["heads"][heads]))


def _looked_up(session: Session, contents: Sequence[str], enrolled: Gallery) -> list[Recognition]:
    known = [f for f in look_up_all(session, [(c, None) for c in contents], enrolled) if f is not None]
    if len(known) < len(contents):
        raise UsageError("a photo of the library was not scanned", hint="Scan it before it is measured.")
    return known


def _lowered(judge: ConceptClassifier | None) -> ConceptClassifier | None:
    """The judge with low name thresholds, all lowered alike: one-to-one places are given best margin first, so whoever
    is named by a margin of -x here would be named if the thresholds were lower by x.
    """
    return None if judge is None else replace(judge, names=judge.names - _LOWERED)


def _margin(score: float, threshold: float, kind: Kind) -> float:
    """How far log-odds are above a concept's name threshold."""
    return score - threshold


def _paper_margin(score: float, threshold: float, kind: Kind) -> float:
    """The same of the paper's heads: a probability is made log-odds, and a face's cosine similarity counts twentyfold,
    so that both spread about alike.
    """
    if kind is Kind.PERSON:
        return _FACE_SCALE * (score - threshold)
    return _log_odds(score) - _log_odds(threshold)


def _log_odds(probability: float) -> float:
    p = min(1 - _SUREST, max(_SUREST, probability))
    return math.log(p / (1 - p))


def _thresholds(judges: Sequence[ConceptClassifier], place: Mapping[str, int]) -> dict[str, list[float | None]]:
    """By the concept's place: from when on it is named, and perhaps named."""
    found = {}
    for judge in judges:
        for concept, *own in zip(judge.concepts, judge.names, judge.maybes, strict=True):
            if concept.id in place:
                found[str(place[concept.id])] = [round(float(v), 4) if math.isfinite(v) else None for v in own]
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
