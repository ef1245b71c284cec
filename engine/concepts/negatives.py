"""Gather negatives for an object head without the internet (docs/recognition.md, "Negatives")."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from engine.core.boxes import Box, iou
from engine.core.errors import PhotoError
from engine.core.types import Kind
from engine.photos.decode import load_photo
from engine.photos.discovery import iter_photos
from engine.store.concepts import ConceptStore
from engine.vision.cached_extractor import CachedExtractor
from engine.vision.config import RecogniserConfig
from engine.vision.feature_bank import FeatureBank
from engine.vision.regions import RegionFeatures

NEAREST, RANDOM = 150, 150
"""How many of the bank's features a head learns against: those most like the concept, and any others."""
_APART = 0.1


def find_background(regions: Sequence[RegionFeatures], boxes: Sequence[Box]) -> np.ndarray:
    """Return features (B, D) of regions apart from the concept, so that a head does not learn the background."""
    rows = [
        f
        for own, box in zip(regions, boxes, strict=True)
        for r, f in zip(own.regions, own.features, strict=True)
        if iou(r.box, box) < _APART
    ]
    return np.array(rows, np.float32).reshape(-1, regions[0].features.shape[1])


def encode_folders(extractor: CachedExtractor, folders: Sequence[Path], width: int) -> np.ndarray:
    """Return features (M, D) of every region of the user's photos of other things; unreadable photos are skipped."""
    found = [np.zeros((0, width), np.float32)]
    for path in iter_photos(folders):
        try:
            photo = load_photo(path)
        except PhotoError:
            continue
        found.append(extractor.find_regions([photo], keep=True)[0].features)
    return np.concatenate(found)


def other_concepts(store: ConceptStore, config: RecogniserConfig, same: Collection[str], width: int) -> np.ndarray:
    """Return features (M, D) of the references and confirmations of all pets and things but those with these ids."""
    found = [np.zeros((0, width), np.float32)]
    for other in store.all():
        if other.id not in same and other.kind is not Kind.PERSON:
            head = store.load_head(other.id, config.head_id(other.kind))
            if head is not None:
                found += [head.views, head.feedback.confirmed_rows(width)]
    return np.concatenate(found)


def draw_from_bank(bank: FeatureBank, views: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the 150 bank features nearest to the concept's views (V, D), and 150 of the others: (M, D)."""
    order = np.argsort(-(bank.features @ views.mean(axis=0)), kind="stable")
    return np.concatenate([bank.features[order[:NEAREST]], _draw(bank.features[order[NEAREST:]], RANDOM, rng)])


def _draw(features: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    return features if len(features) <= n else features[rng.choice(len(features), n, replace=False)]
