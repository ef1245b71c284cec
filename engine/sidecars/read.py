"""Read the file of a sidecar: only regular files of a bounded size; every failure becomes a SidecarError."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.core.errors import SidecarError
from engine.core.files import read_bytes

LARGEST = 32 * 2**20
"""Largest size in bytes. Brush masks of Lightroom and histories of darktable reach a few MB."""


def read_sidecar(path: Path) -> bytes | None:
    """Read the bytes of a sidecar; None if there is no file.

    Raises:
        SidecarError: it is not a regular file, too large, or may not be read; the message names the file.
    """
    try:
        return read_bytes(path, LARGEST)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as err:
        raise SidecarError(f"{path}: {getattr(err, 'strerror', None) or err}", hint="It was left as it is.") from err


@contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Put the path of a sidecar before the message of a SidecarError that lacks it."""
    try:
        yield
    except SidecarError as err:
        if str(err).startswith(f"{path}:"):
            raise
        raise SidecarError(f"{path}: {err}", hint=err.hint or "It was left as it is.") from err
