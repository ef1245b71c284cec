"""Tell which files in folders appeared or changed: by events of the operating system, or by looking at all of them.

Events do not reach everything: a drive that is mounted later, what other machines do on a network drive, names that are
not UTF-8. Folders that cannot be followed for a while are named, so that they are looked at as a whole afterwards.
"""

import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from engine.core.errors import EnvironmentFault, first_line
from engine.core.mounts import is_on_network

if TYPE_CHECKING:
    from watchfiles._rust_notify import RustNotify

POLL_SECONDS = 60
"""Seconds between two looks at a folder without events, where nobody chose another number."""
_DEBOUNCE_MS, _STEP_MS = 2_000, 500
"""Events are passed on when none came for a step, at the latest after the first number of milliseconds."""
_WHOLE_SECONDS = 60.0
"""Seconds between two looks at everything after errors of the watching library: reading a file whose name is not UTF-8
is one."""
_ALIVE_SECONDS = 5.0
"""Seconds between two looks whether the folders are still there."""
_ADDED, _MODIFIED = 1, 2


class NoticeKind(StrEnum):
    """What happened to the watching of a folder."""

    GONE = "gone"  # it was deleted, or its disk is not mounted
    BACK = "back"
    POLLED = "polled"  # looked at from time to time: no events come, or they are turned off
    LIMIT = "limit"  # the system watches no more folders: looked at from time to time from now on


@dataclass(frozen=True)
class Notice:
    """Something that happened to the watching of a folder. detail: the reason, and what to do about it."""

    kind: NoticeKind
    folder: Path
    detail: str = ""


@dataclass(frozen=True)
class Changed:
    """What changed. paths: files and folders that appeared, and files that changed. whole: folders to look at whole."""

    paths: frozenset[Path] = frozenset()
    whole: tuple[Path, ...] = ()
    notices: tuple[Notice, ...] = ()


class Events(Protocol):
    """Where changes come from."""

    def wait(self, seconds: float) -> Changed:
        """Return what changed; wait until something does, for at most so many seconds."""


class WatchLimitError(EnvironmentFault):
    """The system watches no more folders."""


class FolderEvents:
    """Follows folders with the files and folders in them, as a context."""

    def __init__(self, folders: Sequence[Path], poll: float | None = None) -> None:
        """Prepare to follow some folders. poll: seconds between two looks at all files; None for events."""
        self._folders, self._asked, self._poll = tuple(folders), poll, poll
        self._changes: queue.Queue[tuple[_Follower, frozenset[Path] | Exception]] = queue.Queue()
        self._followers: list[_Follower] = []
        self._seen: dict[Path, tuple[int, int] | None] = {}
        self._notices: list[Notice] = []
        self._polled: set[Path] = set()
        self._lost = False
        self._looked = -_WHOLE_SECONDS

    def __enter__(self) -> "FolderEvents":
        """Begin: what changes from now on is not lost.

        Raises:
            EnvironmentFault: the folders cannot be watched, such as for a limit of the system (WatchLimitError).
        """
        self._start()
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None) -> None:
        self._stop()

    def wait(self, seconds: float) -> Changed:
        """Return what changed; wait until something does, for at most so many seconds.

        Raises:
            EnvironmentFault: the folders cannot be watched any more.
        """
        paths: set[Path] = set()
        is_whole = self._is_other_folder()
        longest = 0.0 if is_whole else min(seconds, _ALIVE_SECONDS)
        with suppress(queue.Empty):
            while True:
                follower, found = self._changes.get(block=longest > 0, timeout=longest or None)
                longest = 0.0
                if follower not in self._followers:
                    continue
                problem = found if isinstance(found, Exception) else follower.problem_with(found)
                if problem is None and not isinstance(found, Exception):
                    paths |= found
                else:
                    self._begin_anew(problem)
                    self._lost = True
        is_whole = is_whole or (self._lost and time.monotonic() - self._looked >= _WHOLE_SECONDS)
        if is_whole:
            self._lost, self._looked = False, time.monotonic()
        notices, self._notices = tuple(self._notices), []
        there = tuple(f for f, identity in self._seen.items() if identity is not None)
        return Changed(frozenset(paths), there if is_whole else (), notices)

    def _is_other_folder(self) -> bool:
        """Notice folders that are gone or back; return whether there are any, so that all are looked at as a whole."""
        now = {folder: _identity(folder) for folder in self._folders}
        other = [f for f in self._folders if now[f] != self._seen[f]]
        self._notices += [Notice(NoticeKind.GONE if now[f] is None else NoticeKind.BACK, f) for f in other]
        if other:
            self._poll = self._asked  # events may come from these
            self._begin_anew()
        return bool(other)

    def _begin_anew(self, problem: Exception | None = None) -> None:
        """Watch anew, after an error or because other folders are there; where events fail, look at all files.

        What changed in between is lost, so all folders have to be looked at as a whole.
        """
        self._stop()
        if not isinstance(problem, WatchLimitError):
            try:
                self._start()
                return
            except EnvironmentFault as fault:
                self._stop()
                problem = fault
        self._poll = POLL_SECONDS
        about = f"{problem}. {problem.hint}".removesuffix(".")
        self._notices += [Notice(NoticeKind.LIMIT, f, about) for f in self._folders]
        self._start()

    def _start(self) -> None:
        self._seen = {folder: _identity(folder) for folder in self._folders}
        there = [f for f, identity in self._seen.items() if identity is not None]
        polled = [f for f in there if self._poll is None and (_polls_everything() or is_on_network(f))]
        why = "WATCHFILES_FORCE_POLLING is set" if _polls_everything() else "on a network drive"
        self._notices += [Notice(NoticeKind.POLLED, f, why) for f in polled if f not in self._polled]
        self._polled |= set(polled)
        for group, poll in (([f for f in there if f not in polled], self._poll), (polled, float(POLL_SECONDS))):
            if group:
                self._followers.append(_Follower(tuple(group), poll, self._changes.put))

    def _stop(self) -> None:
        for follower in self._followers:
            follower.stop()
        self._followers = []


class _Follower:
    """A thread that passes on what changes in some folders, or the error that ended it."""

    def __init__(
        self,
        folders: tuple[Path, ...],
        poll: float | None,
        put: "Callable[[tuple[_Follower, frozenset[Path] | Exception]], None]",
    ) -> None:
        self._folders, self._poll, self._put = folders, poll, put
        self._stopped = threading.Event()
        self._watcher = self._open_all()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _open_all(self) -> "RustNotify":
        """Begin to watch all folders that can be read.

        The library skips folders over the system's limit, too, where it skips those that cannot be read.
        """
        try:
            return self._open(recursive=True, lenient=False)
        except WatchLimitError:
            raise
        except EnvironmentFault:  # one cannot be read
            watcher = self._open(recursive=True, lenient=True)
        try:
            self._probe()
        except EnvironmentFault:
            watcher.close()
            raise
        return watcher

    def _open(self, *, recursive: bool, lenient: bool) -> "RustNotify":
        """Begin to watch. lenient: skip folders that cannot be read, and those over the system's limit."""
        from watchfiles._rust_notify import RustNotify

        every = round(1000 * (self._poll or POLL_SECONDS))
        names = [os.fspath(f) for f in self._folders]
        try:
            return RustNotify(names, False, self._poll is not None, every, recursive, lenient)
        except Exception as err:  # of several types
            raise _explain(err) from err

    def _probe(self) -> None:
        """Watch one more folder for a moment.

        Raises:
            EnvironmentFault: that is not possible.
        """
        if self._poll is None:
            self._open(recursive=False, lenient=False).close()

    def problem_with(self, found: frozenset[Path]) -> WatchLimitError | None:
        """Return why new folders among what was found are perhaps not watched: the library does not say that."""
        try:
            if any(path.is_dir() for path in found):
                self._probe()
        except WatchLimitError as err:
            return err
        except EnvironmentFault:  # a folder is gone, which is noticed otherwise
            return None
        return None

    def _follow(self) -> None:
        try:
            while True:
                found = self._watcher.watch(_DEBOUNCE_MS, _STEP_MS, 0, self._stopped)
                if isinstance(found, str):  # "stop"
                    return
                self._put((self, frozenset(Path(p) for change, p in found if _counts(change, p))))
        except Exception as err:  # noqa: BLE001  # such as for a name that is not UTF-8: whoever waits begins anew
            self._put((self, err))

    def stop(self) -> None:
        """Stop; what was not passed on is lost."""
        self._stopped.set()
        self._thread.join(5 * _STEP_MS / 1000)
        self._watcher.close()


def _counts(change: int, path: str) -> bool:
    """Return whether a change is that of a file or the arrival of a folder, which also changes when files in it do."""
    return change == _ADDED or (change == _MODIFIED and not Path(path).is_dir())


def _explain(err: Exception) -> EnvironmentFault:
    """Return our error for that of the library."""
    text = str(err)
    if "watch limit" in text or "os error 28" in text:
        key, number, what = "max_user_watches", 524_288, "watches no more folders"
    elif "os error 24" in text:
        key, number, what = "max_user_instances", 512, "has no more watchers"
    else:
        return EnvironmentFault(f"the folders cannot be watched: {first_line(err)}", hint=f"Use --poll {POLL_SECONDS}.")
    return WatchLimitError(
        f"the system {what} (fs.inotify.{key})",
        hint=f"Raise the limit: sudo sysctl fs.inotify.{key}={number}, and the same line in /etc/sysctl.d/myvlm.conf."
        f" Or look at all files from time to time: --poll {POLL_SECONDS}",
    )


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return what tells a folder from another one at its place, such as one that is mounted there; None for none."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if folder.is_dir() else None


def _polls_everything() -> bool:
    """Return whether the environment asks for looking instead of events, as for other programs with this library."""
    return os.environ.get("WATCHFILES_FORCE_POLLING", "").lower() not in ("", "false", "disable", "disabled")
