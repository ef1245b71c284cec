"""Collect the negatives for an object head, without internet access (`docs/recognition.md`, "Negatives")."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
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
"""How many features of the bank are negatives for a head: the most similar to the concept, and random others."""
_APART = 0.1
"""Regions that overlap the concept's box less (IoU) are background."""


def find_background(regions: Sequence[RegionFeatures], boxes: Sequence[Box]) -> np.ndarray:
    """Return the features (B, D) of the other regions in the reference photos, so that no head learns their background.

    regions, boxes: for each photo its regions, and the box of the concept in pixels.
    """
    rows = [
        feature
        for photo_regions, box in zip(regions, boxes, strict=True)
        for region, feature in zip(photo_regions.regions, photo_regions.features, strict=True)
        if iou(region.box, box) < _APART
    ]
    return np.array(rows, np.float32).reshape(-1, regions[0].features.shape[1])


def encode_folders(extractor: CachedExtractor, folders: Sequence[Path], width: int) -> np.ndarray:
    """Return the features (M, D) of every region in the user's photos of other things; skip unreadable photos."""
    features = [np.zeros((0, width), np.float32)]
    for path in iter_photos(folders):
        try:
            photo = load_photo(path)
        except PhotoError:
            continue
        features.append(extractor.find_regions([photo], keep=True)[0].features)
    return np.concatenate(features)


@dataclass(frozen=True)
class KnownViews:
    """The features of all pets and things, references and confirmed regions, by concept id in the order of names."""

    by_concept: Mapping[str, tuple[np.ndarray, ...]]

    @classmethod
    def read(cls, store: ConceptStore, config: RecogniserConfig) -> "KnownViews":
        """Read every head of a recogniser once."""
        found: dict[str, tuple[np.ndarray, ...]] = {}
        for concept in store.all():
            head = (
                store.load_head(concept.id, config.head_id(concept.kind)) if concept.kind is not Kind.PERSON else None
            )
            if head is not None:
                found[concept.id] = (head.views, *(rows for _, rows in sorted(head.feedback.confirmed.items())))
        return cls(found)

    def without(self, same: Collection[str], width: int) -> np.ndarray:
        """Return the features (M, width) of all concepts but those in `same`."""
        others = [rows for concept_id, known in self.by_concept.items() if concept_id not in same for rows in known]
        return np.concatenate([np.zeros((0, width), np.float32), *others])


def draw_from_bank(bank: FeatureBank, views: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return (M, D): the 150 bank features nearest to the mean of the views (V, D), and 150 random others."""
    order = np.argsort(-(bank.features @ views.mean(axis=0)), kind="stable")
    return np.concatenate([bank.features[order[:NEAREST]], _draw(bank.features[order[NEAREST:]], RANDOM, rng)])


def _draw(features: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    return features if len(features) <= n else features[rng.choice(len(features), n, replace=False)]
