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
    extractor: CachedExtractor, photos: Sequence[Photo], views: Sequence[ReferenceCrop], *, keep: bool = True
) -> list[ReferenceCrop]:
    """Return crops of faces with the crops of the bodies that the detector finds around them.

    Without a detector or its weights, the crops are returned as they are. keep: store features in the cache.
    """
    if extractor.config.detector is None:
        return list(views)
    by_content = {p.facts.content_hash: p for p in photos}
    try:
        return [_with_body(extractor, by_content[v.reference.content_hash], v, keep=keep) for v in views]
    except EngineError:  # faces are enough to recognise people: a missing body must not prevent it
        return list(views)


def _with_body(extractor: CachedExtractor, photo: Photo, view: ReferenceCrop, *, keep: bool) -> ReferenceCrop:
    found = extractor.find_regions([photo], keep=keep)[0]
    row = body_around(found, view.box)
    if row is None:
        return view
    rng = np.random.default_rng(int(photo.facts.content_hash[:8], 16))
    body = make_crop(photo, found.regions[row].box, found.features[row], found.regions[row].word)
    return replace(view, body=complete_crop(extractor, photo, body, found, rng))


def save_bodies(
    store: ConceptStore,
    config: RecogniserConfig,
    concept: Concept,
    views: Sequence[ReferenceCrop],
    *,
    adding: bool = False,
) -> None:
    """Store the head of a person's body: of these views alone, or `adding` them to what it has; none where no body was
    seen.
    """
    bodies = [v.body for v in views if v.body is not None]
    before = _load(store, concept, config.id)
    photos = _views_by_photo(before) if before and adding else {}
    photos |= {b.reference.content_hash: b.features for b in bodies if b.features is not None}
    background = [before.background] if before and adding else []
    background += [b.background for b in bodies if b.background is not None]
    if photos:
        store.renew_head(_head(concept, config.id, photos, background))
    elif before is not None:
        store.renew_head(_emptied(before))


def remove_bodies(store: ConceptStore, config: RecogniserConfig, concept: Concept, contents: Collection[str]) -> None:
    """Take photos out of the heads of a person's body, for every recogniser."""
    for model in {c.id for c in (config, *list_recognisers())}:
        head = _load(store, concept, model)
        if head is None or not set(contents) & set(head.references):
            continue
        photos = {c: v for c, v in _views_by_photo(head).items() if c not in contents}
        store.renew_head(_head(concept, model, photos, [head.background]) if photos else _emptied(head))


def merge_bodies(store: ConceptStore, config: RecogniserConfig, kept: Concept, gone: Concept) -> None:
    """Give one person's bodies the other's, for every recogniser; photos of both count once."""
    for model in {c.id for c in (config, *list_recognisers())}:
        a, b = (_load(store, c, model) for c in (kept, gone))
        if b is None:
            continue
        heads = [h for h in (a, b) if h is not None]
        photos: dict[str, np.ndarray] = {}
        for head in heads:
            for content, views in _views_by_photo(head).items():
                photos.setdefault(content, views)
        if a is None or len(photos) > len(a.references):
            store.renew_head(_head(kept, model, photos, [h.background for h in heads]))


def _load(store: ConceptStore, concept: Concept, model: str) -> BodyHead | None:
    """Load a concept's body for a recogniser, or None."""
    head = store.load_head(concept.id, model)
    return head if isinstance(head, BodyHead) else None


def _views_by_photo(head: BodyHead) -> dict[str, np.ndarray]:
    """Return a body's views (V, D) by the content of the photos."""
    numbers = head.photo_numbers(0)
    return {content: head.views[numbers == n] for n, content in enumerate(head.references)}


def _head(concept: Concept, model: str, views: Mapping[str, np.ndarray], background: Sequence[np.ndarray]) -> BodyHead:
    """Make a body's head of the views (V, D) of each photo, by content."""
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
    """Return a body of which nothing is known any more."""
    photos = None if head.photos is None else head.photos[:0]
    return replace(head, views=head.views[:0], photos=photos, references=(), background=head.background[:0])
