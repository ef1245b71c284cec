"""Find concepts that are not named because another enrolled concept, which was not requested, looks the same."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.core.boxes import Box
from engine.core.types import Decision, Verdict
from engine.recognition.classifier import ConceptClassifier
from engine.recognition.feedback import Placement, Scored, place

_FAR, _CLOSE = 4.0, 1.0
"""Log-odds: a displaced concept scores at most so far below its threshold, and its rival at most so far below it. Two
names for one drawn pet lowered the scores of both by 1.8 and the thresholds by 0.6; the scores differed by 0.2 at most.
"""


@dataclass(frozen=True)
class DisplacedConcept:
    """A concept that would be named in a region if `rival`, which is enrolled but not requested, were not enrolled.

    named: whether the rival is named in that region; else the two are so alike that neither is.
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

    unrivalled: the classifier that knows only the requested concepts. features: (R, D) of the regions.
    placed: who is named with all enrolled concepts.
    """
    columns = [[c.id for c in classifier.concepts].index(c.id) for c in unrivalled.concepts]
    near = _near_rival(scored, columns, placed)
    rows = np.flatnonzero(near.any(axis=1))
    if not len(rows):
        return ()
    scores = np.full((len(features), len(columns)), -np.inf)
    scores[rows] = np.where(near[rows], unrivalled.score(features[rows]), -np.inf)
    mine = replace(
        scored, ids=[c.id for c in unrivalled.concepts], scores=scores, thresholds=unrivalled.name_thresholds
    )
    whole = Box(0.0, 0.0, 0.0, 0.0)  # confirmed concepts are among `placed`
    rejections = [d for d in decisions if d.verdict is Verdict.REJECT]
    there = {p.concept for p in placed}
    found = []
    for p in place(mine, rejections, whole) or []:
        if p.region is not None and columns[p.concept] not in there:
            rival, named = _rival(scored, p.region, columns, placed)
            a, b = unrivalled.concepts[p.concept], classifier.concepts[rival]
            found.append(DisplacedConcept(a.id, a.name, b.id, b.name, named, p.score, p.box))
    return tuple(found)


def _near_rival(scored: Scored, columns: Sequence[int], placed: Sequence[Placement]) -> np.ndarray:
    """Return in which regions a requested concept (column) may be displaced, (R, requested) bool.

    It scores not far below its threshold there, and a concept that was not requested scores about as high or is named.
    """
    scores, own = scored.scores.astype(np.float64), list(columns)
    others = np.delete(scores, own, axis=1)
    best = others.max(axis=1) if others.shape[1] and len(others) else np.full(len(scores), -np.inf)
    for p in placed:
        if p.concept in own:  # where a requested concept is named, none is displaced
            best[_rows(scored, p)] = -np.inf
    near: np.ndarray = scores[:, own] >= scored.thresholds[own] - _FAR
    near &= best[:, None] >= scores[:, own] - _CLOSE
    return near & np.isfinite(scores[:, own])


def _rows(scored: Scored, placed: Placement) -> np.ndarray:
    """Return the regions that show what a placement shows, (R,) bool."""
    if placed.region is None or scored.same is None:
        return np.arange(len(scored.scores)) == placed.region
    found: np.ndarray = scored.same[placed.region]
    return found


def _rival(scored: Scored, region: int, columns: Sequence[int], placed: Sequence[Placement]) -> tuple[int, bool]:
    """Return the concept (column) that displaces another in a region, and whether it is named there."""
    for p in placed:
        if p.concept not in columns and p.region is not None and _rows(scored, p)[region]:
            return p.concept, True
    others = [c for c in range(scored.scores.shape[1]) if c not in columns]
    return max(others, key=lambda c: scored.scores[region, c]), False


def displaced_words(found: Iterable[DisplacedConcept]) -> tuple[str, ...]:
    """Return a line for each pair of a concept and its rival: in how many photos, and what to do."""
    pairs: dict[tuple[str, str], list[DisplacedConcept]] = {}
    for d in found:
        pairs.setdefault((d.name, d.rival), []).append(d)
    return tuple(_words(name, rival, own) for (name, rival), own in sorted(pairs.items()))


def _words(name: str, rival: str, own: Sequence[DisplacedConcept]) -> str:
    photos = "1 photo" if len(own) == 1 else f"{len(own)} photos"
    merge = f"If they are one, run: myvlm concepts merge {shlex.quote(name)} {shlex.quote(rival)}"
    fits = "fits better there" if any(d.named for d in own) else "fits about as well: neither is named"
    return f"{name} may be in {photos}, but {rival} (enrolled, not asked for) {fits}. {merge}"
