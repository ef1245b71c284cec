"""Faces and regions of photos with their features: from the cache where they are known, else computed and kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from engine.core.boxes import Box
from engine.photos.decode import Photo
from engine.vision.cache import FeatureCache
from engine.vision.config import RecogniserConfig
from engine.vision.faces import Face
from engine.vision.regions import Region, RegionFeatures

if TYPE_CHECKING:
    from engine.vision.extractor import FeatureExtractor

_SOURCES = ("detector", "photo", "grid")
"""Where a region came from, by the number that the cache stores."""


@dataclass(frozen=True)
class Detections:
    """What was detected in one photo. faces, regions: None where they were not looked for, or are not in the cache.

    scale: pixels of the photo for one pixel of the picture that the boxes are in.
    """

    faces: Sequence[Face] | None = None
    regions: RegionFeatures | None = None
    scale: float = 1.0


class CachedExtractor:
    """A recogniser's detections; its models load only for photos that the cache does not know.

    Boxes of the `find_…` methods are in pixels of the decoded picture (`Photo.image`), which may be smaller than the
    photo; those of the `cached_…` methods are in pixels of the upright photo.
    """

    def __init__(
        self, config: RecogniserConfig, cache: FeatureCache, load_models: Callable[[], "FeatureExtractor"]
    ) -> None:
        self.config = config
        self.cache = cache
        self._load_models = load_models

    @cached_property
    def models(self) -> "FeatureExtractor":
        """The models, loaded when first needed."""
        return self._load_models()

    @property
    def loaded(self) -> bool:
        """Whether the models were needed."""
        return "models" in self.__dict__

    def detect(self, photos: Sequence[Photo], *, faces: bool, regions: bool, keep: bool) -> list[Detections]:
        """Detect faces, regions or both in each photo; boxes are in pixels of the picture."""
        none = [None] * len(photos)
        detected_faces = self.find_faces(photos, keep=keep) if faces and photos else none
        detected_regions = self.find_regions(photos, keep=keep) if regions and photos else none
        scales = [p.facts.width / p.image.width for p in photos]
        return [Detections(*row) for row in zip(detected_faces, detected_regions, scales, strict=True)]

    def cached(self, content_hash: str, *, faces: bool, regions: bool) -> Detections:
        """Return what the cache has of a photo; boxes are in pixels of the photo."""
        return Detections(
            self.cached_faces(content_hash) if faces else None,
            self.cached_regions(content_hash) if regions else None,
        )

    def find_faces(self, photos: Sequence[Photo], *, keep: bool) -> list[list[Face]]:
        """Find the faces of each photo. `keep` writes new ones to the cache."""
        results: list[list[Face]] = []
        new = []
        for photo in photos:
            faces = self.cached_faces(photo.facts.content_hash)
            if faces is None:
                faces = self.models.find_faces(photo.image)
                new.append((photo.facts.content_hash, _pack_faces(photo, faces)))
            else:
                faces = [replace(f, box=photo.in_image(f.box)) for f in faces]
            results.append(faces)
        if keep and new:
            self.cache.save(self.config.found_faces_id, new)
        return results

    def cached_faces(self, content_hash: str) -> list[Face] | None:
        """Return the faces that the cache has of a photo, or None where it does not know the photo."""
        arrays = self.cache.load(content_hash, self.config.found_faces_id)
        if arrays is None:
            return None
        rows = zip(*(arrays[k] for k in ("boxes", "scores", "embeddings", "sharpness", "turn")), strict=True)
        return [Face(Box(*map(float, b)), float(s), e, float(blur), float(turn)) for b, s, e, blur, turn in rows]

    def find_regions(self, photos: Sequence[Photo], *, keep: bool) -> list[RegionFeatures]:
        """Find the regions of each photo with their features. `keep` writes new ones to the cache."""
        cached = [self.cached_regions(p.facts.content_hash) for p in photos]
        missing = [i for i, regions in enumerate(cached) if regions is None]
        computed = self.models.find_regions([photos[i].image for i in missing]) if missing else []
        new = dict(zip(missing, computed, strict=True))
        if keep and new:
            packed = ((photos[i].facts.content_hash, _pack_regions(photos[i], f)) for i, f in new.items())
            self.cache.save(self.config.regions_id, packed)
        return [new[i] if regions is None else _in_image(photos[i], regions) for i, regions in enumerate(cached)]

    def cached_regions(self, content_hash: str) -> RegionFeatures | None:
        """Return the regions that the cache has of a photo, or None where it does not know the photo."""
        arrays = self.cache.load(content_hash, self.config.regions_id)
        return None if arrays is None else _unpack_regions(arrays)

    def encode_views(self, image: Image.Image, box: Box, rng: np.random.Generator) -> np.ndarray:
        """Compute unit features of a region and of altered views of it, (1 + A, D) float32; never cached."""
        return self.models.encode_views(image, box, rng)


def corners(box: Box) -> tuple[float, float, float, float]:
    """Return x0, y0, x1, y1."""
    return box.x0, box.y0, box.x1, box.y1


def _pack_faces(photo: Photo, faces: Sequence[Face]) -> dict[str, np.ndarray]:
    width = len(faces[0].embedding) if faces else 1
    return {
        "boxes": np.array([corners(photo.in_photo(f.box)) for f in faces], np.float32).reshape(-1, 4),
        "scores": np.array([f.score for f in faces], np.float32),
        "sharpness": np.array([f.sharpness for f in faces], np.float32),
        "turn": np.array([f.turn for f in faces], np.float32),
        "embeddings": np.array([f.embedding for f in faces], np.float32).reshape(-1, width),
    }


def _in_image(photo: Photo, regions: RegionFeatures) -> RegionFeatures:
    return replace(regions, regions=tuple(replace(r, box=photo.in_image(r.box)) for r in regions.regions))


def _pack_regions(photo: Photo, regions: RegionFeatures) -> dict[str, np.ndarray]:
    return {
        "boxes": np.array([corners(photo.in_photo(r.box)) for r in regions.regions], np.float32),
        "sources": np.array([_SOURCES.index(r.source) for r in regions.regions], np.uint8),
        "features": regions.features.astype(np.float32),
        "words": np.frombuffer("\n".join(r.word for r in regions.regions).encode(), np.uint8),
    }


def _unpack_regions(arrays: dict[str, np.ndarray]) -> RegionFeatures:
    words = bytes(arrays["words"]).decode().split("\n")
    rows = zip(arrays["boxes"], arrays["sources"], words, strict=True)
    regions = tuple(Region(Box(*map(float, b)), _SOURCES[int(s)], w) for b, s, w in rows)
    return RegionFeatures(regions, arrays["features"])
