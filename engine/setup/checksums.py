"""Compare files with their SHA-256; a file that is damaged is deleted, so that it is fetched again."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from engine.core.errors import EnvironmentFault, UsageError
from engine.core.files import LARGEST_DOCUMENT, open_regular, read_text

CHUNK = 2**22
"""Bytes that are read at a time."""
INDEX = "model.safetensors.index.json"


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal; the file may be larger than the memory."""
    digest = hashlib.sha256()
    with open_regular(path) as descriptor:
        while part := os.read(descriptor, CHUNK):
            digest.update(part)
    return digest.hexdigest()


def check_files(folder: Path, sums: Mapping[str, str]) -> None:
    """Check files of a folder by name; damaged ones are deleted, together with what a link points to.

    Raises:
        EnvironmentFault: a file is missing or damaged.
    """
    for name, expected in sums.items():
        path = folder / name
        if not path.is_file():
            raise EnvironmentFault(f"{path} is missing", hint="Run the same command again.")
        if sha256_of_file(path) != expected:
            path.resolve().unlink()
            path.unlink(missing_ok=True)
            raise EnvironmentFault(
                f"{path} is damaged: its checksum is not that of the published file; it was deleted",
                hint="Run the same command again.",
            )


def missing_shards(folder: Path) -> list[str]:
    """Return the names of weight files that the index of a checkpoint lists and the folder lacks.

    Raises:
        UsageError: the index cannot be read.
    """
    path = folder / INDEX
    if not path.is_file():
        return []
    try:
        names = set(json.loads(read_text(path, LARGEST_DOCUMENT))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as err:
        raise UsageError(f"{path} cannot be read", hint="The files may be incomplete.") from err
    return sorted(n for n in names if not (folder / n).is_file())
