"""Which reference photo, or photo that the user decided on, is most like a region; never a wrong one."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from engine.boxes import Box
from engine.pipeline.bodies import SOURCE
from engine.pipeline.body_views import photos_of_body
from engine.pipeline.dates import read_dates
from engine.pipeline.features import known_faces, known_regions
from engine.pipeline.judges import photos_of, views_of
from engine.pipeline.session import Session
from engine.pipeline.taught import Taught, key_of
from engine.store.concepts import Head
from engine.types import Concept, Decision, Kind, Reference

_SAME = 0.995
"""Cosine from which on a cached region is the one that a view was made of: numbers differ by batch and device."""


@dataclass(frozen=True)
class Likeness:
    """Something that is known of a concept, and how like a region it is: cosine, -1..1. path: where its photo was, with
    content_hash; None when a head of before does not tell of which photo it is. box: in the photo's pixels, None where
    nobody said. taken: when a person's reference photo was taken, ISO 8601, None where that is not known.
    """

    of: Literal["reference", "confirmed", "rejected"]
    cosine: float
    path: Path | None = None
    content_hash: str | None = None
    box: Box | None = None
    taken: str | None = None


def mean_likeness(head: Head, feature: np.ndarray) -> float | None:
    """Cosine of a region's feature (D,) to the mean of all views of a head; None of an imported one without."""
    views = np.concatenate([views_of(head), *Taught.beside(head).confirmed.values()])
    if not len(views):
        return None
    mean = views.mean(axis=0)
    return float(feature @ mean / max(float(np.linalg.norm(mean)), 1e-9))


def find_nearest(session: Session, concept: Concept, head: Head, feature: np.ndarray) -> Likeness | None:
    """The reference or confirmed photo with the view most like a region's feature (D,); None where a head has none."""
    views = views_of(head)
    best, cosine = _most_alike(views, feature)
    taught = _decided(session, concept, Taught.beside(head).confirmed, feature)
    if taught is not None and taught[1] > cosine:
        return _likeness("confirmed", taught[1], taught[0])
    if not len(views):
        return None
    photos = photos_of(head, session.recogniser_config.augmentations)
    number = int(photos[best])
    reference = _reference(session, concept, number, views[photos == number][0], int(photos.max()) + 1)
    return _dated(_likeness("reference", cosine, reference), head)


def find_nearest_body(concept: Concept, head: Head, body: Head, feature: np.ndarray) -> Likeness:
    """The reference photo with the body most like that of a region's feature (D,), by a person's two heads."""
    best, cosine = _most_alike(views_of(body), feature)
    content = photos_of_body(body)[int(body.tensors["photos"][best])]
    reference = next((r for r in concept.references if r.content_hash == content), None)
    return _dated(_likeness("reference", cosine, reference), head)


def _dated(found: Likeness, head: Head) -> Likeness:
    return replace(found, taken=read_dates(head.facts).get(found.content_hash or ""))


def find_rejection(session: Session, concept: Concept, head: Head, feature: np.ndarray) -> Likeness | None:
    """What is most like a region's feature (D,) of all that the user said is not the concept."""
    found = _decided(session, concept, Taught.beside(head).rejected, feature)
    return _likeness("rejected", found[1], found[0]) if found else None


def _most_alike(views: np.ndarray, feature: np.ndarray) -> tuple[int, float]:
    """The row most like a feature, with its cosine; (-1, -inf) without rows."""
    if not len(views):
        return -1, -np.inf
    likeness = views @ feature
    return int(np.argmax(likeness)), float(likeness.max())


def _decided(
    session: Session, concept: Concept, rows: Mapping[str, np.ndarray], feature: np.ndarray
) -> tuple[Decision | None, float] | None:
    """The decision whose region is most like a feature, by the features kept of decisions; None where none are."""
    if not rows:
        return None
    key, cosine = max(((k, _most_alike(v, feature)[1]) for k, v in sorted(rows.items())), key=lambda found: found[1])
    known = {key_of(d): d for d in session.store.decisions.of(concept.id)}
    return known.get(key), cosine


def _likeness(
    of: Literal["reference", "confirmed", "rejected"], cosine: float, owner: Reference | Decision | None
) -> Likeness:
    return Likeness(of, cosine) if owner is None else Likeness(of, cosine, owner.path, owner.content_hash, owner.box)


def _reference(session: Session, concept: Concept, photo: int, plain: np.ndarray, photos: int) -> Reference | None:
    """The reference that a head's photo is, by its number and its plain view (D,): the one of that number if the cache
    has the view in it, or if the head must be of these references: the concept has no other head, and this one's
    numbers end with the references (not so after merging two concepts that had one photo in common). Else the only
    reference in which the cache has the view; None where neither tells.
    """
    own = concept.references
    if photo < len(own):
        there = _shows(session, concept.kind, own[photo], plain)
        heads = [h for h in session.store.facts(concept)["heads"] if h["kind"] != SOURCE]
        sole = len(heads) == 1 and len(own) == photos
        if there or (sole and there is None):
            return own[photo]
    shown = [r for r in own if _shows(session, concept.kind, r, plain)]
    return shown[0] if len(shown) == 1 else None


def _shows(session: Session, kind: Kind, reference: Reference, plain: np.ndarray) -> bool | None:
    """Whether a view was made of a reference photo; None when the cache does not tell: it forgot the photo, or it has
    no region just there, because a person marked it.
    """
    if kind is Kind.PERSON:
        faces = known_faces(session, reference.content_hash)
        return None if faces is None else any(float(f.embedding @ plain) > _SAME for f in faces)
    found = known_regions(session, reference.content_hash)
    if found is None or reference.box is None:
        return None
    there = [r.box.rounded() == reference.box.rounded() for r in found.regions]
    return bool((found.features[there] @ plain > _SAME).any()) if any(there) else None
