"""Collect the features of the user's decisions about a concept (docs/recognition.md, Suggestions and feedback).

They are stored with the head, so that it can be trained again without the photos and the cache.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from engine.core.boxes import Box, iou
from engine.core.errors import PhotoError
from engine.core.types import Concept, Decision, Kind, Verdict
from engine.photos.decode import Photo, decode_photo, read_photo
from engine.recognition.feedback import nearest_region
from engine.recognition.linear_head import LinearHead
from engine.store.heads import ConceptHead, FeedbackFeatures, ObjectHead
from engine.vision.cached_extractor import CachedExtractor
from engine.vision.faces import Face
from engine.vision.regions import RegionFeatures

Rank: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""A function from the features (R, D) of regions to scores (R,): the higher, the more likely the concept."""

VIEWS = 3
"""Number of views of a decided region: the plain crop and altered crops.

Held-out errors (missed + false, of 40 + 40) of storybook heads on three individuals that look alike, two of them nearly
the same: after 5 rejections and 5 confirmations 54 without feedback, 49 with one view, 37 with three, 39 with nine;
after 10 rejections 53 without feedback, 46 with one view, 54 with three, 65 with nine. With nine views a head rejects
the concept that it was trained for.
"""
_LEAST_OVERLAP = 0.1
"""IoU below which a decided box and a region show different things."""
_SAME_BOX = 0.95
"""IoU from which a decided box is a region's own, in whole pixels: the cached feature of the region is that of the box
where a recogniser makes no altered views.
"""


def rank_by_views(views: np.ndarray) -> Rank:
    """Return a rank by the cosine similarity to the nearest of a concept's views (V, D)."""
    return lambda features: (features @ views.T).max(axis=1)


def rank_by_head(head: ConceptHead) -> Rank:
    """Return the rank of regions or faces by a head."""
    if isinstance(head, ObjectHead):
        return LinearHead(head.weight, head.bias, head.scale).scores
    return rank_by_views(head.views)


def gather_feedback(
    extractor: CachedExtractor, concept: Concept, decisions: Iterable[Decision], rank: Rank, kept: FeedbackFeatures
) -> tuple[FeedbackFeatures, tuple[Decision, ...]]:
    """Return the features of a concept's decisions, and the decisions without features.

    The features (N, D) of a decision are those in `kept`, else those in the cache, or computed from the photo where
    the recogniser makes altered views or the box is the user's own.
    A decision has none if its photo was moved or changed and is not cached, or if no face or region is at its box.
    """
    confirmed: dict[str, np.ndarray] = {}
    rejected: dict[str, np.ndarray] = {}
    without_features: list[Decision] = []
    for decision in decisions:
        key = key_of(decision)
        rows = kept.confirmed.get(key, kept.rejected.get(key))
        if rows is None:
            rows = _find_features(extractor, concept, decision, rank)
        if rows is None:
            without_features.append(decision)
        else:
            (confirmed if decision.verdict is Verdict.CONFIRM else rejected)[key] = rows
    return FeedbackFeatures(confirmed, rejected), tuple(without_features)


def key_of(decision: Decision) -> str:
    """Return the key of a decision's features: the photo's content hash and the rounded box, if it has one."""
    box = decision.box
    return decision.content_hash + ("@" + ",".join(str(v) for v in box.rounded()) if box else "")


def _find_features(extractor: CachedExtractor, concept: Concept, decision: Decision, rank: Rank) -> np.ndarray | None:
    """Return the features (N, D) float32 of the region that a decision is about; None if there are none.

    The photo is only decoded where the cache does not hold them.
    """
    if concept.kind is Kind.PERSON:
        faces = _faces(extractor, decision)
        i = _choose([f.box for f in faces], np.array([f.embedding for f in faces]), decision.box, rank)
        return None if i is None else faces[i].embedding[None].astype(np.float32)
    cached = _regions(extractor, decision)
    if cached is None:
        return None
    boxes = [r.box for r in cached.regions]
    i = _choose(boxes, cached.features, decision.box, rank)
    known = None if i is None else cached.features[i : i + 1].astype(np.float32)
    box = decision.box or (None if i is None else boxes[i])
    if i is not None and box is not None and not extractor.config.augmentations and iou(box, boxes[i]) >= _SAME_BOX:
        return known
    photo = _load(decision)
    if photo is None or box is None:
        return None if photo is not None else known
    return _encode(extractor, photo, photo.in_image(box))


def _faces(extractor: CachedExtractor, decision: Decision) -> Sequence[Face]:
    """Return the faces in the photo of a decision; boxes are in pixels of the photo."""
    faces = extractor.cached_faces(decision.content_hash)
    if faces is None and (photo := _load(decision)) is not None:
        (in_picture,) = extractor.find_faces([photo], keep=True)
        faces = [replace(f, box=photo.in_photo(f.box)) for f in in_picture]
    return faces or []


def _regions(extractor: CachedExtractor, decision: Decision) -> RegionFeatures | None:
    """Return the regions in the photo of a decision; None if it was moved or changed and is not in the cache."""
    regions = extractor.cached_regions(decision.content_hash)
    if regions is None and (photo := _load(decision)) is not None:
        (in_picture,) = extractor.find_regions([photo], keep=True)
        boxed = tuple(replace(r, box=photo.in_photo(r.box)) for r in in_picture.regions)
        regions = replace(in_picture, regions=boxed)
    return regions


def _encode(extractor: CachedExtractor, photo: Photo, box: Box) -> np.ndarray:
    """Return the features (N, D) float32 of N <= `VIEWS` views of a region; the photo seeds the altered views."""
    rng = np.random.default_rng(int(photo.facts.content_hash[:8], 16))
    return extractor.encode_views(photo.image, box, rng)[:VIEWS].astype(np.float32)


def _load(decision: Decision) -> Photo | None:
    """Return the photo that a decision is about; None if it was moved, changed or cannot be read."""
    try:
        file = read_photo(decision.path)
        return decode_photo(file) if file.content_hash == decision.content_hash else None
    except PhotoError:
        return None


def _choose(boxes: list[Box], features: np.ndarray, box: Box | None, rank: Rank) -> int | None:
    """Return the index of the region nearest to a box, or of the best-ranked region without a box; None if none fits.

    features: (R, D) of the regions with these boxes.
    """
    if not boxes:
        return None
    if box is None:
        return int(np.argmax(rank(features)))
    i = nearest_region(boxes, box)
    return i if iou(boxes[i], box) >= _LEAST_OVERLAP else None
