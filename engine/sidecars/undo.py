"""Undo a run: restore every file that it wrote, unless the file was changed since."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from engine.core.errors import EngineError
from engine.core.files import finish_first, remove_file, write_atomically
from engine.sidecars.journal import Journal, Run, Write, hash_of
from engine.sidecars.lock import run_lock
from engine.sidecars.writer import clear_up, explain_os_errors, read_file
from engine.sidecars.xmp import restore

_RELATIVE = "This run of an older version recorded paths relative to where it was started: run myvlm undo there."


class UndoOutcome(StrEnum):
    """What undoing did to one file."""

    RESTORED = "restored"  # its bytes are those before the run
    DELETED = "deleted"  # the run had created it
    CLEANED = "cleaned"  # changed since the run: only what myvlm wrote was removed
    UNCHANGED = "unchanged"  # it is as it was before the run, or does not exist any more
    KEPT = "kept"  # another program changed it, and nothing can be removed from it
    LATER = "later"  # a later run wrote it, which must be undone first
    FAILED = "failed"


@dataclass(frozen=True)
class Undone:
    """Result for one file of a run. reason: why it was cleaned, kept, or failed."""

    path: Path
    photo: Path
    outcome: UndoOutcome
    reason: str | None = None


def undo(folder: Path, wanted: str | None, *, dry: bool = False) -> tuple[Run, Iterator[Undone]]:
    """Undo a run, file by file, while the iterator is consumed.

    folder: the data folder. wanted: beginning of the run's id, None for the last run that was not undone. dry: only
    return what would be done.

    Raises:
        UsageError: there is no such run.
        StoreLockedError: another run is writing.
    """
    journal = Journal(folder)
    run = journal.find_run(wanted)
    return run, _undo(folder, journal, run, dry=dry)


def _undo(folder: Path, journal: Journal, run: Run, *, dry: bool) -> Iterator[Undone]:
    if dry:
        for write in journal.writes(run.id):
            yield _restore(journal, run, write, dry=True)
        return
    with run_lock(folder, "undo"):
        clear_up(journal)
        journal.reopen(run.id)
        outcomes = []
        for write in journal.writes(run.id):
            with finish_first():
                result = _restore(journal, run, write, dry=False)
            outcomes.append(result.outcome)
            yield result
        journal.finish(run.id, datetime.now().astimezone())
        if not {UndoOutcome.FAILED, UndoOutcome.LATER} & set(outcomes):
            journal.mark_undone(run.id, datetime.now().astimezone())


def _restore(journal: Journal, run: Run, write: Write, *, dry: bool) -> Undone:
    try:
        with explain_os_errors(write.path):
            outcome, reason = _restore_file(journal, run, write, dry=dry)
    except EngineError as err:
        outcome, reason = UndoOutcome.FAILED, str(err)
    return Undone(write.path, write.photo, outcome, reason)


def _restore_file(journal: Journal, run: Run, write: Write, *, dry: bool) -> tuple[UndoOutcome, str | None]:
    """Restore one file if it is as the run left it; else remove from it what myvlm wrote."""
    present = read_file(write.path)
    present_hash = hash_of(present)
    if present is None and not write.path.is_absolute():
        return UndoOutcome.FAILED, f"{write.path} is not in this folder. {_RELATIVE}"
    if present is None or (present_hash == write.before_hash and not write.lost):
        return UndoOutcome.UNCHANGED, None
    if write.lost and not write.path.name.endswith(".json"):
        return _clean(write, present, dry=dry)
    if present_hash == write.after_hash:
        if not dry:
            _put(write.path, write.before)
        return (UndoOutcome.DELETED if write.before is None else UndoOutcome.RESTORED), None
    later = journal.later_run(run.id, write.path)
    if later is not None:
        return UndoOutcome.LATER, f"run {later} wrote it after this one; undo that one first"
    return _clean(write, present, dry=dry)


def _clean(write: Write, present: bytes, *, dry: bool) -> tuple[UndoOutcome, str]:
    """Remove what myvlm wrote from a file that cannot be restored as a whole."""
    if write.path.name.endswith(".json"):
        return UndoOutcome.KEPT, "it was changed by another program; delete it if you do not need it"
    rest = restore(present, write.before)
    if rest == present:
        return UndoOutcome.UNCHANGED, "nothing of myvlm's is in it any more"
    if not dry:
        _put(write.path, rest)
    why = "what it held before was forgotten with a concept" if write.lost else "it was changed since"
    return UndoOutcome.CLEANED, f"{why}; only what myvlm wrote was taken out"


def _put(path: Path, data: bytes | None) -> None:
    """Write a file; None deletes it."""
    if data is None:
        remove_file(path)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
