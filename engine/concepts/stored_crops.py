"""Read and join what a head stores of each reference photo, so that single photos can be added and removed."""

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
"""Stands for the content hash of a photo when a head of a previous version does not store it."""
_SAME_PLACE = 0.5
"""A region that overlaps a reference's box at least this much (IoU) shows the reference."""


@dataclass(frozen=True)
class StoredCrop:
    """The features that a head stores of one reference photo.

    content: the photo's content hash, or `UNKNOWN`; views: (V, D), the plain view first; background: (B, D), features
    of the other regions in the photo.
    """

    content: str
    views: np.ndarray
    background: np.ndarray


@dataclass(frozen=True)
class CropRows:
    """The features of several photos as the rows that a head stores.

    features: (N, D); photos: (N,) int, the photo number of each feature; background: (B, D); background_of: (B,) int,
    the photo number of each background row, -1 for negatives that the user gave; contents: the photos' content hashes,
    in the order of their numbers.
    """

    features: np.ndarray
    photos: np.ndarray
    background: np.ndarray
    background_of: np.ndarray
    contents: tuple[str, ...]


def to_stored_crop(crop: ReferenceCrop) -> StoredCrop:
    """Convert a new crop to the form in which a head stores it."""
    views = (crop.feature[None] if crop.features is None else crop.features).astype(np.float32)
    background = views[:0] if crop.background is None else crop.background
    return StoredCrop(crop.reference.content_hash, views, background)


def load_stored_crops(
    store: ConceptStore, extractor: CachedExtractor, concept: Concept, head: ConceptHead | None
) -> tuple[list[StoredCrop], np.ndarray]:
    """Return the stored crop of each reference photo, in the head's order, and the background (B, D) of no photo.

    The latter are negatives that the user gave and, in heads of previous versions, rows that the cache cannot assign
    to a photo.
    """
    if head is None or not len(head.views):
        return [], np.zeros((0, 1), np.float32)
    views, photos = head.views, head.photo_numbers(extractor.config.augmentations)
    background = head.background
    contents = references_of(store, extractor, concept, head)
    photo_of_row = head.background_of
    if photo_of_row is None:
        photo_of_row = _photo_of_rows(extractor, concept, contents, background)
    crops = [
        StoredCrop(contents.get(n) or UNKNOWN, views[photos == n], background[photo_of_row == n])
        for n in map(int, np.unique(photos))
    ]
    return crops, background[~np.isin(photo_of_row, np.unique(photos))]


def _photo_of_rows(
    extractor: CachedExtractor, concept: Concept, contents: Mapping[int, str], background: np.ndarray
) -> np.ndarray:
    """Return the photo number (B,) of each background row (B, D) of a head of a previous version.

    It is -1 for rows that are not among the cached regions of any reference photo.
    """
    photo_numbers = np.full(len(background), -1)
    references = {r.content_hash: r for r in concept.references}
    for n, content in contents.items():
        cached = _background_of(extractor, references[content]) if content in references and len(background) else None
        for row in () if cached is None else cached:
            photo_numbers[(background == row).all(axis=1)] = n
    return photo_numbers


def join_rows(shown: Sequence[StoredCrop], loose: np.ndarray) -> CropRows:
    """Join the rows of photos and the background (B, D) of no particular photo; each distinct background row once."""
    width = shown[0].views.shape[1]
    parts = [p.background.reshape(-1, width) for p in shown]
    parts.append(loose if len(loose) else np.zeros((0, width), np.float32))
    background = np.concatenate(parts).astype(np.float32)
    photo_of_row = np.repeat([*range(len(shown)), -1], [len(p) for p in parts])
    kept_rows = np.sort(np.unique(background, axis=0, return_index=True)[1])
    return CropRows(
        np.concatenate([p.views for p in shown]).astype(np.float32),
        np.repeat(np.arange(len(shown)), [len(p.views) for p in shown]),
        background[kept_rows],
        photo_of_row[kept_rows].astype(np.int64),
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
    """Return a person's head made of the rows of photos.

    taken: ISO 8601 dates by content hash; dates of photos that are not in `rows` are left out.
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
    """Restore the crops of references for which the recogniser in use has nothing stored.

    Each photo is read from the path given for its content hash in `given`, else from its stored path; if it cannot be
    read or used, the cache is searched. Returns the restored crops, and the references that could not be restored.
    """
    crops, lost = [], []
    for reference in missing:
        photo = _load(given.get(reference.content_hash, reference.path), reference.content_hash)
        crop = _look(extractor, kind, reference, photo, rng) or _recall(extractor, kind, reference)
        crops += [crop] if crop else []
        lost += [] if crop else [reference]
    return crops, lost


def _background_of(extractor: CachedExtractor, reference: Reference) -> np.ndarray | None:
    """Return the background (B, D) of a reference photo from the cache; None if its regions or box are unavailable."""
    regions = extractor.cached_regions(reference.content_hash)
    if regions is None or reference.box is None:
        return None
    return find_background([regions], [reference.box])


def _load(path: Path, content: str) -> Photo | None:
    """Load the photo at a path; None if it is unreadable or has another content hash."""
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
    """Restore a reference's crop from the cache, which holds plain views only; None if no cached region matches."""
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
