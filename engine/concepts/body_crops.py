"""What enrolling people keeps of their bodies, so that `--allow-body` can know them; their faces are not touched."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from engine.concepts.reference_crops import ReferenceCrop, complete_crop, make_crop
from engine.core.errors import EngineError
from engine.core.types import Concept
from engine.photos.decode import Photo
from engine.recognition.bodies import SOURCE, body_around
from engine.session import Session
from engine.store.concepts import Head
from engine.vision.cached_extractor import find_regions
from engine.vision.config import list_recognisers


def with_bodies(
    session: Session, photos: Sequence[Photo], views: Sequence[ReferenceCrop], *, keep: bool = True
) -> list[ReferenceCrop]:
    """Views of faces with those of the bodies that the detector has around them, as far as it has: without a detector,
    or its weights, they stay as they are. `keep` lets features go to the cache.
    """
    if session.recogniser_config.detector is None:
        return list(views)
    by_content = {p.facts.content_hash: p for p in photos}
    try:
        return [_with_body(session, by_content[v.reference.content_hash], v, keep=keep) for v in views]
    except EngineError:  # people are known by their faces; what stands in the way of more is no reason to fail
        return list(views)


def _with_body(session: Session, photo: Photo, view: ReferenceCrop, *, keep: bool) -> ReferenceCrop:
    found = find_regions(session, [photo], keep=keep)[0]
    assert view.reference.box is not None  # a face's
    row = body_around(found, view.reference.box)
    if row is None:
        return view
    rng = np.random.default_rng(int(photo.facts.content_hash[:8], 16))
    body = make_crop(photo, found.regions[row].box, found.features[row], found.regions[row].word)
    return replace(view, body=complete_crop(session, photo, body, found, rng))


def save_bodies(session: Session, concept: Concept, views: Sequence[ReferenceCrop], *, adding: bool = False) -> None:
    """Store the head of a person's body: of these views alone, or `adding` them to what it has; none where no body was
    seen.
    """
    model = session.recogniser_config.id
    bodies = [v.body for v in views if v.body is not None]
    before = session.store.load_head(concept.id, model)
    if before is not None and before.kind != SOURCE:
        before = None
    photos = _views_by_photo(before) if before and adding else {}
    photos |= {b.reference.content_hash: b.features for b in bodies if b.features is not None}
    background = [before.tensors["background"]] if before and adding else []
    background += [b.background for b in bodies if b.background is not None]
    if photos:
        _save(session, concept, model, _tensors(list(photos.values()), background), list(photos))
    elif before is not None:
        _save(session, concept, model, {k: v[:0] for k, v in before.tensors.items()}, [])


def remove_bodies(session: Session, concept: Concept, contents: Collection[str]) -> None:
    """Take photos out of the heads of a person's body, for every recogniser."""
    for model in {c.id for c in (session.recogniser_config, *list_recognisers())}:
        head = session.store.load_head(concept.id, model)
        if head is None or head.kind != SOURCE or not set(contents) & set(photos_of_body(head)):
            continue
        photos = {c: v for c, v in _views_by_photo(head).items() if c not in contents}
        tensors = {k: v[:0] for k, v in head.tensors.items()}
        if photos:
            tensors = _tensors(list(photos.values()), [head.tensors["background"]])
        _save(session, concept, model, tensors, list(photos))


def _views_by_photo(head: Head) -> dict[str, np.ndarray]:
    """A body's views (V, D) by the content of the photos."""
    return {c: head.tensors["views"][head.tensors["photos"] == n] for n, c in enumerate(photos_of_body(head))}


def merge_bodies(session: Session, kept: Concept, gone: Concept) -> None:
    """Give one person's bodies the other's, for every recogniser; photos of both count once."""
    for model in {c.id for c in (session.recogniser_config, *list_recognisers())}:
        a, b = (session.store.load_head(c.id, model) for c in (kept, gone))
        if b is None or b.kind != SOURCE or (a is not None and a.kind != SOURCE):
            continue
        heads = [h for h in (a, b) if h is not None]
        photos: dict[str, np.ndarray] = {}
        for head in heads:
            for content, views in _views_by_photo(head).items():
                photos.setdefault(content, views)
        if a is not None and len(photos) == len(photos_of_body(a)):
            continue
        tensors = _tensors(list(photos.values()), [h.tensors["background"] for h in heads])
        _save(session, kept, model, tensors, list(photos))


def photos_of_body(head: Head) -> list[str]:
    """The content hashes of the photos that a body's views are of, by the photos' numbers."""
    return str(head.facts["photos"]).split()


def _tensors(views: Sequence[np.ndarray], background: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    numbers = np.repeat(np.arange(len(views)), [len(v) for v in views])
    rows = {"views": np.concatenate(views), "background": np.concatenate(background)}
    return {**{k: r.astype(np.float32) for k, r in rows.items()}, "photos": numbers}


def _save(
    session: Session, concept: Concept, model: str, tensors: dict[str, np.ndarray], photos: Sequence[str]
) -> None:
    session.store.renew_head(Head(concept.id, model, SOURCE, 0.0, tensors, {"photos": " ".join(photos)}))
