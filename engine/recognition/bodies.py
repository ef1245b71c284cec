"""Find the regions that may be named as a person's body where no face shows (docs/recognition.md, Bodies).

It is used only with `--allow-body`, because clothes change.
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
"""Least height of a body in heights of its face; a lower box around a face shows only the head."""
_SAME_THING = 0.5
"""IoU above which two regions show the same thing, and so cannot show two concepts."""


def body_around(regions: RegionFeatures, face: Box) -> int | None:
    """Return the row of the region that shows a face's body: the smallest tall enough detection around it, or None."""
    least_height = _TALLER * (face.y1 - face.y0)
    areas = [
        (r.box.area, i)
        for i, r in enumerate(regions.regions)
        if _may_be_body(r.source, r.word) and holds(r.box, face) and r.box.y1 - r.box.y0 >= least_height
    ]
    return min(areas)[1] if areas else None


def without_faces(regions: RegionFeatures, faces: Sequence[Box]) -> np.ndarray:
    """Return which regions may be named as a body, (R,) bool: detected persons that hold none of `faces`."""
    free = [_may_be_body(r.source, r.word) and not any(holds(r.box, f) for f in faces) for r in regions.regions]
    return np.array(free, bool)


def drop_faced(bodies: Iterable[Match], seen: Sequence[Match]) -> tuple[Match, ...]:
    """Return the body matches of persons who are not among the matches and suggestions `seen` in the photo.

    Matches of pets and things are left out, and so are bodies with an IoU of more than 0.5 with one of `seen`.
    """
    seen_ids = {m.concept_id for m in seen}
    return tuple(
        m
        for m in bodies
        if m.kind is Kind.PERSON
        and m.concept_id not in seen_ids
        and all(iou(m.box, other.box) <= _SAME_THING for other in seen)
    )


def holds(region: Box, face: Box) -> bool:
    """Return whether the middle of a face is in a region, its edges included."""
    x, y = (face.x0 + face.x1) / 2, (face.y0 + face.y1) / 2
    return region.x0 <= x <= region.x1 and region.y0 <= y <= region.y1


def _may_be_body(source: str, word: str) -> bool:
    """Return whether a region with this source and class word is a detection that may show a person."""
    return source == "detector" and (not word or kind_of_word(word) is Kind.PERSON)
