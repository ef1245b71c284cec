"""Names that an enrolled concept which nobody asked for takes away from one that was asked for: they are told."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.boxes import Box
from engine.pipeline.judges import Judge
from engine.pipeline.rulings import Placement, Scored, place
from engine.types import Decision


@dataclass(frozen=True)
class Displaced:
    """A concept that would be named in a region if `rival`, which is enrolled but was not asked for, were not there.
    named: the rival itself is recognised in that region; else the two are so alike that neither is.
    """

    concept_id: str
    name: str
    rival_id: str
    rival: str
    named: bool
    score: float
    box: Box


def find_displaced(
    judge: Judge,
    scored: Scored,
    alone: np.ndarray,
    said: Sequence[Decision],
    whole: Box | None,
    placed: Sequence[Placement],
) -> tuple[Displaced, ...]:
    """Who is displaced in a photo. alone: (R, C), the scores without rivals that were not asked for, -inf for these;
    placed: who is named with them.
    """
    there = {p.concept for p in placed}
    asked = np.isfinite(alone).any(axis=0) if len(alone) else np.zeros(len(judge.concepts), bool)
    others = place(replace(scored, scores=alone), said, whole) or []
    found = []
    for p in others:
        if p.concept in there or p.region is None or not asked[p.concept]:
            continue
        rival, named = _rival(scored, p, asked, placed)
        if rival is not None:
            a, b = judge.concepts[p.concept], judge.concepts[rival]
            found.append(Displaced(a.id, a.name, b.id, b.name, named, p.score, p.box))
    return tuple(found)


def _rival(scored: Scored, lost: Placement, asked: np.ndarray, placed: Sequence[Placement]) -> tuple[int | None, bool]:
    """The concept (column) that keeps another from being named in its region, and whether it is named there."""
    assert lost.region is not None
    same = np.eye(len(scored.scores), dtype=bool) if scored.same is None else scored.same
    for p in placed:
        if p.region is not None and same[lost.region, p.region] and not asked[p.concept]:
            return p.concept, True
    others = np.flatnonzero(~asked)
    if not len(others):
        return None, False
    return int(others[np.argmax(scored.scores[lost.region, others])]), False


def displaced_words(found: Iterable[Displaced]) -> tuple[str, ...]:
    """A line for each pair of a concept and its rival, with the number of regions (one a photo), and what to do."""
    pairs: dict[tuple[str, str], list[Displaced]] = {}
    for d in found:
        pairs.setdefault((d.name, d.rival), []).append(d)
    return tuple(_words(name, rival, own) for (name, rival), own in sorted(pairs.items()))


def _words(name: str, rival: str, own: Sequence[Displaced]) -> str:
    photos = "1 photo" if len(own) == 1 else f"{len(own)} photos"
    fits = "fits better there" if any(d.named for d in own) else "fits about as well there"
    both = shlex.quote(f"{name},{rival}")
    return (
        f"{name} may be in {photos}, but {rival} (enrolled, not asked for) {fits}. Ask for both: --concepts {both}. If"
        f" they are one: myvlm concepts merge {shlex.quote(name)} {shlex.quote(rival)}"
    )
