"""Prepare the folder of an evaluation's results, without overwriting files that no evaluation wrote."""

import json
from collections.abc import Callable
from pathlib import Path

from engine.core.errors import UsageError
from engine.core.files import read_bytes
from engine.photos.photo_file import LARGEST_FILE


def is_document(data: bytes, *, protocol: str) -> bool:
    """Tell whether data is a JSON document that an evaluation of this protocol wrote."""
    try:
        content = json.loads(data)
    except ValueError:
        return False
    return isinstance(content, dict) and content.get("protocol") == protocol


def prepare_folder(folder: Path, *, hint: str) -> None:
    """Make the folder of the results.

    Raises:
        UsageError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise UsageError(f"--out {folder}: {err.strerror}", hint=hint) from err


def refuse_foreign_file(path: Path, is_ours: Callable[[bytes], bool], *, command: str) -> None:
    """Check that a file of the results is not there, or was written by this command.

    Raises:
        UsageError: it is another file, which must not be overwritten.
    """
    if path.exists() and not (path.is_file() and is_ours(read_bytes(path, LARGEST_FILE))):
        raise UsageError(f"{path} is not from `{command}`", hint="Give --out another folder.")
