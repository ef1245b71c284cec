"""Find the photos that a command was given as paths, folders and lists of files.

All commands follow the same rule. If none of the paths exists, the command does nothing and its exit code is 2. If some
are missing, it works on the others, names each missing path, and its exit code is 1. A folder without photos is not an
error.
"""

import os
import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from engine.core.errors import UsageError
from engine.photos.selection import Tally
from myvlm_cli.output import out, path_text
from myvlm_cli.progress import Progress

if TYPE_CHECKING:
    from engine.photos.discovery import FoundFile, Selection

_PERIOD = re.compile(r"(\d{4})(?:-?(\d{2})(?:-?(\d{2}))?)?", re.ASCII)
"""A year, month or day."""
NO_PHOTOS = "No photos found."
"""The message about folders without photos."""


@dataclass(frozen=True)
class Photos:
    """The photos and videos of some paths. Each iteration searches the folders again, one after the other.

    missing: the paths that do not exist. Iteration yields them as photos; reading them then fails with a message.
    tally: the files that the last search passed over.
    """

    given: tuple[Path, ...]
    selection: "Selection"
    missing: tuple[Path, ...] = ()
    tally: Tally = field(default_factory=Tally, compare=False)

    def __iter__(self) -> "Iterator[FoundFile]":
        from engine.photos.discovery import find_files

        self.tally.clear()
        return find_files(self.given, self.selection, self.tally)

    def apart(self) -> "Photos":
        """Return the same photos with a tally of their own, for a search beside others."""
        return replace(self, tally=Tally())

    @property
    def are_folders(self) -> bool:
        """Whether only folders were given, without --include, --since and --until."""
        return not self.selection.narrows and all(p.is_dir() for p in self.given)

    @property
    def folder(self) -> Path | None:
        """The deepest folder that holds all given paths; None if there is none."""
        from engine.core.paths import common_folder

        return common_folder(self.given)

    def count_onto(self, bar: Progress) -> None:
        """Count the files in a second thread, and report the number to a progress bar.

        Nothing is counted with --since or --until: the dates of all photos would be read twice.
        """
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
    """Find the photos of the paths on the command line and in `--files-from`. This loads no heavy module.

    Raises:
        UsageError: no paths were given, or none of them exists.
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
    from engine.photos.path_list import read_list

    return read_list(file, null=null)


def gather_photos(
    paths: list[Path] | None, files_from: Path | None, *, null: bool, selection: "Selection | None" = None
) -> list[Path]:
    """List the photos that `find_photos` finds, without videos and RAW companions, and say if there are none.

    Raises:
        UsageError: no paths were given, or none of them exists.
    """
    photos = find_photos(paths, files_from, null=null, selection=selection)
    files = [f.path for f in photos if f.kind == "photo"]
    if not files:
        out.say(NO_PHOTOS)
    tell_tally(photos)
    return files


def make_selection(
    include: list[str] | None, exclude: list[str] | None, since: str | None, until: str | None
) -> "Selection":
    """Make the engine's selection from --include, --exclude, --since and --until."""
    from engine.photos.selection import Selection

    return Selection(
        tuple(include or ()),
        tuple(exclude or ()),
        read_day(since, option="--since", after=False),
        read_day(until, option="--until", after=True),
    )


def read_day(text: str | None, *, option: str, after: bool) -> datetime | None:
    """Read a year, month, day or moment in ISO 8601: its beginning, or with `after` its end.

    The end of a year, month or day is the beginning of the next one; a moment is its own end.

    Raises:
        UsageError: the text is none of these, or its end is after the year 9999.
    """
    if text is None:
        return None
    try:
        if period := _PERIOD.fullmatch(text):
            year, month, day = (int(part) if part else 0 for part in period.groups())
            first = datetime(year, month or 1, day or 1)
            return _next(first, month=bool(month), day=bool(day)) if after else first
        return datetime.fromisoformat(text)
    except (ValueError, OverflowError) as err:
        raise UsageError(f"{option}: {text!r} is not a date (YYYY-MM-DD)", hint="Example: 2024-01-31.") from err


def _next(first: datetime, *, month: bool, day: bool) -> datetime:
    """Return the beginning of the day, month or year after the one that begins at `first`."""
    if day:
        return first + timedelta(days=1)
    years, months = divmod(first.month, 12) if month else (1, 0)
    return first.replace(year=first.year + years, month=months + 1)


def tell_tally(photos: Photos) -> None:
    """Say after a search which files it passed over, such as `skipped: 3 .jxl`, and how many photos have no date.

    --since and --until compare the modification time of the files of such photos.
    """
    unread = sorted(photos.tally.unread.items(), key=lambda item: (-item[1], item[0]))
    listed = ", ".join(f"{n:,} {ending}" for ending, n in unread if n)
    if listed:
        out.say(f"skipped: {listed} (not searched for in folders)")
    undated = photos.tally.undated
    if undated:
        has = "photo has" if undated == 1 else "photos have"
        out.say(f"{undated:,} {has} no date inside: --since and --until used the file's modification time")


def find_missing(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Return the paths that do not exist.

    Raises:
        UsageError: none of them exists.
    """
    given = tuple(paths)
    missing = tuple(p for p in given if not _exists(p))
    if given and len(missing) == len(given):
        raise UsageError(_tell_missing(missing), hint="Check the path.")
    return missing


def warn_of_missing(paths: Iterable[Path]) -> bool:
    """Warn about each path that does not exist, and return whether there is one: then the exit code is 1.

    This is for commands whose results do not name missing photos.

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
    """Whether a path exists. A broken link does, and so may a path in a folder that cannot be read."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a name with NUL
        return False
    except OSError:
        return True
    return True
