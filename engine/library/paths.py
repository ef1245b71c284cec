"""How the index knows files: real paths, their state, and the folders that they are in."""

import json
import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path


def real_path(path: Path) -> Path:
    """Return a photo's path without links among its folders: by whatever way it is reached, it has one row."""
    return Path(_real_folder(os.fspath(path.parent.absolute())), path.name)


def real_paths(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Return `real_path` of each path, each once."""
    return tuple(dict.fromkeys(map(real_path, paths)))


@lru_cache(maxsize=64)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)


def stamp_of(paths: Sequence[Path]) -> str:
    """Return the state of some files: it differs after every write, also if size and modification time are the same."""
    return " ".join(map(_stamp, paths))


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return "-"
    return f"{status.st_ino}.{status.st_mtime_ns}.{status.st_ctime_ns}.{status.st_size}"


def bounds(folder: Path) -> tuple[bytes, bytes, bytes]:
    """Return a path itself, and the bounds of the paths below it: from the first, and before the second."""
    path = os.fsencode(os.path.realpath(folder))
    start = path.rstrip(b"/")
    return path, start + b"/", start + b"0"  # "0" is the character after "/"


BELOW = "(path = ? or (path >= ? and path < ?))"
"""The condition that a path is that of a folder or file, or below it, with the values of `bounds`."""


def pack_paths(paths: Iterable[Path]) -> str:
    """Return paths as one text; their names need not be UTF-8."""
    return json.dumps([os.fsencode(p).decode("latin-1") for p in paths])


def unpack_paths(text: str) -> tuple[Path, ...]:
    """Return the paths in a text of `pack_paths`."""
    return tuple(Path(os.fsdecode(p.encode("latin-1"))) for p in json.loads(text))
