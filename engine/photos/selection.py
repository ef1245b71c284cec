"""Select files by name patterns and dates."""

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path


@dataclass
class Tally:
    """Counts of a search.

    unread: pictures in formats that are not read, by their ending. undated: photos without a date of their own, for
    which the modification time of the file was used.
    """

    unread: Counter[str] = field(default_factory=Counter)
    undated: int = 0

    def clear(self) -> None:
        """Set all counts to zero."""
        self.unread.clear()
        self.undated = 0


@dataclass(frozen=True)
class Selection:
    """Patterns and dates that a file must match.

    Patterns are as in `.gitignore`. One without a slash is compared with names; an exclude also with names of folders,
    which are not entered then. One with a slash is compared with the path relative to the given folder; `*` and `?`
    stop at slashes, `**` does not. Endings are compared without case. Dates are those of the photo (`exif.read_taken`)
    by the camera's clock, else the modification time of the file in local time; since is inclusive, until exclusive.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    @property
    def narrows(self) -> bool:
        """Whether only files of certain names or dates are selected; excludes alone do not count."""
        return bool(self.include or self.since or self.until)

    def takes_file(self, relative: str) -> bool:
        """Return whether the path of a file matches the patterns."""
        if any(p.fits(relative) for p in self._excluded):
            return False
        return not self.include or any(p.fits(relative) for p in self._included)

    def takes_folder(self, relative: str) -> bool:
        """Return whether a folder is entered."""
        return not any(p.fits(relative, is_folder=True) for p in self._excluded)

    def takes_date(self, path: Path, tally: Tally | None = None) -> bool:
        """Return whether the date of a file matches; its metadata is read only if dates are given. Missing files match.

        tally: counts photos without a date of their own.
        """
        if self.since is None and self.until is None:
            return True
        from engine.photos.metadata.exif import read_taken  # loads the metadata readers, which most commands never need

        taken = read_taken(path)
        if taken is None:
            try:
                taken = datetime.fromtimestamp(path.stat().st_mtime)
            except (OSError, ValueError, OverflowError):
                return True
            if tally is not None:
                tally.undated += 1
        since, until = _local(self.since), _local(self.until)
        return (since is None or taken >= since) and (until is None or taken < until)

    @cached_property
    def _included(self) -> tuple["_Pattern", ...]:
        return tuple(map(_Pattern, self.include))

    @cached_property
    def _excluded(self) -> tuple["_Pattern", ...]:
        return tuple(map(_Pattern, self.exclude))


def _local(moment: datetime | None) -> datetime | None:
    return moment.astimezone().replace(tzinfo=None) if moment is not None and moment.tzinfo else moment


class _Pattern:
    """A pattern as in `.gitignore`, without its `!`."""

    def __init__(self, text: str) -> None:
        stem = text.rstrip("/")
        self._folders_only = stem != text
        self._is_path = "/" in stem
        wanted = _lower_ending(stem.lstrip("/"))
        try:
            self._regex = re.compile(_to_regex(wanted), re.DOTALL)
        except re.error:  # a class such as [z-a]
            self._regex = re.compile(re.escape(wanted))

    def fits(self, relative: str, *, is_folder: bool = False) -> bool:
        if self._folders_only and not is_folder:
            return False
        text = relative if self._is_path else relative.rpartition("/")[2]
        return self._regex.fullmatch(_lower_ending(text)) is not None


def _lower_ending(text: str) -> str:
    """Convert the ending of a path, what follows the last dot of the name, to lower case."""
    folder, slash, name = text.rpartition("/")
    stem, dot, ending = name.rpartition(".")
    return f"{folder}{slash}{stem}{dot}{ending.lower()}" if dot else text


def _to_regex(pattern: str) -> str:
    parts = re.split(r"(\*\*/|\*+|\?|\[!?\]?[^\]]*\])", pattern)
    return "".join(_part_to_regex(part) for part in parts)


def _part_to_regex(part: str) -> str:
    if part == "**/":
        return "(?:.*/)?"
    if part and not part.strip("*"):
        return "[^/]*" if part == "*" else ".*"
    if part == "?":
        return "[^/]"
    members = part[1:-1].removeprefix("!")
    if part.startswith("[") and part.endswith("]") and members:
        return f"[{'^' if part[1] == '!' else ''}{_class_to_regex(members)}]"
    return re.escape(part)


def _class_to_regex(members: str) -> str:
    """Convert the characters between the brackets of a class: only ranges and single characters have a meaning.

    Everything is escaped, because `re` warns about `[`, `--`, `&&`, `~~` and `||` in a class, which may get a meaning
    in later versions.
    """
    return re.sub(
        "(.)-(.)|(.)",
        lambda m: re.escape(m[3]) if m[3] else f"{re.escape(m[1])}-{re.escape(m[2])}",
        members,
        flags=re.DOTALL,
    )
