"""Show photos in the desktop's own viewer."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from engine.core.errors import EnvironmentFault


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
        subprocess.Popen(
            [opener, *map(str, group)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
