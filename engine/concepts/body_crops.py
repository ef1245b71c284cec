"""Store the bodies of enrolled people, so that `--allow-body` can recognise them without a visible face."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from engine.concepts.reference_crops import ReferenceCrop, complete_crop, make_crop
from engine.core.errors import EngineError
from engine.core.types import Concept
from engine.photos.decode import Photo
from engine.recognition.bodies import body_around
from engine.store.concepts import ConceptStore
from engine.store.heads import BodyHead
from engine.vision.cached_extractor import CachedExtractor
from engine.vision.config import RecogniserConfig, list_recognisers


def with_bodies(
    extractor: CachedExtractor, photos: Sequence[Photo], crops: Sequence[ReferenceCrop], *, keep: bool = True
) -> list[ReferenceCrop]:
    """Return crops of faces with the crops of the bodies that the detector finds around them.

    Without a detector or its weights, the crops are returned as they are. keep: store features in the cache.
    """
    if extractor.config.detector is None:
        return list(crops)
    by_content = {p.facts.content_hash: p for p in photos}
    try:
        return [_with_body(extractor, by_content[crop.reference.content_hash], crop, keep=keep) for crop in crops]
    except EngineError:  # faces are enough to recognise people: a missing body must not prevent it
        return list(crops)


def _with_body(extractor: CachedExtractor, photo: Photo, crop: ReferenceCrop, *, keep: bool) -> ReferenceCrop:
    regions = extractor.find_regions([photo], keep=keep)[0]
    row = body_around(regions, crop.box)
    if row is None:
        return crop
    rng = np.random.default_rng(int(photo.facts.content_hash[:8], 16))
    body = make_crop(photo, regions.regions[row].box, regions.features[row], regions.regions[row].word)
    return replace(crop, body=complete_crop(extractor, photo, body, regions, rng))


def save_bodies(
    store: ConceptStore,
    config: RecogniserConfig,
    concept: Concept,
    crops: Sequence[ReferenceCrop],
    *,
    adding: bool = False,
) -> None:
    """Store the head of a person's body, made of the bodies in these crops.

    adding: keep the bodies that are stored already. Without any body a new head is not stored, and an existing head is
    emptied.
    """
    bodies = [crop.body for crop in crops if crop.body is not None]
    head = _load(store, concept, config.id)
    photos = _views_by_photo(head) if head and adding else {}
    photos |= {body.reference.content_hash: body.features for body in bodies if body.features is not None}
    background = [head.background] if head and adding else []
    background += [body.background for body in bodies if body.background is not None]
    if photos:
        store.renew_head(_head(concept, config.id, photos, background))
    elif head is not None:
        store.renew_head(_emptied(head))


def remove_bodies(store: ConceptStore, config: RecogniserConfig, concept: Concept, contents: Collection[str]) -> None:
    """Remove photos from the heads of a person's body, for every recogniser."""
    for model in {c.id for c in (config, *list_recognisers())}:
        head = _load(store, concept, model)
        if head is None or not set(contents) & set(head.references):
            continue
        photos = {c: v for c, v in _views_by_photo(head).items() if c not in contents}
        store.renew_head(_head(concept, model, photos, [head.background]) if photos else _emptied(head))


def merge_bodies(store: ConceptStore, config: RecogniserConfig, kept: Concept, gone: Concept) -> None:
    """Add the bodies of `gone` to those of `kept`, for every recogniser; photos of both are stored once."""
    for model in {c.id for c in (config, *list_recognisers())}:
        kept_head, gone_head = (_load(store, c, model) for c in (kept, gone))
        if gone_head is None:
            continue
        heads = [h for h in (kept_head, gone_head) if h is not None]
        photos: dict[str, np.ndarray] = {}
        for head in heads:
            for content, views in _views_by_photo(head).items():
                photos.setdefault(content, views)
        if kept_head is None or len(photos) > len(kept_head.references):
            store.renew_head(_head(kept, model, photos, [h.background for h in heads]))


def _load(store: ConceptStore, concept: Concept, model: str) -> BodyHead | None:
    """Load the head of a concept's body for a recogniser, or None."""
    head = store.load_head(concept.id, model)
    return head if isinstance(head, BodyHead) else None


def _views_by_photo(head: BodyHead) -> dict[str, np.ndarray]:
    """Return the views (V, D) of a body's head by the content hash of the photo."""
    numbers = head.photo_numbers(0)
    return {content: head.views[numbers == n] for n, content in enumerate(head.references)}


def _head(concept: Concept, model: str, views: Mapping[str, np.ndarray], background: Sequence[np.ndarray]) -> BodyHead:
    """Return the head of a body made of the views (V, D) of each photo, by content hash."""
    return BodyHead(
        concept_id=concept.id,
        encoder=model,
        threshold=0.0,
        views=np.concatenate(list(views.values())).astype(np.float32),
        photos=np.repeat(np.arange(len(views)), [len(v) for v in views.values()]),
        references=tuple(views),
        background=np.concatenate(background).astype(np.float32),
    )


def _emptied(head: BodyHead) -> BodyHead:
    """Return the head of a body without views, references and background."""
    photos = None if head.photos is None else head.photos[:0]
    return replace(head, views=head.views[:0], photos=photos, references=(), background=head.background[:0])
