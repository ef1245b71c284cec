"""Naming people by their bodies where no face shows, for those who ask for it (`--allow-body`): clothes change.

Bodies are judged beside faces and things, by regions of the detector, in a gallery that things are rivals in.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from engine.core.boxes import Box, iou
from engine.core.class_words import kind_of_word
from engine.core.types import Kind, Match
from engine.vision.regions import RegionFeatures

SOURCE = "body"
"""Where such a match is from, and the kind of such heads."""
_TALLER = 1.5
"""How many times as tall as its face a body is at least: other boxes around a face are of the head."""
_SAME_THING = 0.5
"""Regions that overlap more (IoU) cannot show two concepts."""


def body_around(found: RegionFeatures, face: Box) -> int | None:
    """Which region is the body of a face: the smallest person-sized one that the detector has around it, or None."""
    tall = _TALLER * (face.y1 - face.y0)
    fits = [
        (r.box.area, i)
        for i, r in enumerate(found.regions)
        if _may_be_body(r.source, r.word) and holds(r.box, face) and r.box.y1 - r.box.y0 >= tall
    ]
    return min(fits)[1] if fits else None


def without_faces(found: RegionFeatures, faces: Sequence[Box]) -> np.ndarray:
    """Which regions may be named as a body, (R,) bool: in these none of the faces that are good enough is seen, for
    these say themselves whose they are.
    """
    free = [_may_be_body(r.source, r.word) and not any(holds(r.box, f) for f in faces) for r in found.regions]
    return np.array(free, bool)


def drop_faced(bodies: Iterable[Match], seen: Sequence[Match]) -> tuple[Match, ...]:
    """The matches of people's bodies without those of whom something was seen elsewhere in the photo (`seen`: a face,
    or perhaps one), and without those where something else is.
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
    """Whether the middle of a face is in a region."""
    x, y = (face.x0 + face.x1) / 2, (face.y0 + face.y1) / 2
    return region.x0 <= x <= region.x1 and region.y0 <= y <= region.y1


def _may_be_body(source: str, word: str) -> bool:
    return source == "detector" and (not word or kind_of_word(word) is Kind.PERSON)
