"""Embedding and head files: safetensors with their facts in the header, written whole and private."""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from engine.errors import ArtefactError
from engine.files import make_private_folder, write_private

FORMAT = "1"
LARGEST = 64 * 2**20


def save_tensors(path: Path, tensors: dict[str, np.ndarray], facts: dict[str, str]) -> None:
    """Write named arrays and string facts to a file with permissions 0600."""
    make_private_folder(path.parent)
    write_private(path, save(tensors, metadata={**facts, "format": FORMAT}))


def load_tensors(path: Path) -> dict[str, np.ndarray]:
    """Read named arrays.

    Raises:
        ArtefactError: the file is missing, too large, damaged, or of another format version.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise ArtefactError(f"{path} is larger than {LARGEST} bytes", hint="Train the concept again.")
        data = path.read_bytes()
        found = load(data)
    except (OSError, SafetensorError) as err:
        raise ArtefactError(f"{path} cannot be read: {err}", hint="Train the concept again.") from err
    if f'"format":"{FORMAT}"'.encode() not in data[: 8 + int.from_bytes(data[:8], "little")].replace(b" ", b""):
        raise ArtefactError(f"{path} has another format version", hint="Train the concept again.")
    return found
