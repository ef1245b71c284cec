"""Which reference photos, or photos that the user decided on, are most like a region; never a wrong one."""

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


def mean_likeness(head: ConceptHead, feature: np.ndarray) -> float | None:
    """Cosine of a region's feature (D,) to the mean of all views of a head; None of an imported one without."""
    views = np.concatenate([head.views, head.feedback.confirmed_rows(head.width)])
    if not len(views):
        return None
    mean = views.mean(axis=0)
    return float(feature @ mean / max(float(np.linalg.norm(mean)), 1e-9))


class KnownPhotos:
    """The photos that a head knows a concept from. Of which photo a view is, is found out once, when it is asked."""

    def __init__(self, photos: Sequence["_Known"], dates: Mapping[str, str]) -> None:
        self._photos, self._dates = [p for p in photos if len(p.views)], dates

    @classmethod
    def of(cls, store: ConceptStore, extractor: CachedExtractor, concept: Concept, head: ConceptHead) -> "KnownPhotos":
        """References and confirmed photos; none of an imported head that nobody taught."""
        confirmed = _decided(store, concept, "confirmed", head.feedback.confirmed)
        return cls([*_references(store, extractor, concept, head), *confirmed], _dates(head))

    @classmethod
    def of_body(cls, concept: Concept, head: ConceptHead, body: ConceptHead) -> "KnownPhotos":
        """References with bodies, by a person's two heads."""
        views, numbers = body.views, body.photo_numbers(0)
        own = {r.content_hash: r for r in concept.references}
        known = enumerate(body.references)
        photos = [_Known("reference", views[numbers == n], partial(own.get, content)) for n, content in known]
        return cls(photos, _dates(head))

    def ranked(self, feature: np.ndarray) -> Iterator[Likeness]:
        """Yield the photos, most similar to a region's feature (D,) first; each once, as far as they are known."""
        cosines = [float((p.views @ feature).max()) for p in self._photos]
        told: set[str] = set()
        for i in sorted(range(len(cosines)), key=lambda i: -cosines[i]):
            found = self._likeness(self._photos[i], cosines[i])
            if found.content_hash is None or found.content_hash not in told:
                yield found
                told |= {found.content_hash} if found.content_hash else set()

    def _likeness(self, photo: "_Known", cosine: float) -> Likeness:
        owner = photo.owner()
        if owner is None:
            return Likeness(photo.of, cosine)
        taken = self._dates.get(owner.content_hash) if photo.of == "reference" else None
        return Likeness(photo.of, cosine, owner.path, owner.content_hash, owner.box, taken)


@dataclass(frozen=True)
class _Known:
    """The views (V, D) of one photo that is known of a concept, and what tells which photo that is, or None."""

    of: Literal["reference", "confirmed", "rejected"]
    views: np.ndarray
    owner: Callable[[], Reference | Decision | None]


def find_nearest(
    store: ConceptStore, extractor: CachedExtractor, concept: Concept, head: ConceptHead, feature: np.ndarray
) -> Likeness | None:
    """Return the reference or confirmed photo most similar to a region's feature (D,); None if a head has none."""
    return next(KnownPhotos.of(store, extractor, concept, head).ranked(feature), None)


def find_nearest_body(concept: Concept, head: ConceptHead, body: ConceptHead, feature: np.ndarray) -> Likeness | None:
    """Return the reference photo with the body most like that of a region's feature (D,), by a person's two heads."""
    return next(KnownPhotos.of_body(concept, head, body).ranked(feature), None)


def find_rejection(store: ConceptStore, concept: Concept, head: ConceptHead, feature: np.ndarray) -> Likeness | None:
    """Return what is most like a region's feature (D,) of all that the user said is not the concept."""
    rejected = _decided(store, concept, "rejected", head.feedback.rejected)
    return next(KnownPhotos(rejected, {}).ranked(feature), None)


def references_of(
    store: ConceptStore, extractor: CachedExtractor, concept: Concept, head: ConceptHead
) -> dict[int, str]:
    """Return the content hashes of a head's photos by number, as far as it is known which they are."""
    told = head.references
    if told:
        return dict(enumerate(told))
    found = {n: p.owner() for n, p in zip(*_numbered(store, extractor, concept, head), strict=True)}
    return {n: owner.content_hash for n, owner in found.items() if owner is not None}


def _dates(head: ConceptHead) -> Mapping[str, str]:
    """When a person's reference photos were taken, ISO 8601 by content hash; empty for pets and things."""
    return head.taken if isinstance(head, FaceHead) else {}


def _decided(
    store: ConceptStore, concept: Concept, of: Literal["confirmed", "rejected"], rows: Mapping[str, np.ndarray]
) -> list[_Known]:
    """Return what the user decided, by the features that are kept of it."""
    known = {key_of(d): d for d in store.decisions.of(concept.id)} if rows else {}
    return [_Known(of, views, partial(known.get, key)) for key, views in sorted(rows.items())]


def _references(store: ConceptStore, extractor: CachedExtractor, concept: Concept, head: ConceptHead) -> list[_Known]:
    return _numbered(store, extractor, concept, head)[1]


def _numbered(
    store: ConceptStore, extractor: CachedExtractor, concept: Concept, head: ConceptHead
) -> tuple[list[int], list[_Known]]:
    """Return the numbers of a head's photos, and what is known of each."""
    views, photos = head.views, head.photo_numbers(extractor.config.augmentations)
    by_number = {int(n): views[photos == n] for n in np.unique(photos)}
    numbering = _Numbering(store, extractor, concept, {n: rows[0] for n, rows in by_number.items()})
    owners: dict[int, Callable[[], Reference | None]] = {n: cache(partial(numbering.reference, n)) for n in by_number}
    told = head.references
    if told:
        own = {r.content_hash: r for r in concept.references}
        owners = {n: partial(own.get, told[n]) for n in by_number}
    return list(by_number), [_Known("reference", rows, owners[n]) for n, rows in by_number.items()]


class _Numbering:
    """Which reference a head's photo is, by its number and its plain view (D,)."""

    def __init__(
        self, store: ConceptStore, extractor: CachedExtractor, concept: Concept, plain: Mapping[int, np.ndarray]
    ) -> None:
        self._store, self._extractor, self._concept, self._plain = store, extractor, concept, plain

    def reference(self, number: int) -> Reference | None:
        """Return the reference that a photo number stands for; None where that cannot be known.

        It is the reference of that number if the cache has the view in it, or if the cache does not know and the head
        must be of these references in order; else the only reference in which the cache has the view.
        """
        own = self._concept.references
        there = self._shows(number, own[number]) if number < len(own) else False
        if there or (there is None and self._in_order):
            return own[number]
        shown = [r for r in own if self._shows(number, r)]
        return shown[0] if len(shown) == 1 else None

    @cached_property
    def _in_order(self) -> bool:
        """Whether numbers are places in the list of references: the concept has no other head, every reference has a
        number, none is of the same picture as another (both not so after merging two concepts that had one photo in
        common), and the cache contradicts none.
        """
        own = self._concept.references
        heads = [h for h in self._store.facts(self._concept).heads if h.kind != SOURCE]
        if len(heads) != 1 or set(self._plain) != set(range(len(own))):
            return False
        plain = np.stack([self._plain[n] for n in range(len(own))])
        if (np.triu(plain @ plain.T, 1) > _SAME).any():
            return False
        return all(self._shows(n, reference) is not False for n, reference in enumerate(own))

    def _shows(self, number: int, reference: Reference) -> bool | None:
        return _shows(self._extractor, self._concept.kind, reference, self._plain[number])


def _shows(extractor: CachedExtractor, kind: Kind, reference: Reference, plain: np.ndarray) -> bool | None:
    """Whether a view was made of a reference photo; None when the cache does not tell: it forgot the photo, or it has
    no region just there, because a person marked it.
    """
    if kind is Kind.PERSON:
        faces = extractor.cached_faces(reference.content_hash)
        return None if faces is None else any(float(f.embedding @ plain) > _SAME for f in faces)
    found = extractor.cached_regions(reference.content_hash)
    if found is None or reference.box is None:
        return None
    there = [r.box.rounded() == reference.box.rounded() for r in found.regions]
    return bool((found.features[there] @ plain > _SAME).any()) if any(there) else None
