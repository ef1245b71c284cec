"""Finding photos: files and folders from the command line to a sorted list of paths, each once."""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from engine.errors import PhotoError

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".webp", ".tif", ".tiff", ".heic", ".heif", ".hif", ".avif"})
"""File name endings taken for photos inside folders (compared without case)."""
SKIPPED_FOLDERS = frozenset(
    {"@eadir", "#recycle", ".dtrash", ".thumbnails", ".stversions", "lost+found", "thumbs", "encoded-video"}
)
"""Folders of other programs (Synology, digiKam, Syncthing, Immich) that hold no photos of the user's."""
SKIPPED_FOLDER_SUFFIXES = (".photoslibrary", ".lrdata", ".lrlibrary", ".lrcat-data")


def iter_photos(paths: Iterable[Path]) -> Iterator[Path]:
    """Photos under some files and folders, sorted within each, every real file once.

    A file named by itself is taken whatever its name, even if it does not exist (reading it will say
    so, and the rest goes on); folders are searched for known endings.
    """
    seen: set[tuple[int, int]] = set()
    for path in paths:
        for found in _walk(path, set()) if path.is_dir() else [path]:
            try:
                status = found.stat()
            except (OSError, ValueError):
                yield found
                continue
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                yield found


def _walk(folder: Path, above: set[tuple[int, int]]) -> Iterator[Path]:
    try:
        status = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda e: os.fsencode(e.name))
    except OSError:
        yield folder
        return
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    for entry in entries:
        path = folder / entry.name
        if _is_folder(entry):
            if not _skipped(entry.name):
                yield from _walk(path, above | {here})
        elif is_photo_name(entry.name):
            yield path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def is_photo_name(name: str) -> bool:
    """Whether a file inside a folder is taken for a photo: by its ending; hidden files never are."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES


def _skipped(name: str) -> bool:
    lower = name.lower()
    return name.startswith(".") or lower in SKIPPED_FOLDERS or lower.endswith(SKIPPED_FOLDER_SUFFIXES)


def read_list(file: Path, *, null: bool) -> list[Path]:
    """Paths listed in a file (`-` is stdin), one a line or ended by NUL; names need not be UTF-8.

    Raises:
        PhotoError: the list cannot be read.
    """
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as err:
        raise PhotoError(f"{file}: {err.strerror or err}", hint="Check the path.") from err
    entries = data.split(b"\0" if null else b"\n")
    return [Path(os.fsdecode(e if null else e.rstrip(b"\r"))) for e in entries if e.strip()]
