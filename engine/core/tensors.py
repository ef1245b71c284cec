"""Read and write tensor files: safetensors with facts in the header, written atomically, readable by the owner only."""

import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from engine.core.errors import ArtefactError, StoreError
from engine.core.files import make_private_folder, read_bytes, sha256_of, write_private

FORMAT = "1"
LARGEST = 64 * 2**20


def save_tensors(path: Path, tensors: dict[str, np.ndarray], facts: dict[str, str]) -> None:
    """Write named arrays and string facts to a file with permissions 0600.

    Raises:
        StoreError: the file cannot be written.
    """
    _write(path, _pack(tensors, facts))


def add_tensors(stem: Path, tensors: dict[str, np.ndarray], facts: dict[str, str]) -> Path:
    """Write as `save_tensors` does, to `<stem>-<hash of the content>.safetensors`; return that path."""
    data = _pack(tensors, facts)
    path = stem.with_name(f"{stem.name}-{sha256_of(data)[:12]}.safetensors")
    _write(path, data)
    return path


def _pack(tensors: dict[str, np.ndarray], facts: dict[str, str]) -> bytes:
    """Return the file's bytes; the header's keys are sorted, because safetensors does not order them."""
    data = save(tensors, metadata={**facts, "format": FORMAT})
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[end:]


def _write(path: Path, data: bytes) -> None:
    try:
        make_private_folder(path.parent)
        write_private(path, data)
    except OSError as err:
        raise StoreError(f"{path} cannot be written: {err.strerror or err}", hint="Is the disk full?") from err


def load_tensors(path: Path) -> dict[str, np.ndarray]:
    """Read named arrays.

    Raises:
        ArtefactError: the file is missing, too large, damaged, or of another format version.
    """
    try:
        data = read_bytes(path, LARGEST)
        found = load(data)
    except (OSError, SafetensorError) as err:
        raise ArtefactError(f"{path} cannot be read: {err}", hint="Train the concept again.") from err
    if f'"format":"{FORMAT}"'.encode() not in data[: 8 + int.from_bytes(data[:8], "little")].replace(b" ", b""):
        raise ArtefactError(f"{path} has another format version", hint="Train the concept again.")
    return found
