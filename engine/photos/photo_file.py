"""Read a photo file: its bytes, the hash of its picture, its metadata."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from engine.core.errors import PhotoError
from engine.core.files import UnsuitableFileError, read_bytes
from engine.photos.content_hash import hash_content
from engine.photos.metadata.containers import Blocks, read_blocks

LARGEST_FILE = 2 * 2**30
"""Largest size in bytes. A raw file of 150 megapixels has 0.3 GiB; TIFF and JPEG are limited to 4 GiB."""


@dataclass(frozen=True)
class PhotoFile:
    """A photo file as read. content_hash: hexadecimal SHA-256 of what decides the pixels (`hash_content`)."""

    path: Path
    data: bytes
    content_hash: str

    @cached_property
    def blocks(self) -> Blocks:
        """The metadata as stored, parsed once."""
        return read_blocks(self.data)


@dataclass(frozen=True)
class UnreadPhoto:
    """A photo file whose content hash is known; it is read when its metadata are needed."""

    path: Path
    content_hash: str

    @cached_property
    def blocks(self) -> Blocks:
        """The metadata as stored.

        Raises:
            PhotoError: as `read_photo`.
        """
        return read_photo(self.path).blocks


def read_photo(path: Path) -> PhotoFile:
    """Read and hash a photo file.

    Raises:
        PhotoError: it is missing, empty, not a regular file, over 2 GiB, or may not be read.
    """
    try:
        data = read_bytes(path, LARGEST_FILE)
    except UnsuitableFileError as err:
        raise PhotoError(f"{path}: {err.strerror}", hint="Give myvlm a regular file of at most 2 GiB.") from err
    except OSError as err:
        raise PhotoError(f"{path}: {err.strerror or err}", hint="Check the path and its permissions.") from err
    except ValueError as err:
        hint = "Paths that end with NUL (find -print0) are read with -0."
        raise PhotoError(f"{path!r}: no path ({err})", hint=hint) from err
    except MemoryError as err:
        raise PhotoError(f"{path}: the file does not fit into memory", hint="Give myvlm a smaller copy.") from err
    if not data:
        raise PhotoError(f"{path}: the file is empty", hint="Restore it from a backup or delete it.")
    return PhotoFile(path, data, hash_content(data))
