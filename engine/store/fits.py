"""Keep what was fitted to the enrolled concepts, so that the next run reads it. Losing it costs only time."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from engine.core.errors import ArtefactError, StoreError
from engine.core.files import read_bytes, sha256_of
from engine.core.tensors import add_tensors, load_tensors

_MOST = 500
"""Fits that are kept, the latest; a fit takes one kilobyte and some bytes for each concept."""
_LARGEST = 2**24
"""Largest size of a fit in bytes."""
_CHECK = 12
"""Digits of the content's digest in a file's name (`add_tensors`)."""


class StoredFits:
    """The fits in the cache folder of a store, beside the feature cache: a file for each digest."""

    def __init__(self, folder: Path, *, keeps: bool = True) -> None:
        """Use a data folder; nothing is created before the first `save`. keeps: whether `save` does anything."""
        self._folder, self._keeps = folder / "cache" / "fits", keeps

    def load(self, digest: str) -> dict[str, np.ndarray] | None:
        """Return the arrays that were saved under a digest, by name; None if there are none, or they are damaged."""
        for path in self._folder.glob(f"{digest}-*.safetensors"):
            with suppress(OSError, ArtefactError):
                if path.stem.endswith(f"-{sha256_of(read_bytes(path, _LARGEST))[:_CHECK]}"):
                    return load_tensors(path)
        return None

    def save(self, digest: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep arrays under a digest, and only the latest fits; where nothing can be written, nothing is kept."""
        if not self._keeps:
            return
        with suppress(OSError, StoreError):
            for damaged in self._folder.glob(f"{digest}-*.safetensors"):
                damaged.unlink(missing_ok=True)
            add_tensors(self._folder / digest, dict(arrays), {})
            kept = sorted(self._folder.glob("*.safetensors"), key=lambda p: p.stat().st_mtime_ns)
            for old in kept[:-_MOST]:
                old.unlink(missing_ok=True)

    def clear(self) -> None:
        """Delete all fits."""
        for path in self._folder.glob("*.safetensors"):
            path.unlink(missing_ok=True)
