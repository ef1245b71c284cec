"""Partial results: one JSON file each, kept beside the tables, so that an interrupted run goes on where it was."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.files import LARGEST_DOCUMENT, read_text, write_atomically
from engine.core.tensors import load_tensors, save_tensors

Part = dict[str, Any]


class Parts:
    """The folder of partial results; each holds the digest of everything that decides it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, name: str, digest: str, measure: Callable[[], Part]) -> Part:
        """A part from its file, or measured now."""
        path = self.path(name)
        if path.is_file():
            try:
                known = json.loads(read_text(path, LARGEST_DOCUMENT))
            except ValueError:
                known = {}
            if known.get("digest") == digest:
                return known
        found = json.loads(json.dumps({"digest": digest, **measure()}))  # as it will be read again
        write_atomically(path, (json.dumps(found, ensure_ascii=False, indent=1) + "\n").encode())
        return found

    def path(self, name: str) -> Path:
        """Where a part is kept; hub ids and folders become file names."""
        stem = re.sub(r"[^\w.+-]+", "_", name)
        return self.folder / f"{stem}.json"

    def save_vector(self, name: str, digest: str, vector: np.ndarray) -> None:
        """Keep an embedding, (1, D) float32."""
        save_tensors(self._vector(name), {"embedding": vector}, {"digest": digest})

    def load_vector(self, name: str, digest: str) -> np.ndarray | None:
        """An embedding that was kept under this digest, or None."""
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
