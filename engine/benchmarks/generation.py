"""Asking a VLM about many photos, in batches, each photo encoded once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.photos.decode import load_photo

if TYPE_CHECKING:
    from engine.vlms.base import ImageFeatures, Vlm

BATCH = 16
_MOST_KEPT = 2**30
"""Bytes of image features that are kept between requests."""


@dataclass(frozen=True)
class Ask:
    """One request about one photo; vector: the concept's embedding (1, D), None without a concept."""

    path: Path
    request: str
    vector: np.ndarray | None = None


class Voice:
    """A loaded VLM with the features of the photos it has seen."""

    def __init__(self, vlm: "Vlm") -> None:
        self.vlm = vlm
        self._seen: dict[Path, ImageFeatures] = {}
        self._kept = 0

    def say(self, asks: Sequence[Ask]) -> list[str]:
        """The VLM's own words for every request, in order."""
        said: list[str] = []
        for start in range(0, len(asks), BATCH):
            said += self._say(asks[start : start + BATCH])
        return said

    def _say(self, asks: Sequence[Ask]) -> list[str]:
        import torch

        seen = self._look([a.path for a in asks])
        empty = torch.zeros(0, self.vlm.width)
        rows = self.vlm.inject(seen, [empty if a.vector is None else torch.from_numpy(a.vector) for a in asks])
        return [g.text for g in self.vlm.generate(rows, [self.vlm.encode_prompt(a.request) for a in asks])]

    def _look(self, paths: Sequence[Path]) -> "ImageFeatures":
        import torch

        from engine.vlms.base import ImageFeatures

        fresh = [p for p in dict.fromkeys(paths) if p not in self._seen]
        new: dict[Path, ImageFeatures] = {}
        if fresh:
            found = self.vlm.encode(self.vlm.preprocess([load_photo(p).image for p in fresh]))
            new = {p: found.select([i]) for i, p in enumerate(fresh)}
        own = [new.get(p) or self._seen[p] for p in paths]
        self._keep(new)
        return ImageFeatures([rows for o in own for rows in o.features], torch.cat([o.norms for o in own]))

    def _keep(self, new: dict[Path, "ImageFeatures"]) -> None:
        for path, features in new.items():
            size = sum(rows.numel() * rows.element_size() for rows in features.features)
            if self._kept + size <= _MOST_KEPT:
                self._seen[path] = features
                self._kept += size
