"""Find concepts that are not named because they look like an enrolled concept that was not requested, their rival."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.core.boxes import Box
from engine.core.types import Decision, Verdict
from engine.recognition.classifier import ConceptClassifier
from engine.recognition.feedback import Placement, Scored, place

_FAR, _CLOSE = 4.0, 1.0
"""Largest distances in log-odds: of a displaced concept below its threshold, and of its rival below the concept.

When one drawn pet was enrolled under two names, the scores of both fell by 1.8 and the thresholds by 0.6; the scores
differed by 0.2 at most.
"""


@dataclass(frozen=True)
class DisplacedConcept:
    """A concept that would be named in a region if `rival`, which is enrolled but not requested, were not enrolled.

    named: whether the rival is named in that region; otherwise the two are so similar that neither is named.
    score: log-odds of the concept when the rival is not enrolled.
    """

    concept_id: str
    name: str
    rival_id: str
    rival: str
    named: bool
    score: float
    box: Box


def find_displaced(
    classifier: ConceptClassifier,
    unrivalled: ConceptClassifier,
    scored: Scored,
    features: np.ndarray,
    decisions: Sequence[Decision],
    placed: Sequence[Placement],
) -> tuple[DisplacedConcept, ...]:
    """Find the displaced concepts of a photo.

    classifier: of all enrolled concepts. unrivalled: of the requested concepts alone. scored: the scores by
    `classifier`. features: (R, D) of the regions. placed: the concepts that are named when all are enrolled.
    """
    columns = [[c.id for c in classifier.concepts].index(c.id) for c in unrivalled.concepts]
    near = _near_rival(scored, columns, placed)
    rows = np.flatnonzero(near.any(axis=1))
    if not len(rows):
        return ()
    scores = np.full((len(features), len(columns)), -np.inf)
    scores[rows] = np.where(near[rows], unrivalled.score(features[rows]), -np.inf)
    requested = replace(
        scored, ids=[c.id for c in unrivalled.concepts], scores=scores, thresholds=unrivalled.name_thresholds
    )
    whole = Box(0.0, 0.0, 0.0, 0.0)  # not used: confirmed concepts are in `placed`
    rejections = [d for d in decisions if d.verdict is Verdict.REJECT]
    placed_columns = {p.concept for p in placed}
    displaced = []
    for p in place(requested, rejections, whole) or []:
        if p.region is not None and columns[p.concept] not in placed_columns:
            rival, named = _rival(scored, p.region, columns, placed)
            concept, other = unrivalled.concepts[p.concept], classifier.concepts[rival]
            displaced.append(DisplacedConcept(concept.id, concept.name, other.id, other.name, named, p.score, p.box))
    return tuple(displaced)


def _near_rival(scored: Scored, columns: Sequence[int], placed: Sequence[Placement]) -> np.ndarray:
    """Return in which regions each requested concept may be displaced, (R, requested) bool.

    The concept scores at most `_FAR` below its threshold there, and the best concept that was not requested scores at
    most `_CLOSE` below it. In a region where a requested concept is named, none is displaced.
    columns: the requested concepts.
    """
    scores, requested = scored.scores.astype(np.float64), list(columns)
    others = np.delete(scores, requested, axis=1)
    best = others.max(axis=1) if others.shape[1] and len(others) else np.full(len(scores), -np.inf)
    for p in placed:
        if p.concept in requested:
            best[_rows(scored, p)] = -np.inf
    near: np.ndarray = scores[:, requested] >= scored.thresholds[requested] - _FAR
    near &= best[:, None] >= scores[:, requested] - _CLOSE
    return near & np.isfinite(scores[:, requested])


def _rows(scored: Scored, placed: Placement) -> np.ndarray:
    """Return which regions show the same thing as a placement's region, (R,) bool."""
    if placed.region is None or scored.same is None:
        return np.arange(len(scored.scores)) == placed.region
    same: np.ndarray = scored.same[placed.region]
    return same


def _rival(scored: Scored, region: int, columns: Sequence[int], placed: Sequence[Placement]) -> tuple[int, bool]:
    """Return the column of the rival in a region, and whether it is named there; columns: the requested concepts."""
    for p in placed:
        if p.concept not in columns and p.region is not None and _rows(scored, p)[region]:
            return p.concept, True
    others = [c for c in range(scored.scores.shape[1]) if c not in columns]
    return max(others, key=lambda c: scored.scores[region, c]), False


def displaced_words(displaced: Iterable[DisplacedConcept]) -> tuple[str, ...]:
    """Return a line for each pair of a concept and its rival: the number of photos and the command to merge them."""
    pairs: dict[tuple[str, str], list[DisplacedConcept]] = {}
    for d in displaced:
        pairs.setdefault((d.name, d.rival), []).append(d)
    return tuple(_words(name, rival, of_pair) for (name, rival), of_pair in sorted(pairs.items()))


def _words(name: str, rival: str, of_pair: Sequence[DisplacedConcept]) -> str:
    photos = "1 photo" if len(of_pair) == 1 else f"{len(of_pair)} photos"
    merge = f"If they are one, run: myvlm concepts merge {shlex.quote(name)} {shlex.quote(rival)}"
    fits = "fits better there" if any(d.named for d in of_pair) else "fits about as well: neither is named"
    return f"{name} may be in {photos}, but {rival} (enrolled, not asked for) {fits}. {merge}"
