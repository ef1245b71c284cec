"""Reading a sidecar's file: regular files of a bounded size only, and every failure as a SidecarError."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.core.errors import SidecarError
from engine.core.files import read_bytes

LARGEST = 32 * 2**20
"""Bytes. Lightroom's brush masks and darktable's histories reach a few MB."""


def read_sidecar(path: Path) -> bytes | None:
    """A sidecar's bytes; None when there is none.

    Raises:
        SidecarError: it is no regular file, too large, or may not be read; says which file.
    """
    try:
        return read_bytes(path, LARGEST)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as err:
        raise SidecarError(f"{path}: {getattr(err, 'strerror', None) or err}", hint="It was left as it is.") from err


@contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Put a sidecar's path before what a SidecarError says, where it does not stand there yet."""
    try:
        yield
    except SidecarError as err:
        if str(err).startswith(f"{path}:"):
            raise
        raise SidecarError(f"{path}: {err}", hint=err.hint or "It was left as it is.") from err
