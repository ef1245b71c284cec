"""Faces and regions of photos with their features: from the cache where they are known, else computed and kept."""

from collections.abc import Callable, Iterable, Sequence
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
from engine.vision.picture_edge import decode_edge
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

    The features of a photo that was decoded at a reduced size are cached under ids of their own. They are used unless
    `exact` is set; those of an exact decode are preferred, and always used (docs/decisions.md).
    """

    def __init__(
        self,
        config: RecogniserConfig,
        cache: FeatureCache,
        load_models: Callable[[], "FeatureExtractor"],
        *,
        exact: bool = False,
    ) -> None:
        """Use a recogniser. exact: photos are to be decoded with all their pixels."""
        self.config = config
        self.edge = None if exact else decode_edge(config)
        self.cache = cache
        self._load_models = load_models

    @cached_property
    def models(self) -> "FeatureExtractor":
        """The models, loaded when first needed."""
        return self._load_models()

    def has(self, content_hash: str, *, faces: bool, regions: bool) -> bool:
        """Return whether the cache has the faces, the regions or both of a photo. Creates no file."""
        ids = self._exact_ids(faces=faces, regions=regions)
        return all(self.cache.has_any(content_hash, self._usable(exact_id)) for exact_id in ids)

    def cached_ids(self, *, faces: bool, regions: bool) -> tuple[str, ...]:
        """Return all ids under which faces, regions or both may be cached."""
        return tuple(i for exact_id in self._exact_ids(faces=faces, regions=regions) for i in self._usable(exact_id))

    def _exact_ids(self, *, faces: bool, regions: bool) -> list[str]:
        return [self.config.found_faces_id] * faces + [self.config.regions_id] * regions

    def _usable(self, exact_id: str) -> tuple[str, ...]:
        """Return the ids under which features may be cached, the preferred one first."""
        return (exact_id,) if self.edge is None else (exact_id, _reduced_id(exact_id, self.edge))

    def _load(self, content_hash: str, exact_id: str) -> dict[str, np.ndarray] | None:
        return self.cache.load(content_hash, *self._usable(exact_id))

    def _save(self, exact_id: str, new: Iterable[tuple[Photo, dict[str, np.ndarray]]]) -> None:
        """Write features to the cache, under the id of how each photo was decoded."""
        by_id: dict[str, list[tuple[str, dict[str, np.ndarray]]]] = {}
        for photo, arrays in new:
            model = _reduced_id(exact_id, self.edge) if photo.full else exact_id
            by_id.setdefault(model, []).append((photo.facts.content_hash, arrays))
        for model, entries in by_id.items():
            self.cache.save(model, entries)

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
        cached = [self.cached_faces(p.facts.content_hash) for p in photos]
        missing = [i for i, faces in enumerate(cached) if faces is None]
        found = self.models.find_faces([photos[i] for i in missing]) if missing else []
        new = dict(zip(missing, found, strict=True))
        if keep and new:
            packed = ((photos[i], _pack_faces(photos[i], faces)) for i, faces in new.items())
            self._save(self.config.found_faces_id, packed)
        return [
            new[i] if faces is None else [replace(f, box=photos[i].in_image(f.box)) for f in faces]
            for i, faces in enumerate(cached)
        ]

    def cached_faces(self, content_hash: str) -> list[Face] | None:
        """Return the faces that the cache has of a photo, or None where it does not know the photo."""
        arrays = self._load(content_hash, self.config.found_faces_id)
        if arrays is None:
            return None
        rows = zip(*(arrays[k] for k in ("boxes", "scores", "embeddings", "sharpness", "turn")), strict=True)
        return [Face(Box(*map(float, b)), float(s), e, float(blur), float(turn)) for b, s, e, blur, turn in rows]

    def find_regions(self, photos: Sequence[Photo], *, keep: bool) -> list[RegionFeatures]:
        """Find the regions of each photo with their features. `keep` writes new ones to the cache."""
        cached = [self.cached_regions(p.facts.content_hash) for p in photos]
        missing = [i for i, regions in enumerate(cached) if regions is None]
        computed = self.models.find_regions([photos[i] for i in missing]) if missing else []
        new = dict(zip(missing, computed, strict=True))
        if keep and new:
            packed = ((photos[i], _pack_regions(photos[i], f)) for i, f in new.items())
            self._save(self.config.regions_id, packed)
        return [new[i] if regions is None else _in_image(photos[i], regions) for i, regions in enumerate(cached)]

    def cached_regions(self, content_hash: str) -> RegionFeatures | None:
        """Return the regions that the cache has of a photo, or None where it does not know the photo."""
        arrays = self._load(content_hash, self.config.regions_id)
        return None if arrays is None else _unpack_regions(arrays)

    def encode_views(self, image: Image.Image, box: Box, rng: np.random.Generator) -> np.ndarray:
        """Compute unit features of a region and of altered views of it, (1 + A, D) float32; never cached."""
        return self.models.encode_views(image, box, rng)


def _reduced_id(exact_id: str, edge: int | None) -> str:
    """Return the id of features of photos that were decoded at a reduced size."""
    return f"{exact_id}:edge-{edge}"


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
