"""Show photos in the desktop's own viewer, and pages in its browser."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from engine.core.errors import EnvironmentFault

_FAILS_WITHIN = 3.0
"""Seconds in which a program that opens pages fails, if it does."""


def open_photos(paths: Sequence[Path]) -> None:
    """Open photos with the program that the desktop has for them; does not wait for it.

    Raises:
        EnvironmentFault: this machine has no command that opens files.
    """
    if not paths:
        return
    opener = shutil.which("open" if sys.platform == "darwin" else "xdg-open")
    if opener is None:
        raise EnvironmentFault(
            "there is no program that opens photos on this machine (xdg-open)",
            hint="Pass the paths to a viewer: myvlm search WORDS -0 | xargs -0 VIEWER",
        )
    groups = [paths] if sys.platform == "darwin" else [[path] for path in paths]  # xdg-open takes one file
    for group in groups:
        _start([opener, *map(str, group)])


def open_address(address: str) -> bool:
    """Open a page in the browser of the desktop; return whether there is one."""
    if sys.platform == "win32":
        os.startfile(address)
        return True
    opener = shutil.which("open" if sys.platform == "darwin" else "xdg-open")
    has_desktop = sys.platform == "darwin" or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    if opener is None or not has_desktop:  # xdg-open would start a browser of the terminal
        return False
    try:
        return _start([opener, address]).wait(_FAILS_WITHIN) == 0
    except subprocess.TimeoutExpired:
        return True  # it stays as long as the browser


def _start(command: Sequence[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
