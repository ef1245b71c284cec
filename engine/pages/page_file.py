"""Write a page to a file that only its owner may read; nothing but an earlier page of the same command is replaced."""

import os
from pathlib import Path

from engine.core.errors import EngineError, UsageError
from engine.core.files import open_regular, write_private

_MARKED_WITHIN = 1024
"""The mark is within this many bytes from the start of a page."""


def check_target(target: Path, mark: str) -> None:
    """Check that a page may be written to the path of --html.

    mark: the command that makes the page, as in `render_page`.

    Raises:
        UsageError: the path exists and is not such a page, or its folder does not exist.
    """
    if not (
        os.path.lexists(target.parent) and target.parent.is_dir()
    ):  # lexists returns False for names that are too long
        raise UsageError(f"--html: there is no folder {target.parent}", hint="Create it, or give another file.")
    if os.path.lexists(target) and not is_page(target, mark):
        raise UsageError(f"--html would replace {target}, which is no page of {mark}", hint="Give another file.")


def is_page(path: Path, mark: str) -> bool:
    """Return whether a file is a page that a command made."""
    try:
        with open_regular(path) as f:
            return f'<meta name="generator" content="{mark}">'.encode() in os.pread(f, _MARKED_WITHIN, 0)
    except OSError:
        return False


def write_page_file(html: str, target: Path, mark: str) -> None:
    """Write a page, readable by its owner only: it shows photos and names.

    Raises:
        UsageError: the page may not be written to this path, see `check_target`.
        EngineError: writing failed.
    """
    check_target(target, mark)
    try:
        write_private(target, html.encode("utf-8", "backslashreplace"))
    except OSError as err:
        raise EngineError(f"{target} cannot be written: {err.strerror or err}", hint="Give another file.") from err
