"""Generate texts about many photos in batches, with each photo encoded once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.photos.decode import load_photo
from engine.vlms.config import VlmConfig

if TYPE_CHECKING:
    from engine.vlms.base import ImageFeatures, Vlm

BATCH = 16
_CACHE_LIMIT = 2**30
"""Bytes of image features that are kept between requests."""


@dataclass(frozen=True)
class GenerationRequest:
    """One request about one photo; vector: the concept's embedding (1, D), None without a concept."""

    path: Path
    request: str
    vector: np.ndarray | None = None


class CaptionGenerator:
    """A VLM that is loaded when it is first needed, with the features of the photos that it has encoded."""

    def __init__(self, config: VlmConfig, load: "Callable[[], Vlm]") -> None:
        self.config, self._load = config, load
        self._features: dict[Path, ImageFeatures] = {}
        self._cached_bytes = 0

    @cached_property
    def vlm(self) -> "Vlm":
        """The loaded VLM."""
        return self._load()

    def generate(self, requests: Sequence[GenerationRequest]) -> list[str]:
        """Return the VLM's own text for each request, in order: identifiers are not replaced by names."""
        texts: list[str] = []
        for start in range(0, len(requests), BATCH):
            texts += self._generate(requests[start : start + BATCH])
        return texts

    def _generate(self, requests: Sequence[GenerationRequest]) -> list[str]:
        import torch

        features = self._encode([r.path for r in requests])
        empty = torch.zeros(0, self.vlm.width)
        vectors = [empty if r.vector is None else torch.from_numpy(r.vector) for r in requests]  # (0 or 1, D) each
        rows = self.vlm.inject(features, vectors)
        return [g.text for g in self.vlm.generate(rows, [self.vlm.encode_prompt(r.request) for r in requests])]

    def _encode(self, paths: Sequence[Path]) -> "ImageFeatures":
        import torch

        from engine.vlms.base import ImageFeatures

        fresh = [p for p in dict.fromkeys(paths) if p not in self._features]
        new: dict[Path, ImageFeatures] = {}
        if fresh:
            encoded = self.vlm.encode(self.vlm.preprocess([load_photo(p).image for p in fresh]))
            new = {p: encoded.select([i]) for i, p in enumerate(fresh)}
        batch = [new.get(p) or self._features[p] for p in paths]
        self._keep(new)
        return ImageFeatures([rows for f in batch for rows in f.features], torch.cat([f.norms for f in batch]))

    def _keep(self, new: "dict[Path, ImageFeatures]") -> None:
        for path, features in new.items():
            size = sum(rows.numel() * rows.element_size() for rows in features.features)
            if self._cached_bytes + size <= _CACHE_LIMIT:
                self._features[path] = features
                self._cached_bytes += size
