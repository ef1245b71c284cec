"""What is stored of each reference photo of a concept, so that photos can be added and removed without the others."""

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
from engine.recognition.classifier import photos_of, views_of
from engine.recognition.explain.nearest import references_of
from engine.session import Session
from engine.store.concepts import Head
from engine.vision.cached_extractor import find_faces, find_regions, known_faces, known_regions

UNKNOWN = "?"
"""Stands for the content hash of a photo that a head of an earlier version does not tell."""
_SAME_PLACE = 0.5
"""Regions that overlap a reference's box more (IoU) are of it."""


@dataclass(frozen=True)
class StoredCrop:
    """What a head knows of one reference photo. views: (V, D), the plain one first; background: (B, D), what else is in
    the photo; content: its content hash, or `UNKNOWN`.
    """

    content: str
    views: np.ndarray
    background: np.ndarray


@dataclass(frozen=True)
class CropRows:
    """The views of some photos as the rows that a head keeps. features: (N, D); photos: (N,) int, which photo each is
    of; background: (B, D); background_of: (B,) int, which photo each is in, -1 for negatives that the user gave;
    contents: the photos' content hashes, in the order of their numbers.
    """

    features: np.ndarray
    photos: np.ndarray
    background: np.ndarray
    background_of: np.ndarray
    contents: tuple[str, ...]


def to_stored_crop(view: ReferenceCrop) -> StoredCrop:
    """A new view as a head will keep it."""
    views = (view.feature[None] if view.features is None else view.features).astype(np.float32)
    background = views[:0] if view.background is None else view.background
    return StoredCrop(view.reference.content_hash, views, background)


def load_stored_crops(session: Session, concept: Concept, head: Head | None) -> tuple[list[StoredCrop], np.ndarray]:
    """What a head keeps of each reference photo, in its order, and the background (B, D) that belongs to no particular
    photo: negatives that the user gave, and in heads of earlier versions what the cache does not tell of.
    """
    if head is None or not len(views_of(head)):
        return [], np.zeros((0, 1), np.float32)
    views, photos = views_of(head), photos_of(head, session.recogniser_config.augmentations)
    background = head.tensors.get("background", views[:0])
    contents = references_of(session, concept, head)
    owners = head.tensors.get("background_of")
    if owners is None:
        owners = _owners(session, concept, contents, background)
    known = [
        StoredCrop(contents.get(n) or UNKNOWN, views[photos == n], background[owners == n])
        for n in map(int, np.unique(photos))
    ]
    return known, background[~np.isin(owners, np.unique(photos))]


def _owners(session: Session, concept: Concept, contents: Mapping[int, str], background: np.ndarray) -> np.ndarray:
    """Which photo each background row (B, D) of a head of an earlier version is in, (B,): as far as the cache has what
    is in the photos; -1 for the others.
    """
    found = np.full(len(background), -1)
    own = {r.content_hash: r for r in concept.references}
    for n, content in contents.items():
        seen = _background_of(session, own[content]) if content in own and len(background) else None
        for row in () if seen is None else seen:
            found[(background == row).all(axis=1)] = n
    return found


def join_rows(shown: Sequence[StoredCrop], loose: np.ndarray) -> CropRows:
    """The rows of some photos and of background of no particular photo (B, D), each background row once."""
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


def facts_of(rows: CropRows) -> dict[str, str]:
    """Which photos rows are of, as facts of a head."""
    return {"references": " ".join(rows.contents)}


def restore_crops(
    session: Session,
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
        own = _look(session, kind, reference, photo, rng) or _recall(session, kind, reference)
        found += [own] if own else []
        lost += [] if own else [reference]
    return found, lost


def _background_of(session: Session, reference: Reference) -> np.ndarray | None:
    """What else the cache has in a reference photo, (B, D); None when it does not know the photo."""
    regions = known_regions(session, reference.content_hash)
    if regions is None or reference.box is None:
        return None
    return find_background([regions], [reference.box])


def _load(path: Path, content: str) -> Photo | None:
    """The photo at a path, if it has this content."""
    try:
        file = read_photo(path)
        return decode_photo(file) if file.content_hash == content else None
    except PhotoError:
        return None


def _look(
    session: Session, kind: Kind, reference: Reference, photo: Photo | None, rng: np.random.Generator
) -> StoredCrop | None:
    if photo is None:
        return None
    if kind is Kind.PERSON:
        find_faces(session, [photo], keep=True)
        return _recall(session, kind, reference)
    regions = find_regions(session, [photo], keep=True)[0]
    box = reference.box or Box(0.0, 0.0, *map(float, photo.image.size))
    views = session.recogniser.encode_views(photo.image, box, rng).astype(np.float32)
    return StoredCrop(reference.content_hash, views, find_background([regions], [box]))


def _recall(session: Session, kind: Kind, reference: Reference) -> StoredCrop | None:
    """What the cache has of a reference; it keeps no altered views."""
    if kind is Kind.PERSON:
        faces = known_faces(session, reference.content_hash) or []
        boxes, features = [f.box for f in faces], [f.embedding for f in faces]
    else:
        regions = known_regions(session, reference.content_hash)
        boxes, features = ([r.box for r in regions.regions], list(regions.features)) if regions else ([], [])
    if reference.box is None or not boxes:
        return None
    overlap = [iou(b, reference.box) for b in boxes]
    best = int(np.argmax(overlap))
    if overlap[best] < _SAME_PLACE:
        return None
    view = np.asarray(features[best], np.float32)[None]
    background = _background_of(session, reference) if kind is not Kind.PERSON else None
    return StoredCrop(reference.content_hash, view, view[:0] if background is None else background)
