"""Writing sidecars: journal first, then each file as a whole, and only if it still is what was read."""

import errno
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType

from engine.core.errors import EnvironmentFault, SidecarError
from engine.core.files import UnsuitableFileError, finish_first, read_bytes, remove_leftovers, write_atomically
from engine.sidecars.journal import Journal, Write, hash_of, new_run_id
from engine.sidecars.lock import run_lock
from engine.sidecars.read import LARGEST, naming_file
from engine.sidecars.xmp import Merge

Plan = Callable[[bytes | None], Merge]
"""From a file's present bytes (None: no file) to what it should hold; raises SidecarError when that is unsafe."""
_TRIES = 3
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_NOT_ALLOWED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


@dataclass(frozen=True)
class FileEdit:
    """One file to bring up to date. Only where `make_folder` says so may its folder be made."""

    path: Path
    plan: Plan
    make_folder: bool = False


@dataclass(frozen=True)
class SidecarEdit:
    """A photo's files, written in this order; one that fails keeps those after it from being written."""

    photo: Path
    intents: tuple[FileEdit, ...]


@dataclass(frozen=True)
class Written:
    """What became of a photo's files: which were written, what their merges had to say, or why it failed."""

    paths: tuple[Path, ...] = ()
    merges: tuple[Merge, ...] = ()
    error: SidecarError | None = None


@dataclass(frozen=True)
class _Step:
    """A file as read, and what it is to become. `target` is the file itself where `path` is a link to it."""

    photo: Path
    path: Path
    target: Path
    before: bytes | None
    merge: Merge

    @property
    def changes(self) -> bool:
        return self.merge.data is not None and self.merge.data != self.before

    def entry(self) -> Write:
        """What the journal keeps; with whole paths, so that the run can be undone from any folder."""
        return Write(self.target.absolute(), self.photo.absolute(), self.before, hash_of(self.merge.data))


class Writer:
    """The writes of one run, as a context: it holds the lock, and its run is in the journal from its first write."""

    def __init__(self, folder: Path, command: str) -> None:
        self._folder, self._command = folder, command
        self._started = datetime.now().astimezone()
        self.run = new_run_id(self._started)
        self._journal = Journal(folder)
        self._recorded = False
        self._stack = ExitStack()

    def __enter__(self) -> "Writer":
        """Take the lock, and clear up after killed runs.

        Raises:
            StoreLockedError: another process is writing.
        """
        self._stack.enter_context(run_lock(self._folder, self._command))
        clear_up(self._journal)
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None) -> None:
        try:
            if self._recorded:
                with finish_first():
                    self._journal.finish(self.run, datetime.now().astimezone())
            self._journal.close()
        finally:
            self._stack.close()

    def write(self, photos: Sequence[SidecarEdit]) -> list[Written]:
        """Bring the files of some photos up to date. A signal waits until all of them are done.

        Raises:
            EnvironmentFault: the disk is full.
            StoreError: the journal cannot be written; then no file was.
        """
        done: dict[int, Written] = {}
        waiting = list(enumerate(photos))
        with finish_first():
            while waiting:  # photos whose files are one and the same, through links, are planned one after the other
                now, waiting = _apart(waiting)
                written = self._write_all([p for _, p in now])
                done |= dict(zip([i for i, _ in now], written, strict=True))
        return [done[i] for i in range(len(photos))]

    def _write_all(self, photos: Sequence[SidecarEdit]) -> list[Written]:
        plans = [_plan(p) for p in photos]
        steps = [s for own in plans if not isinstance(own, SidecarError) for s in own if s.changes]
        if steps:
            self._record(steps)
        return [
            Written(error=own) if isinstance(own, SidecarError) else self._write(own, p)
            for own, p in zip(plans, photos, strict=True)
        ]

    def _record(self, steps: Sequence[_Step]) -> None:
        self._journal.record(self.run, self._command, self._started, [s.entry() for s in steps])
        self._recorded = True

    def _write(self, steps: Sequence[_Step], photo: SidecarEdit) -> Written:
        done = Written()
        for step, intent in zip(steps, photo.intents, strict=True):
            try:
                made = self._replace(step, intent)
            except SidecarError as err:
                return replace(done, error=err)
            paths = (*done.paths, made.path) if made.changes else done.paths
            done = replace(done, paths=paths, merges=(*done.merges, made.merge))
        return done

    def _replace(self, step: _Step, intent: FileEdit) -> _Step:
        """Compare and swap: a file that another program changed meanwhile is read and planned anew."""
        for _ in range(_TRIES):
            if not step.changes:
                return step
            with explained(step.path):
                if read_file(step.target) == step.before:
                    assert step.merge.data is not None
                    if intent.make_folder:
                        step.target.parent.mkdir(parents=True, exist_ok=True)
                    write_atomically(step.target, step.merge.data)
                    return step
            step = _plan_one(step.photo, intent)
            if step.changes:
                self._record([step])
        raise SidecarError(f"{step.path}: another program keeps changing it", hint="It was left as it is. Try again.")


def preview(photo: SidecarEdit) -> Written:
    """What `Writer.write` would do for a photo; writes nothing."""
    steps = _plan(photo)
    if isinstance(steps, SidecarError):
        return Written(error=steps)
    return Written(tuple(s.path for s in steps if s.changes), tuple(s.merge for s in steps))


def clear_up(journal: Journal) -> None:
    """Remove the temporary files of killed runs. Call while holding the lock."""
    folders = journal.unfinished_folders()
    if folders:
        for folder in folders:
            remove_leftovers(folder)
        journal.finish_killed(datetime.now().astimezone())


def _apart(
    photos: list[tuple[int, SidecarEdit]],
) -> tuple[list[tuple[int, SidecarEdit]], list[tuple[int, SidecarEdit]]]:
    """Photos no two of which have a file in common, and the rest."""
    now, later, seen = [], [], set[str]()
    for number, photo in photos:
        targets = {os.path.realpath(i.path) for i in photo.intents}
        (later if targets & seen else now).append((number, photo))
        seen |= targets
    return now, later


def _plan(photo: SidecarEdit) -> "list[_Step] | SidecarError":
    try:
        return [_plan_one(photo.photo, intent) for intent in photo.intents]
    except SidecarError as err:
        return err


def _plan_one(photo: Path, intent: FileEdit) -> _Step:
    with naming_file(intent.path):
        with explained(intent.path):
            target = intent.path.resolve()
            before = read_file(target)
        return _Step(photo, intent.path, target, before, intent.plan(before))


def read_file(target: Path) -> bytes | None:
    """A file's bytes, or None when there is no file."""
    try:
        return read_bytes(target, LARGEST)
    except FileNotFoundError:
        return None


class explained:
    """Operating system errors as ours, with what to do next."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None) -> None:
        if not isinstance(err, OSError | RuntimeError):  # RuntimeError: a link that leads to itself
            return
        told = f"{self._path}: {getattr(err, 'strerror', None) or err}"
        code = getattr(err, "errno", None)
        if code in _NO_ROOM:
            raise EnvironmentFault(told, hint="Make room and run the same command again: it goes on where it stopped.")
        hint = "For a library that cannot be written: --sidecar-dir FOLDER." if code in _NOT_ALLOWED else ""
        hint = "It was left as it is." if isinstance(err, UnsuitableFileError) else hint
        raise SidecarError(told, hint=hint or "Is the folder writable?") from err
