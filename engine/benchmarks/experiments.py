"""Store measurements as one JSON file each, beside the tables, so that an interrupted run continues where it was."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.files import LARGEST_DOCUMENT, read_text, write_atomically
from engine.core.tensors import load_tensors, save_tensors

Measurement = dict[str, Any]
"""One measurement as JSON data: rows of observations, or `{"reason": why it was not made}`."""


class MeasurementStore:
    """A folder of measurements; each file holds the digest of everything that decides its content."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, name: str, digest: str, measure: Callable[[], Measurement]) -> Measurement:
        """Return a measurement from its file, or make and store it where there is none with this digest."""
        path = self.path(name)
        if path.is_file():
            try:
                stored = json.loads(read_text(path, LARGEST_DOCUMENT))
            except ValueError:
                stored = {}
            if stored.get("digest") == digest:
                return stored
        measurement = json.loads(json.dumps({"digest": digest, **measure()}))  # as it will be read again
        write_atomically(path, (json.dumps(measurement, ensure_ascii=False, indent=1) + "\n").encode())
        return measurement

    def path(self, name: str) -> Path:
        """Return the file of a measurement; characters that file names cannot hold become underscores."""
        stem = re.sub(r"[^\w.+-]+", "_", name)
        return self.folder / f"{stem}.json"

    def save_vector(self, name: str, digest: str, vector: np.ndarray) -> None:
        """Store an embedding, (1, D) float32."""
        save_tensors(self._vector(name), {"embedding": vector}, {"digest": digest})

    def load_vector(self, name: str, digest: str) -> np.ndarray | None:
        """Load an embedding, (1, D) float32; None where there is none with this digest."""
        from safetensors import safe_open

        path = self._vector(name)
        if not path.is_file():
            return None
        with safe_open(path, "np") as opened:
            if (opened.metadata() or {}).get("digest") != digest:
                return None
        return load_tensors(path)["embedding"]

    def _vector(self, name: str) -> Path:
        return self.path(name).with_suffix(".safetensors")
