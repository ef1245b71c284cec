"""Read what a head stores of each reference photo, so that photos can be added and removed without the others."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.concepts.negatives import find_background
from engine.concepts.reference_crops import ReferenceCrop
from engine.core.boxes import Box, iou
from engine.core.errors import PhotoError
from engine.core.types import Concept, Kind, Reference
from engine.photos.decode import Photo, decode_photo, read_photo
from engine.recognition.explain.nearest import references_of
from engine.store.concepts import ConceptStore
from engine.store.heads import ConceptHead, FaceHead, FeedbackFeatures
from engine.vision.cached_extractor import CachedExtractor

UNKNOWN = "?"
"""Stands for the content hash of a photo where a head of an earlier version does not hold it."""
_SAME_PLACE = 0.5
"""Regions that overlap the box of a reference by more than this IoU show the reference."""


@dataclass(frozen=True)
class StoredCrop:
    """What a head stores of one reference photo.

    content: its content hash, or `UNKNOWN`. views: (V, D) features of the crop, the plain one first. background: (B, D)
    features of everything else in the photo.
    """

    content: str
    views: np.ndarray
    background: np.ndarray


@dataclass(frozen=True)
class CropRows:
    """The crops of some photos as the rows that a head stores.

    features: (N, D). photos: (N,) int, the number of the photo of each row. background: (B, D). background_of: (B,)
    int, the number of the photo of each row, -1 for negatives that the user gave. contents: the photos' content hashes,
    by number.
    """

    features: np.ndarray
    photos: np.ndarray
    background: np.ndarray
    background_of: np.ndarray
    contents: tuple[str, ...]


def to_stored_crop(view: ReferenceCrop) -> StoredCrop:
    """Convert a new crop into what a head stores."""
    views = (view.feature[None] if view.features is None else view.features).astype(np.float32)
    background = views[:0] if view.background is None else view.background
    return StoredCrop(view.reference.content_hash, views, background)


def load_stored_crops(
    store: ConceptStore, extractor: CachedExtractor, concept: Concept, head: ConceptHead | None
) -> tuple[list[StoredCrop], np.ndarray]:
    """Return what a head stores of each reference photo, in its order, and the background (B, D) of no particular
    photo: negatives that the user gave, and in heads of earlier versions what the cache does not tell of.
    """
    if head is None or not len(head.views):
        return [], np.zeros((0, 1), np.float32)
    views, photos = head.views, head.photo_numbers(extractor.config.augmentations)
    background = head.background
    contents = references_of(store, extractor, concept, head)
    owners = head.background_of
    if owners is None:
        owners = _owners(extractor, concept, contents, background)
    known = [
        StoredCrop(contents.get(n) or UNKNOWN, views[photos == n], background[owners == n])
        for n in map(int, np.unique(photos))
    ]
    return known, background[~np.isin(owners, np.unique(photos))]


def _owners(
    extractor: CachedExtractor, concept: Concept, contents: Mapping[int, str], background: np.ndarray
) -> np.ndarray:
    """Return the photo (B,) of each background row (B, D) of a head of an earlier version: as far as the cache has what
    is in the photos; -1 for the others.
    """
    found = np.full(len(background), -1)
    own = {r.content_hash: r for r in concept.references}
    for n, content in contents.items():
        seen = _background_of(extractor, own[content]) if content in own and len(background) else None
        for row in () if seen is None else seen:
            found[(background == row).all(axis=1)] = n
    return found


def join_rows(shown: Sequence[StoredCrop], loose: np.ndarray) -> CropRows:
    """Return the rows of some photos and of background of no particular photo (B, D), each background row once."""
    width = shown[0].views.shape[1]
    parts = [p.background.reshape(-1, width) for p in shown]
    parts.append(loose if len(loose) else np.zeros((0, width), np.float32))
    background = np.concatenate(parts).astype(np.float32)
    owners = np.repeat([*range(len(shown)), -1], [len(p) for p in parts])
    first = np.sort(np.unique(background, axis=0, return_index=True)[1])
    return CropRows(
        np.concatenate([p.views for p in shown]).astype(np.float32),
        np.repeat(np.arange(len(shown)), [len(p.views) for p in shown]),
        background[first],
        owners[first].astype(np.int64),
        tuple(p.content for p in shown),
    )


def face_head(
    concept: Concept,
    encoder: str,
    threshold: float,
    rows: CropRows,
    feedback: FeedbackFeatures,
    taken: Mapping[str, str],
) -> FaceHead:
    """Make a person's head of the rows of some photos. taken: ISO 8601 dates by content; dates of other photos are
    left out.
    """
    return FaceHead(
        concept_id=concept.id,
        encoder=encoder,
        threshold=threshold,
        views=rows.features,
        photos=rows.photos,
        references=rows.contents,
        feedback=feedback,
        taken={content: day for content, day in taken.items() if content in rows.contents},
    )


def restore_crops(
    extractor: CachedExtractor,
    kind: Kind,
    missing: Iterable[Reference],
    given: Mapping[str, Path],
    rng: np.random.Generator,
) -> tuple[list[StoredCrop], list[Reference]]:
    """Look again at references of which the recogniser in use has nothing stored: where photos were given now (by
    content), where they were, or else what the cache has of them. Returns what was found, and those that are lost.
    """
    found, lost = [], []
    for reference in missing:
        photo = _load(given.get(reference.content_hash, reference.path), reference.content_hash)
        own = _look(extractor, kind, reference, photo, rng) or _recall(extractor, kind, reference)
        found += [own] if own else []
        lost += [] if own else [reference]
    return found, lost


def _background_of(extractor: CachedExtractor, reference: Reference) -> np.ndarray | None:
    """Return what else the cache has in a reference photo, (B, D); None when it does not know the photo."""
    regions = extractor.cached_regions(reference.content_hash)
    if regions is None or reference.box is None:
        return None
    return find_background([regions], [reference.box])


def _load(path: Path, content: str) -> Photo | None:
    """Return the photo at a path, if it has this content."""
    try:
        file = read_photo(path)
        return decode_photo(file) if file.content_hash == content else None
    except PhotoError:
        return None


def _look(
    extractor: CachedExtractor, kind: Kind, reference: Reference, photo: Photo | None, rng: np.random.Generator
) -> StoredCrop | None:
    if photo is None:
        return None
    if kind is Kind.PERSON:
        extractor.find_faces([photo], keep=True)
        return _recall(extractor, kind, reference)
    regions = extractor.find_regions([photo], keep=True)[0]
    box = reference.box or Box(0.0, 0.0, *map(float, photo.image.size))
    views = extractor.encode_views(photo.image, box, rng).astype(np.float32)
    return StoredCrop(reference.content_hash, views, find_background([regions], [box]))


def _recall(extractor: CachedExtractor, kind: Kind, reference: Reference) -> StoredCrop | None:
    """Return what the cache has of a reference; it keeps no altered views."""
    if kind is Kind.PERSON:
        faces = extractor.cached_faces(reference.content_hash) or []
        boxes, features = [f.box for f in faces], [f.embedding for f in faces]
    else:
        regions = extractor.cached_regions(reference.content_hash)
        boxes, features = ([r.box for r in regions.regions], list(regions.features)) if regions else ([], [])
    if reference.box is None or not boxes:
        return None
    overlap = [iou(b, reference.box) for b in boxes]
    best = int(np.argmax(overlap))
    if overlap[best] < _SAME_PLACE:
        return None
    view = np.asarray(features[best], np.float32)[None]
    background = _background_of(extractor, reference) if kind is not Kind.PERSON else None
    return StoredCrop(reference.content_hash, view, view[:0] if background is None else background)
