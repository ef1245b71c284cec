"""Read a photo file: its bytes, the hash of its picture, its metadata."""

import os
import weakref
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from engine.core.errors import PhotoError
from engine.core.files import UnsuitableFileError, open_regular, read_bytes
from engine.photos.content_hash import hash_content
from engine.photos.metadata.containers import Blocks, read_blocks
from engine.photos.metadata.stored import FileSlices

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
    """A photo file whose content hash is known; only its metadata are read, when they are needed."""

    path: Path
    content_hash: str

    @cached_property
    def blocks(self) -> Blocks:
        """The metadata as stored.

        Raises:
            PhotoError: the file cannot be opened.
        """
        try:
            with open_regular(self.path) as opened:
                descriptor = os.dup(opened)
        except OSError as err:
            raise PhotoError(f"{self.path}: {err.strerror or err}", hint="Check the path and its permissions.") from err
        blocks = read_blocks(FileSlices(descriptor))
        weakref.finalize(blocks, os.close, descriptor)  # they read parts of it later
        return blocks


def whole(photo: "PhotoFile | UnreadPhoto") -> PhotoFile:
    """Return a photo with its bytes.

    Raises:
        PhotoError: as `read_photo`.
    """
    return photo if isinstance(photo, PhotoFile) else read_photo(photo.path)


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
