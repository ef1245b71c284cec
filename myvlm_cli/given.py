"""The photos and folders that a command is given. One rule for all commands: if none of the paths exists, nothing is
done and the exit code is 2; if some are missing, the rest is done, each missing one is named, and the exit code is 1; a
folder without photos is no error.
"""

import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from engine.core.errors import UsageError
from engine.photos.selection import Tally
from myvlm_cli.output import out, path_text
from myvlm_cli.progress import Progress

if TYPE_CHECKING:
    from engine.photos.discovery import FoundFile, Selection

NO_PHOTOS = "No photos found."
"""What is said of folders without photos."""


@dataclass(frozen=True)
class Photos:
    """Photos and videos that were asked for; every iteration searches the folders anew, as it reaches them. `missing`
    paths are found as photos, too: reading them fails, and says so. `tally` is that of the last search.
    """

    given: tuple[Path, ...]
    selection: "Selection"
    missing: tuple[Path, ...] = ()
    tally: Tally = field(default_factory=Tally, compare=False)

    def __iter__(self) -> "Iterator[FoundFile]":
        from engine.photos.discovery import find_files

        self.tally.clear()
        return find_files(self.given, self.selection, self.tally)

    @property
    def are_folders(self) -> bool:
        """Whether these are whole folders: no list of files, and nothing left out."""
        return not self.selection.narrows and all(p.is_dir() for p in self.given)

    @property
    def folder(self) -> Path | None:
        """The folder that holds all of them."""
        from engine.store.calibrations import common_folder

        return common_folder(self.given)

    def count_onto(self, bar: Progress) -> None:
        """Tell a progress bar how many files there are, counting beside the work. Dates would be read twice."""
        if not bar.shown or self.selection.since or self.selection.until:
            return

        from engine.photos.discovery import find_files

        def count() -> None:
            for found in find_files(self.given, self.selection):
                if bar.stopped:
                    return
                bar.expect(1 + len(found.companions))
            bar.count_done()

        threading.Thread(target=count, daemon=True).start()


def find_photos(
    paths: list[Path] | None, files_from: Path | None, *, null: bool, selection: "Selection | None" = None
) -> Photos:
    """What the command line and `--files-from` ask for. Loads nothing heavy: call it before anything that does.

    Raises:
        UsageError: nothing was given at all, or none of it exists.
    """
    from engine.photos.selection import Selection

    given = [p for p in paths or [] if str(p) != "-"]
    if files_from is not None:
        given += _read_list(files_from, null=null)
    if any(str(p) == "-" for p in paths or []):
        given += _read_list(Path("-"), null=null)
    elif not given and files_from is None:
        raise UsageError("no photos given", hint="Name photos or folders, or use --files-from.")
    return Photos(tuple(given), selection or Selection(), find_missing(given))


def _read_list(file: Path, *, null: bool) -> list[Path]:
    from engine.photos.discovery import read_list

    return read_list(file, null=null)


def gather_photos(
    paths: list[Path] | None, files_from: Path | None, *, null: bool, selection: "Selection | None" = None
) -> list[Path]:
    """The photos that `find_photos` finds, without videos and RAW companions; says so when there are none.

    Raises:
        UsageError: nothing was given at all, or none of it exists.
    """
    found = find_photos(paths, files_from, null=null, selection=selection)
    photos = [f.path for f in found if f.kind == "photo"]
    if not photos:
        out.say(NO_PHOTOS)
    tell_tally(found)
    return photos


def tell_tally(photos: Photos) -> None:
    """Say once, after a search, what it passed over (`skipped: 3 .jxl`), and for how many photos `--since` and
    `--until` used the file's time.
    """
    unread = sorted(photos.tally.unread.items(), key=lambda item: (-item[1], item[0]))
    listed = ", ".join(f"{n:,} {ending}" for ending, n in unread if n)
    if listed:
        out.say(f"skipped: {listed} (not searched for in folders)")
    undated = photos.tally.undated
    if undated:
        has = "photo has" if undated == 1 else "photos have"
        out.say(f"{undated:,} {has} no date inside: --since and --until went by the file's modification time")


def find_missing(paths: Iterable[Path]) -> tuple[Path, ...]:
    """The paths that do not exist.

    Raises:
        UsageError: none of them exists.
    """
    given = tuple(paths)
    missing = tuple(p for p in given if not _exists(p))
    if given and len(missing) == len(given):
        raise UsageError(_tell_missing(missing), hint="Check the path.")
    return missing


def warn_of_missing(paths: Iterable[Path]) -> bool:
    """Name each path that does not exist, for commands in which nothing else does; whether there is one. Then the exit
    code is 1 when the rest is done.

    Raises:
        UsageError: none of them exists.
    """
    missing = find_missing(paths)
    for path in missing:
        out.warn(f"{path_text(path)}: no such file or folder")
    return bool(missing)


def _tell_missing(missing: tuple[Path, ...]) -> str:
    if len(missing) == 1:
        return f"{path_text(missing[0])}: no such file or folder"
    named = ", ".join(map(path_text, missing[:3])) + (", …" if len(missing) > 3 else "")
    return f"none of the {len(missing)} paths exists: {named}"


def _exists(path: Path) -> bool:
    """Whether something of this name is there; a broken link is, and where nobody may look it may be."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a name with NUL
        return False
    except OSError:
        return True
    return True
