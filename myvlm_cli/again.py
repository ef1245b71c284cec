"""Write a command to run next with the photos and the options of the one that ran."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from myvlm_cli.options import PhotoSelection
from myvlm_cli.output import path_text
from myvlm_cli.parameters import option_words

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MOST_PATHS = 3
"""Most paths that a command repeats."""


def typed_again(photos: PhotoSelection, *groups: "DataclassInstance") -> str:
    """Return the paths and options of a command as they are typed in a shell.

    A file with a list of paths is named. More than a few paths are PATHS, and what came from stdin is LIST.
    """
    paths = [p for p in photos.paths or () if str(p) != "-"]
    words = [*typed_paths(paths), *typed_options(replace(photos, paths=None), *groups)]
    if len(paths) < len(photos.paths or ()):
        words.append("-")
    if "-" in (*map(str, photos.paths or ()), str(photos.files_from)):
        words.append("< LIST")
    return " ".join(words)


def typed_paths(paths: Sequence[Path]) -> list[str]:
    """Return paths as they are typed in a shell; PATHS if they are many."""
    return [shlex.quote(path_text(p)) for p in paths] if len(paths) <= MOST_PATHS else ["PATHS"]


def typed_options(*groups: "DataclassInstance") -> list[str]:
    """Return options as they are typed in a shell; those that keep their default are left out."""
    return [shlex.quote(path_text(word)) for group in groups for word in option_words(group)]
