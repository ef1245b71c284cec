"""Find the reference photos and decided photos that are most like a region (docs/recognition.md, Explanations).

A photo is given only if the view is certainly of that photo; otherwise only the likeness is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np

from engine.core.boxes import Box
from engine.core.types import Concept, Decision, Kind, Reference
from engine.recognition.bodies import SOURCE
from engine.recognition.feedback_features import key_of
from engine.store.concepts import ConceptStore
from engine.store.heads import ConceptHead, FaceHead
from engine.vision.cached_extractor import CachedExtractor

_SAME_VIEW = 0.995
"""Cosine above which a cached region is the one that a view was made of; features vary with batch and device."""


@dataclass(frozen=True)
class Likeness:
    """A view of a concept, its photo, and its cosine similarity to a region, -1..1.

    path, content_hash: where the photo was, and its hash; None if a head of an earlier version does not identify it.
    box: in pixels of the upright photo; None if none was given.
    taken: when a person's reference photo was taken, ISO 8601; None if the date is missing.
    """

    of: Literal["reference", "confirmed", "rejected"]
    cosine: float
    path: Path | None = None
    content_hash: str | None = None
    box: Box | None = None
    taken: str | None = None


def mean_likeness(head: ConceptHead, feature: np.ndarray) -> float | None:
    """Return the cosine of a region's feature (D,) to the mean of a head's views; None for an imported head without."""
    views = np.concatenate([head.views, head.feedback.confirmed_rows(head.width)])
    if not len(views):
        return None
    mean = views.mean(axis=0)
    return float(feature @ mean / max(float(np.linalg.norm(mean)), 1e-9))


class KnownPhotos:
    """The photos of the views in a head. The photo of a view is identified when it is first needed."""

    def __init__(self, photos: Sequence["_PhotoViews"], dates: Mapping[str, str]) -> None:
        """Use the photos that have views; dates: when photos were taken, ISO 8601 by content hash."""
        self._photos, self._dates = [p for p in photos if len(p.views)], dates

    @classmethod
    def of(cls, store: ConceptStore, extractor: CachedExtractor, concept: Concept, head: ConceptHead) -> "KnownPhotos":
        """Return the reference and confirmed photos; empty for an imported head without feedback."""
        confirmed = _decided(store, concept, "confirmed", head.feedback.confirmed)
        return cls([*_references(store, extractor, concept, head), *confirmed], _dates(head))

    @classmethod
    def of_body(cls, concept: Concept, head: ConceptHead, body: ConceptHead) -> "KnownPhotos":
        """Return the reference photos that show the body; head: the person's face head, body: the body head."""
        views, numbers = body.views, body.photo_numbers(0)
        by_hash = {r.content_hash: r for r in concept.references}
        photos = [
            _PhotoViews("reference", views[numbers == n], partial(by_hash.get, content_hash))
            for n, content_hash in enumerate(body.references)
        ]
        return cls(photos, _dates(head))

    def ranked(self, feature: np.ndarray) -> Iterator[Likeness]:
        """Yield the photos, those most like a region's feature (D,) first; each identified photo once."""
        cosines = [float((p.views @ feature).max()) for p in self._photos]
        yielded: set[str] = set()
        for i in sorted(range(len(cosines)), key=lambda i: -cosines[i]):
            likeness = self._likeness(self._photos[i], cosines[i])
            if likeness.content_hash is None or likeness.content_hash not in yielded:
                yield likeness
                yielded |= {likeness.content_hash} if likeness.content_hash else set()

    def _likeness(self, photo: "_PhotoViews", cosine: float) -> Likeness:
        source = photo.source()
        if source is None:
            return Likeness(photo.of, cosine)
        taken = self._dates.get(source.content_hash) if photo.of == "reference" else None
        return Likeness(photo.of, cosine, source.path, source.content_hash, source.box, taken)


@dataclass(frozen=True)
class _PhotoViews:
    """The views (V, D) of a concept in one photo.

    source: a function that returns the reference or decision of that photo; None if it cannot be identified.
    """

    of: Literal["reference", "confirmed", "rejected"]
    views: np.ndarray
    source: Callable[[], Reference | Decision | None]


def find_nearest(
    store: ConceptStore, extractor: CachedExtractor, concept: Concept, head: ConceptHead, feature: np.ndarray
) -> Likeness | None:
    """Return the reference or confirmed photo most like a region's feature (D,); None for a head without views."""
    return next(KnownPhotos.of(store, extractor, concept, head).ranked(feature), None)


def find_nearest_body(concept: Concept, head: ConceptHead, body: ConceptHead, feature: np.ndarray) -> Likeness | None:
    """Return the reference photo with the body most like a region's feature (D,); None for a head without views.

    head: the person's face head. body: the body head.
    """
    return next(KnownPhotos.of_body(concept, head, body).ranked(feature), None)


def find_rejection(store: ConceptStore, concept: Concept, head: ConceptHead, feature: np.ndarray) -> Likeness | None:
    """Return the rejected photo that is most like a region's feature (D,); None if the user rejected none."""
    rejected = _decided(store, concept, "rejected", head.feedback.rejected)
    return next(KnownPhotos(rejected, {}).ranked(feature), None)


def references_of(
    store: ConceptStore, extractor: CachedExtractor, concept: Concept, head: ConceptHead
) -> dict[int, str]:
    """Return the content hashes of a head's photos by number; photos that cannot be identified are left out."""
    if head.references:
        return dict(enumerate(head.references))
    sources = {n: p.source() for n, p in zip(*_numbered(store, extractor, concept, head), strict=True)}
    return {n: source.content_hash for n, source in sources.items() if source is not None}


def _dates(head: ConceptHead) -> Mapping[str, str]:
    """Return when a person's reference photos were taken, ISO 8601 by content hash; empty for pets and things."""
    return head.taken if isinstance(head, FaceHead) else {}


def _decided(
    store: ConceptStore, concept: Concept, of: Literal["confirmed", "rejected"], rows: Mapping[str, np.ndarray]
) -> list[_PhotoViews]:
    """Return the confirmed or rejected photos; rows: their stored features (N, D) by decision key."""
    by_key = {key_of(d): d for d in store.decisions.of(concept.id)} if rows else {}
    return [_PhotoViews(of, views, partial(by_key.get, key)) for key, views in sorted(rows.items())]


def _references(
    store: ConceptStore, extractor: CachedExtractor, concept: Concept, head: ConceptHead
) -> list[_PhotoViews]:
    """Return the views of each photo of a head."""
    return _numbered(store, extractor, concept, head)[1]


def _numbered(
    store: ConceptStore, extractor: CachedExtractor, concept: Concept, head: ConceptHead
) -> tuple[list[int], list[_PhotoViews]]:
    """Return the numbers of a head's photos, and the views of each."""
    views, photos = head.views, head.photo_numbers(extractor.config.augmentations)
    by_number = {int(n): views[photos == n] for n in np.unique(photos)}
    numbering = _Numbering(store, extractor, concept, {n: rows[0] for n, rows in by_number.items()})
    sources: dict[int, Callable[[], Reference | None]] = {n: cache(partial(numbering.reference, n)) for n in by_number}
    if head.references:
        by_hash = {r.content_hash: r for r in concept.references}
        sources = {n: partial(by_hash.get, head.references[n]) for n in by_number}
    return list(by_number), [_PhotoViews("reference", rows, sources[n]) for n, rows in by_number.items()]


class _Numbering:
    """Identifies the reference of each photo of a head that does not name them, from its number and unaltered view."""

    def __init__(
        self, store: ConceptStore, extractor: CachedExtractor, concept: Concept, plain: Mapping[int, np.ndarray]
    ) -> None:
        """Use a concept's references; plain: by number, the unaltered view (D,) of each of the head's photos."""
        self._store, self._extractor, self._concept, self._plain = store, extractor, concept, plain

    def reference(self, number: int) -> Reference | None:
        """Return the reference of a head's photo; None if it cannot be identified.

        It is the reference at that place in the list if the view is in its cached features, or if the cache cannot
        tell and numbers are places in the list (`_in_order`); otherwise the only reference with the view in its cached
        features.
        """
        references = self._concept.references
        shows = self._shows(number, references[number]) if number < len(references) else False
        if shows or (shows is None and self._in_order):
            return references[number]
        candidates = [r for r in references if self._shows(number, r)]
        return candidates[0] if len(candidates) == 1 else None

    @cached_property
    def _in_order(self) -> bool:
        """Return whether numbers are places in the list of references.

        This holds if the concept has no other head except for a body head, every reference has a number, no two views
        are of the same picture, and the cache contradicts no place. The second and third conditions fail after a merge
        of two concepts that had a photo in common.
        """
        references = self._concept.references
        heads = [h for h in self._store.facts(self._concept).heads if h.kind != SOURCE]
        if len(heads) != 1 or set(self._plain) != set(range(len(references))):
            return False
        plain = np.stack([self._plain[n] for n in range(len(references))])
        if (np.triu(plain @ plain.T, 1) > _SAME_VIEW).any():
            return False
        return all(self._shows(n, reference) is not False for n, reference in enumerate(references))

    def _shows(self, number: int, reference: Reference) -> bool | None:
        return _shows(self._extractor, self._concept.kind, reference, self._plain[number])


def _shows(extractor: CachedExtractor, kind: Kind, reference: Reference, plain: np.ndarray) -> bool | None:
    """Return whether a view was made from a reference photo; None if the cache cannot tell.

    It cannot tell when it does not hold the photo, or has no region at the reference's box, because the user drew it.
    plain: the unaltered view (D,).
    """
    if kind is Kind.PERSON:
        faces = extractor.cached_faces(reference.content_hash)
        return None if faces is None else any(float(f.embedding @ plain) > _SAME_VIEW for f in faces)
    cached = extractor.cached_regions(reference.content_hash)
    if cached is None or reference.box is None:
        return None
    at_box = [r.box.rounded() == reference.box.rounded() for r in cached.regions]
    return bool((cached.features[at_box] @ plain > _SAME_VIEW).any()) if any(at_box) else None
