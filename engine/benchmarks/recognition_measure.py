"""Measure what one session's heads recognise in every photo of a scanned library, from cached features alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.benchmarks.experiments import Measurement
from engine.benchmarks.library_cases import Library
from engine.benchmarks.library_figures import (
    EnrolledTruth,
    LibraryOutcome,
    LibraryTruth,
    NamedConcepts,
    compare_with_truth,
    overlap_of,
    true_boxes,
)
from engine.core.boxes import Box
from engine.core.errors import UsageError
from engine.core.types import Concept, Kind, Match
from engine.recognition.classifier import ConceptClassifier
from engine.recognition.gallery import Gallery, load_gallery
from engine.recognition.recognise import Recognition, look_up_all
from engine.session import Session
from engine.storybook.photos import DrawnPhoto

_LOWERED = 60.0
"""How far name thresholds are lowered, in log-odds, to see who would be named next: further than scores differ."""
LOWEST_MARGIN = -8.0
"""Margins below this, in log-odds, are not kept: with thresholds that low nearly every photo has a false name."""
_FACE_SCALE = 20.0
"""Log-odds that one unit of cosine similarity counts for in the margins of the paper's face heads."""
_LEAST_DOUBT = 1e-9


@dataclass(frozen=True)
class LibraryPhoto:
    """A scanned photo of a drawn library: its content hash, and its drawing."""

    content_hash: str
    drawn: DrawnPhoto


def measure_drawn(
    session: Session, library: Library, photos: Mapping[int, LibraryPhoto], root: Path | None = None
) -> Measurement:
    """Measure a drawn library with a session's heads, and with their thresholds for the folder `root`.

    Raises:
        UsageError: a photo was not scanned.
    """
    concepts = [session.store.find(e.name) for e in library.enrolled]
    boxes = [true_boxes(library, s, photos[s.number].drawn) for s in library.shots]
    contents = [photos[s.number].content_hash for s in library.shots]
    return measure_recognition(session, concepts, contents, boxes, root)


def measure_recognition(
    session: Session,
    concepts: Sequence[Concept | None],
    contents: Sequence[str],
    boxes: Sequence[Mapping[int, Box]],
    root: Path | None,
) -> Measurement:
    """Measure any photos.

    concepts: None where one could not be enrolled; contents, boxes: content hash and true boxes of each photo, the
    boxes by the concept's index. root: the folder whose calibration is used.

    Returns "names" and "maybes", for each photo [concept, IoU or None]; "margins", for each photo [concept, margin] of
    the concepts that would be named if all thresholds were lowered by up to -`LOWEST_MARGIN`, in log-odds; "apart":
    concepts that are never named; "calibrated"; "expected": predicted false names; "thresholds".
    """
    gallery = load_gallery(
        session.store, session.recogniser_config, session.recognition, [c for c in concepts if c is not None], root
    )
    lowered = replace(gallery, faces=_lowered(gallery.faces), regions=_lowered(gallery.regions))
    classifiers = [j for j in (gallery.faces, gallery.regions) if j is not None]
    index = {c.id: i for i, c in enumerate(concepts) if c is not None}
    names: list[list[list[float | None]]] = []
    maybes: list[list[list[float | None]]] = []
    for photo, true in zip(_look_up(session, contents, gallery), boxes, strict=True):
        names.append(_overlaps(photo.matches, index, true))
        maybes.append(_overlaps(photo.suggestions, index, true))
    apart = [index[c.id] for j in classifiers for c, ok in zip(j.concepts, j.separable, strict=True) if not ok]
    apart += [i for i, c in enumerate(concepts) if c is None]
    calibrated = [j.calibration is not None for j in classifiers]
    return {
        "names": names,
        "maybes": maybes,
        "margins": _margins(
            _look_up(session, contents, lowered), classifiers, index, paper=session.choices.heads == "paper"
        ),
        "apart": sorted(apart),
        "calibrated": all(calibrated) and bool(calibrated),
        "expected": sum(j.calibration.expected for j in classifiers if j.calibration is not None),
        "thresholds": _thresholds(classifiers, index),
    }


def _overlaps(matches: Sequence[Match], index: Mapping[str, int], boxes: Mapping[int, Box]) -> list[list[float | None]]:
    """List [concept, IoU or None] of the matches in one photo."""
    rows: list[list[float | None]] = []
    for match in matches:
        overlap = overlap_of(match.box, boxes.get(index[match.concept_id]))
        rows.append([index[match.concept_id], None if overlap is None else round(overlap, 4)])
    return rows


def _margins(
    photos: Sequence[Recognition], classifiers: Sequence[ConceptClassifier], index: Mapping[str, int], *, paper: bool
) -> list[list[list[float]]]:
    """List [concept, margin] of the names in each photo at lowered thresholds."""
    thresholds = {c.id: float(t) for j in classifiers for c, t in zip(j.concepts, j.name_thresholds, strict=True)}
    margin = _paper_margin if paper else _margin
    rows = []
    for photo in photos:
        margins = ((index[m.concept_id], margin(m.score, thresholds[m.concept_id], m.kind)) for m in photo.matches)
        rows.append([[c, round(v, 4)] for c, v in margins if v >= LOWEST_MARGIN])
    return rows


def truth_document(truth: LibraryTruth) -> Measurement:
    """Return a library's truth as plain data."""
    concepts = [
        {"name": c.name, "kind": c.kind, "likeness": c.likeness, "resembles": c.resembles} for c in truth.concepts
    ]
    return {"concepts": concepts, "present": [sorted(p) for p in truth.present]}


def read_library_truth(document: Measurement) -> LibraryTruth:
    """Read a library's truth from plain data."""
    concepts = tuple(EnrolledTruth(c["name"], c["kind"], c["likeness"], c["resembles"]) for c in document["concepts"])
    return LibraryTruth(concepts, tuple(frozenset(p) for p in document["present"]))


def read_named(heads: Measurement) -> list[NamedConcepts]:
    """Read the names in each photo, with their IoU, from a measurement of one sort of heads."""
    return [{int(concept): overlap for concept, overlap in photo} for photo in heads["names"]]


def read_outcome(library: Measurement, heads: str) -> LibraryOutcome:
    """Compare a measured library with its truth; heads: "open-set" or "paper"."""
    return compare_with_truth(read_library_truth(library["truth"]), read_named(library["heads"][heads]))


def _look_up(session: Session, contents: Sequence[str], gallery: Gallery) -> list[Recognition]:
    photos = [f for f in look_up_all(session.extractor, [(c, None) for c in contents], gallery) if f is not None]
    if len(photos) < len(contents):
        raise UsageError("a photo of the library was not scanned", hint="Scan it before it is measured.")
    return photos


def _lowered(classifier: ConceptClassifier | None) -> ConceptClassifier | None:
    """Lower all name thresholds alike.

    Names are assigned in order of their margins, so a concept with a margin of -x here would be named if the thresholds
    were lower by x.
    """
    return None if classifier is None else replace(classifier, name_thresholds=classifier.name_thresholds - _LOWERED)


def _margin(score: float, threshold: float, kind: Kind) -> float:
    """Return how far log-odds are above a concept's name threshold."""
    return score - threshold


def _paper_margin(score: float, threshold: float, kind: Kind) -> float:
    """Return the same for the paper's heads: their probabilities become log-odds, cosine similarities are scaled.

    The scale makes margins of faces spread about as much as those of objects.
    """
    if kind is Kind.PERSON:
        return _FACE_SCALE * (score - threshold)
    return _log_odds(score) - _log_odds(threshold)


def _log_odds(probability: float) -> float:
    p = min(1 - _LEAST_DOUBT, max(_LEAST_DOUBT, probability))
    return math.log(p / (1 - p))


def _thresholds(classifiers: Sequence[ConceptClassifier], index: Mapping[str, int]) -> dict[str, list[float | None]]:
    """Return the thresholds of a name and of a suggestion by the concept's index; None for infinity."""
    thresholds: dict[str, list[float | None]] = {}
    for classifier in classifiers:
        for concept, *pair in zip(
            classifier.concepts, classifier.name_thresholds, classifier.suggestion_thresholds, strict=True
        ):
            if concept.id in index:
                finite = [round(float(v), 4) if math.isfinite(v) else None for v in pair]
                thresholds[str(index[concept.id])] = finite
    return thresholds
