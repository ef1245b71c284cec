"""Write sidecars: record them in the journal, then replace each file atomically if it is unchanged since it was read.

See docs/sidecars.md, "Writing".
"""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
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
"""From the present bytes of a file (None: no file) to its new bytes; raises SidecarError if that is unsafe."""
_TRIES = 3
"""How often a file is planned again because another program changed it meanwhile."""
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_NOT_ALLOWED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


@dataclass(frozen=True)
class FileEdit:
    """A file to update. make_folder: its folder may be created."""

    path: Path
    plan: Plan
    make_folder: bool = False


@dataclass(frozen=True)
class SidecarEdit:
    """The sidecars of a photo, written in this order; after a failure the remaining ones are not written."""

    photo: Path
    files: tuple[FileEdit, ...]


@dataclass(frozen=True)
class Written:
    """Result for the sidecars of one photo: the written paths, the result of each merge, or the error."""

    paths: tuple[Path, ...] = ()
    merges: tuple[Merge, ...] = ()
    error: SidecarError | None = None


@dataclass(frozen=True)
class _Step:
    """A file as read, with its merge. target: the file itself if `path` is a link to it."""

    photo: Path
    path: Path
    target: Path
    before: bytes | None
    merge: Merge

    @property
    def changes(self) -> bool:
        """Whether the file has to be written."""
        return self.merge.data is not None and self.merge.data != self.before

    def entry(self) -> Write:
        """Return the journal's record, with absolute paths, so that the run can be undone from any folder."""
        return Write(self.target.absolute(), self.photo.absolute(), self.before, hash_of(self.merge.data))


class Writer:
    """The writes of one run, as a context: it holds the lock. The journal has the run from its first write on."""

    def __init__(self, folder: Path, command: str) -> None:
        """Prepare a run. folder: the data folder with lock and journal. command: its name in the journal."""
        self._folder, self._command = folder, command
        self._started = datetime.now().astimezone()
        self.run = new_run_id(self._started)
        self._journal = Journal(folder)
        self._recorded = False
        self._stack = ExitStack()

    def __enter__(self) -> "Writer":
        """Take the lock, and remove what killed runs left.

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
        """Update the sidecars of some photos. A signal waits until all of them are written.

        Raises:
            EnvironmentFault: the disk is full.
            StoreError: the journal cannot be written; no sidecar was written then.
        """
        results: dict[int, Written] = {}
        waiting = list(enumerate(photos))
        with finish_first():
            while waiting:  # photos that share files through links are planned one after the other
                batch, waiting = _separate(waiting)
                written = self._write_all([p for _, p in batch])
                results |= dict(zip([i for i, _ in batch], written, strict=True))
        return [results[i] for i in range(len(photos))]

    def _write_all(self, photos: Sequence[SidecarEdit]) -> list[Written]:
        plans = [_plan(p) for p in photos]
        changing = [s for steps in plans if not isinstance(steps, SidecarError) for s in steps if s.changes]
        if changing:
            self._record(changing)
        return [
            Written(error=steps) if isinstance(steps, SidecarError) else self._write(steps, photo)
            for steps, photo in zip(plans, photos, strict=True)
        ]

    def _record(self, steps: Sequence[_Step]) -> None:
        self._journal.record(self.run, self._command, self._started, [s.entry() for s in steps])
        self._recorded = True

    def _write(self, steps: Sequence[_Step], photo: SidecarEdit) -> Written:
        result = Written()
        for step, edit in zip(steps, photo.files, strict=True):
            try:
                written = self._replace(step, edit)
            except SidecarError as err:
                return replace(result, error=err)
            paths = (*result.paths, written.path) if written.changes else result.paths
            result = replace(result, paths=paths, merges=(*result.merges, written.merge))
        return result

    def _replace(self, step: _Step, edit: FileEdit) -> _Step:
        """Replace a file if it still is as it was read; else read and plan it again."""
        for _ in range(_TRIES):
            data = step.merge.data
            if data is None or not step.changes:
                return step
            with explain_os_errors(step.path):
                if read_file(step.target) == step.before:
                    if edit.make_folder:
                        step.target.parent.mkdir(parents=True, exist_ok=True)
                    write_atomically(step.target, data)
                    return step
            step = _plan_one(step.photo, edit)
            if step.changes:
                self._record([step])
        raise SidecarError(f"{step.path}: another program keeps changing it", hint="It was left as it is. Try again.")


class Preview(Writer):
    """A writer that writes nothing: its results are those that another one would have."""

    def __init__(self, writer: Writer) -> None:
        """Stand in for a writer, for the same run."""
        self.run = writer.run

    def write(self, photos: Sequence[SidecarEdit]) -> list[Written]:
        """Return what would be done."""
        return [preview(p) for p in photos]


def preview(photo: SidecarEdit) -> Written:
    """Return what `Writer.write` would do for a photo; nothing is written."""
    steps = _plan(photo)
    if isinstance(steps, SidecarError):
        return Written(error=steps)
    return Written(tuple(s.path for s in steps if s.changes), tuple(s.merge for s in steps))


def clear_up(journal: Journal) -> None:
    """Remove the temporary files of killed runs. Call it while holding the lock."""
    folders = journal.unfinished_folders()
    if folders:
        for folder in folders:
            remove_leftovers(folder)
        journal.finish_killed(datetime.now().astimezone())


_Numbered = list[tuple[int, SidecarEdit]]


def _separate(photos: _Numbered) -> tuple[_Numbered, _Numbered]:
    """Split photos into a batch in which no two share a file, and the rest."""
    batch: _Numbered = []
    rest: _Numbered = []
    seen = set[str]()
    for number, photo in photos:
        targets = {os.path.realpath(i.path) for i in photo.files}
        (rest if targets & seen else batch).append((number, photo))
        seen |= targets
    return batch, rest


def _plan(photo: SidecarEdit) -> list[_Step] | SidecarError:
    try:
        return [_plan_one(photo.photo, edit) for edit in photo.files]
    except SidecarError as err:
        return err


def _plan_one(photo: Path, edit: FileEdit) -> _Step:
    with naming_file(edit.path):
        with explain_os_errors(edit.path):
            target = edit.path.resolve()
            before = read_file(target)
        return _Step(photo, edit.path, target, before, edit.plan(before))


def read_file(target: Path) -> bytes | None:
    """Read the bytes of a file; None if there is no file."""
    try:
        return read_bytes(target, LARGEST)
    except FileNotFoundError:
        return None


@contextmanager
def explain_os_errors(path: Path) -> Iterator[None]:
    """Raise errors of the operating system as ours, with what to do next.

    Raises:
        EnvironmentFault: the disk is full.
        SidecarError: any other error, or a link that leads to itself (RuntimeError).
    """
    try:
        yield
    except (OSError, RuntimeError) as err:
        message = f"{path}: {getattr(err, 'strerror', None) or err}"
        code = getattr(err, "errno", None)
        if code in _NO_ROOM:
            hint = "Make room and run the same command again: it goes on where it stopped."
            raise EnvironmentFault(message, hint=hint) from err
        hint = "For a library that cannot be written: --sidecar-dir FOLDER." if code in _NOT_ALLOWED else ""
        hint = "It was left as it is." if isinstance(err, UnsuitableFileError) else hint
        raise SidecarError(message, hint=hint or "Is the folder writable?") from err
