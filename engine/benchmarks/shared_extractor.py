"""An extractor that remembers, so that enrolling and recognising the same photos again costs no model and no disk."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from engine.core.boxes import Box
from engine.core.files import sha256_of
from engine.vision.cache import FeatureCache
from engine.vision.cached_extractor import CachedExtractor, corners
from engine.vision.config import RecogniserConfig
from engine.vision.faces import Face
from engine.vision.regions import RegionFeatures

if TYPE_CHECKING:
    from engine.vision.extractor import FeatureExtractor


class SharedExtractor(CachedExtractor):
    """Keep what was read from the cache in memory, and the views of reference crops, which the cache does not hold.

    The results are those of the `CachedExtractor`: views are remembered by pixels, box and the state of the generator.
    """

    def __init__(
        self, config: RecogniserConfig, cache: FeatureCache, load_models: Callable[[], "FeatureExtractor"]
    ) -> None:
        super().__init__(config, cache, load_models)
        self._faces: dict[str, list[Face]] = {}
        self._regions: dict[str, RegionFeatures] = {}
        self._views: dict[tuple[str, tuple[float, ...], str], tuple[np.ndarray, Mapping[str, Any]]] = {}

    def cached_faces(self, content_hash: str) -> list[Face] | None:
        """Return the faces that are known of a photo, or None."""
        if content_hash not in self._faces:
            faces = super().cached_faces(content_hash)
            if faces is None:
                return None
            self._faces[content_hash] = faces
        return list(self._faces[content_hash])

    def cached_regions(self, content_hash: str) -> RegionFeatures | None:
        """Return the regions that are known of a photo, or None."""
        if content_hash not in self._regions:
            regions = super().cached_regions(content_hash)
            if regions is None:
                return None
            self._regions[content_hash] = regions
        return self._regions[content_hash]

    def encode_views(self, image: Image.Image, box: Box, rng: np.random.Generator) -> np.ndarray:
        """Return the features of a region's views, (1 + A, D) float32; the generator is left as if they were made."""
        key = (sha256_of(image.tobytes()), corners(box), repr(rng.bit_generator.state))
        if key not in self._views:
            views = super().encode_views(image, box, rng)
            self._views[key] = (views, rng.bit_generator.state)
        views, rng.bit_generator.state = self._views[key]
        return views
