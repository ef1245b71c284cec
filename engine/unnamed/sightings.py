"""Find the faces and animals of one photo that have no name: neither from the recogniser, nor from the user."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.concepts.enrol_tagged import face_in
from engine.core.boxes import Box, iou
from engine.core.class_words import kind_of_word
from engine.core.types import Kind, Match
from engine.recognition.quality import passes
from engine.recognition.recognise import Recognition
from engine.unnamed.groups import Sighting
from engine.unnamed.photo_facts import Tag
from engine.vision.config import FaceQuality
from engine.vision.faces import Face
from engine.vision.regions import Region, RegionFeatures

_SAME_FACE = 0.5
"""A face that overlaps a match more (IoU) is that match."""
_SAME_ANIMAL = 0.5
"""Two regions that share more of the smaller one's area show the same animal."""
_CELLS = 3
"""Cells of a grid that have the same word if that is no chance; there are 13."""
_LARGE, _SHARP = 112.0, 200.0
"""Shorter side in pixels, and sharpness, from which a face gains nothing: the first is the recogniser's input."""


@dataclass(frozen=True)
class FoundFaces:
    """The faces of a photo without a name, with their features (F, D).

    hidden: how many more are too small, blurred or turned.
    """

    sightings: tuple[Sighting, ...]
    features: np.ndarray
    hidden: int


def unnamed_faces(
    photo: Sighting, faces: Sequence[Face], gate: FaceQuality, named: Recognition, tags: Sequence[Tag]
) -> FoundFaces:
    """Return the faces of a photo that may be named and have no name.

    photo: what all sightings of the photo have in common. named: people whom the recogniser names and suggests.
    """
    tagged = [face for tag in tags if not tag.is_pet and (face := face_in(faces, tag.box)) is not None]
    boxes = [m.box for m in named.matches] + [f.box for f in tagged]
    free = [f for f in faces if all(iou(f.box, box) <= _SAME_FACE for box in boxes)]
    good = [f for f in free if passes(f, gate)]
    found = [
        replace(photo, box=f.box, quality=_quality(f, gate), maybe=_suggested(f.box, named.suggestions)) for f in good
    ]
    features = np.stack([f.embedding for f in good]) if good else np.zeros((0, 1), np.float32)
    return FoundFaces(tuple(found), features, len(free) - len(good))


def _quality(face: Face, gate: FaceQuality) -> float:
    """Return how well a face is seen, 0..1: how large, sharp and frontal it is."""
    side = min(face.box.x1 - face.box.x0, face.box.y1 - face.box.y0)
    size, sharpness = min(1.0, side / _LARGE), min(1.0, face.sharpness / _SHARP)
    return round(size * sharpness**0.5 * (1.0 - 0.5 * face.turn / gate.max_turn), 4)


def _suggested(box: Box, suggestions: Sequence[Match]) -> str:
    return next((s.name for s in suggestions if iou(s.box, box) > _SAME_FACE), "")


def unnamed_animals(
    photo: Sighting, found: RegionFeatures, named: Recognition, tags: Sequence[Tag]
) -> tuple[tuple[Sighting, ...], np.ndarray]:
    """Return the animals of a photo that have no name, with their features (A, D)."""
    boxes = [m.box for m in named.matches if m.kind is Kind.PET] + [t.box for t in tags if t.is_pet]
    things = [m.box for m in named.matches if m.kind is Kind.THING]
    rows = [i for i in animal_rows(found.regions) if not _is_named(found.regions[i].box, boxes, things)]
    whole = max((r.box.area for r in found.regions), default=1.0)
    sightings = [_animal(photo, found.regions[i], whole, named.suggestions) for i in rows]
    return tuple(sightings), found.features[rows]


def _is_named(box: Box, animals: Sequence[Box], things: Sequence[Box]) -> bool:
    """Return whether an animal is one that has a name, or a thing that has one, such as a toy."""
    return any(_shared(box, b) > _SAME_ANIMAL for b in animals) or any(iou(box, b) > _SAME_ANIMAL for b in things)


def _animal(photo: Sighting, region: Region, whole: float, suggestions: Sequence[Match]) -> Sighting:
    quality = round(min(1.0, region.box.area / whole) ** 0.5, 4)
    maybe = next((s.name for s in suggestions if _shared(s.box, region.box) > _SAME_ANIMAL), "")
    return replace(photo, box=region.box, quality=quality, word=region.word, maybe=maybe)


def animal_rows(regions: Sequence[Region]) -> list[int]:
    """Return the rows of regions that show one animal each.

    Of detections that share most of their area the first, which is the surest, is taken. Without detections it is the
    whole photo, if it has the word of an animal; if it has no word at all, the most central cell of a word that several
    cells have.
    """
    animals = [i for i, r in enumerate(regions) if kind_of_word(r.word) is Kind.PET]
    if any(r.source == "detector" for r in regions):
        chosen: list[int] = []
        for i in animals:
            if all(_shared(regions[i].box, regions[k].box) <= _SAME_ANIMAL for k in chosen):
                chosen.append(i)
        return chosen
    whole = [i for i, r in enumerate(regions) if r.source == "photo" and r.word]
    if whole:
        return [i for i in whole if i in animals]
    by_word = {word: [i for i in animals if regions[i].word == word] for word in {regions[i].word for i in animals}}
    return sorted(_central(regions, cells) for cells in by_word.values() if len(cells) >= _CELLS)


def _central(regions: Sequence[Region], cells: Sequence[int]) -> int:
    """Return the cell that has most of its area in common with the others."""
    boxes = [regions[i].box for i in cells]
    return max(cells, key=lambda i: (sum(_common(regions[i].box, b) for b in boxes), -i))


def _common(a: Box, b: Box) -> float:
    return Box(max(a.x0, b.x0), max(a.y0, b.y0), min(a.x1, b.x1), min(a.y1, b.y1)).area


def _shared(a: Box, b: Box) -> float:
    """Return the share of the smaller box that lies in the other one, 0..1."""
    least = min(a.area, b.area)
    return _common(a, b) / least if least > 0 else 0.0
