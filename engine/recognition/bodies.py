"""Find the regions that may be named as a person's body where no face shows (docs/recognition.md, Bodies).

Clothes change, so this is done only with `--allow-body`.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from engine.core.boxes import Box, iou
from engine.core.class_words import kind_of_word
from engine.core.types import Kind, Match
from engine.vision.regions import RegionFeatures

SOURCE = "body"
"""The source of matches by body, and the stored kind of body heads."""
_TALLER = 1.5
"""A body is at least this many times as tall as its face; lower boxes around a face show the head."""
_SAME_THING = 0.5
"""Regions that overlap more (IoU) cannot show two concepts."""


def body_around(found: RegionFeatures, face: Box) -> int | None:
    """Return the region that is a face's body: the smallest person-sized detection around it, or None."""
    tall = _TALLER * (face.y1 - face.y0)
    fits = [
        (r.box.area, i)
        for i, r in enumerate(found.regions)
        if _may_be_body(r.source, r.word) and holds(r.box, face) and r.box.y1 - r.box.y0 >= tall
    ]
    return min(fits)[1] if fits else None


def without_faces(found: RegionFeatures, faces: Sequence[Box]) -> np.ndarray:
    """Return which regions may be named as a body, (R,) bool: persons in which no usable face is seen."""
    free = [_may_be_body(r.source, r.word) and not any(holds(r.box, f) for f in faces) for r in found.regions]
    return np.array(free, bool)


def drop_faced(bodies: Iterable[Match], seen: Sequence[Match]) -> tuple[Match, ...]:
    """Return the matches of bodies whose person is not among the matches and suggestions `seen` in the photo.

    Matches of pets and things, and bodies that overlap another match, are left out, too.
    """
    there = {m.concept_id for m in seen}
    return tuple(
        m
        for m in bodies
        if m.kind is Kind.PERSON
        and m.concept_id not in there
        and all(iou(m.box, other.box) <= _SAME_THING for other in seen)
    )


def holds(region: Box, face: Box) -> bool:
    """Return whether the middle of a face is in a region."""
    x, y = (face.x0 + face.x1) / 2, (face.y0 + face.y1) / 2
    return region.x0 <= x <= region.x1 and region.y0 <= y <= region.y1


def _may_be_body(source: str, word: str) -> bool:
    return source == "detector" and (not word or kind_of_word(word) is Kind.PERSON)
