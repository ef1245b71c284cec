"""The feature cache of a worker: it holds what the driver sent, and collects what is new, for the driver to store."""

from collections.abc import Collection, Iterable, Sequence

import numpy as np

from engine.cluster.jobs import Features, Job, W
from engine.vision.cache import FeatureCache


class CollectingCache(FeatureCache):
    """Features in memory, of the photos of one shard."""

    def __init__(self) -> None:
        """Start empty; no file is ever created."""
        self._known: dict[tuple[str, str], dict[str, np.ndarray]] = {}
        self._new: dict[str, dict[str, dict[str, np.ndarray]]] = {}

    def begin(self, jobs: Sequence[Job[W]]) -> None:
        """Forget the last shard, and take the features that are known of these photos."""
        self._known = {(j.content_hash, model): arrays for j in jobs for model, arrays in j.features.items()}
        self._new = {}

    def collected(self, content_hash: str) -> Features:
        """Return the new features of a photo."""
        return self._new.get(content_hash, {})

    def load(self, content_hash: str, *models: str) -> dict[str, np.ndarray] | None:
        """Return the arrays of a photo, by name, for the first of these models that it has any for; else None."""
        return next((self._known[content_hash, m] for m in models if (content_hash, m) in self._known), None)

    def has_any(self, content_hash: str, models: Collection[str]) -> bool:
        """Return whether a photo has arrays for one of `models`."""
        return any((content_hash, model) in self._known for model in models)

    def save(self, model: str, entries: Iterable[tuple[str, dict[str, np.ndarray]]]) -> None:
        """Keep the arrays of photos for a model, for the driver to store."""
        for content_hash, arrays in entries:
            self._known[content_hash, model] = arrays
            self._new.setdefault(content_hash, {})[model] = arrays

    def clear(self) -> int:
        """Forget all entries; return their number."""
        count = len(self._known)
        self.begin(())
        return count
