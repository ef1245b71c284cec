"""Read lists of paths, as `find` and other programs write them."""

import codecs
import os
import sys
from pathlib import Path

from engine.core.errors import PhotoError
from engine.core.files import read_list_bytes, read_stream

LARGEST_LIST = 256 * 2**20
"""Largest size in bytes of a list of paths: some millions."""


def read_list(file: Path, *, null: bool) -> list[Path]:
    """Read a list of paths from a file (`-` is stdin), one per line or each ended by NUL; names need not be UTF-8.

    Blank lines are skipped. A byte order mark, Windows line ends, and UTF-16 as PowerShell writes it are accepted.

    Raises:
        PhotoError: the list cannot be read.
    """
    try:
        data = read_stream(sys.stdin.buffer, LARGEST_LIST) if str(file) == "-" else read_list_bytes(file, LARGEST_LIST)
    except OSError as err:
        raise PhotoError(f"{file}: {err.strerror or err}", hint="Check the path.") from err
    if not null:
        data = _without_mark(data)
    entries = data.split(b"\0" if null else b"\n")
    return [Path(os.fsdecode(e if null else e.rstrip(b"\r"))) for e in entries if e.strip()]


def _without_mark(data: bytes) -> bytes:
    """Remove the byte order mark of a list; convert a list in UTF-16 to the encoding of the file system."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return os.fsencode(data.decode("utf-16", "replace"))
    return data.removeprefix(codecs.BOM_UTF8)
