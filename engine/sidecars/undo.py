"""Undoing a run: every file it wrote becomes what it was, where nobody has changed it since."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from engine.core.errors import EngineError
from engine.core.files import finish_first, remove_file, write_atomically
from engine.sidecars.journal import Journal, Run, Write, hash_of
from engine.sidecars.lock import run_lock
from engine.sidecars.writer import clear_up, explained, read_file
from engine.sidecars.xmp import take_back

_RELATIVE = "This run of an older version recorded paths relative to where it was started: run myvlm undo there."


class UndoOutcome(StrEnum):
    """What undoing did to one file."""

    RESTORED = "restored"  # byte for byte what it was before the run
    DELETED = "deleted"  # the run had made it
    CLEANED = "cleaned"  # changed since: only what myvlm wrote was taken out
    UNCHANGED = "unchanged"  # it is as it was before the run, or gone
    KEPT = "kept"  # it is not myvlm's any more
    LATER = "later"  # a later run wrote it, and is to be undone first
    FAILED = "failed"


@dataclass(frozen=True)
class Undone:
    """One file of an undone run; `reason` says why it was kept or failed."""

    path: Path
    photo: Path
    outcome: UndoOutcome
    reason: str | None = None


def undo(folder: Path, wanted: str | None, *, dry: bool = False) -> tuple[Run, Iterator[Undone]]:
    """Undo a run (None: the last one that was not undone yet), file by file, as the iterator is consumed.
    `dry` only tells what would happen.

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
                done = _restore(journal, run, write, dry=False)
            outcomes.append(done.outcome)
            yield done
        journal.finish(run.id, datetime.now().astimezone())
        if not {UndoOutcome.FAILED, UndoOutcome.LATER} & set(outcomes):
            journal.mark_undone(run.id, datetime.now().astimezone())


def _restore(journal: Journal, run: Run, write: Write, *, dry: bool) -> Undone:
    def told(outcome: UndoOutcome, reason: str | None = None) -> Undone:
        return Undone(write.path, write.photo, outcome, reason)

    try:
        with explained(write.path):
            present = read_file(write.path)
            found = hash_of(present)
            if present is None and not write.path.is_absolute():
                return told(UndoOutcome.FAILED, f"{write.path} is not in this folder. {_RELATIVE}")
            if present is None or (found == write.before_hash and not write.lost):
                return told(UndoOutcome.UNCHANGED)
            if write.lost and not write.path.name.endswith(".json"):
                return told(*_clean(write, present, dry=dry))
            if found == write.after_hash:
                if not dry:
                    _put(write.path, write.before)
                return told(UndoOutcome.DELETED if write.before is None else UndoOutcome.RESTORED)
            later = journal.later_run(run.id, write.path)
            if later is not None:
                return told(UndoOutcome.LATER, f"run {later} wrote it after this one; undo that one first")
            return told(*_clean(write, present, dry=dry))
    except EngineError as err:
        return told(UndoOutcome.FAILED, str(err))


def _clean(write: Write, present: bytes, *, dry: bool) -> tuple[UndoOutcome, str]:
    """A file that cannot become what it was: take out what is ours and nothing else."""
    if write.path.name.endswith(".json"):
        return UndoOutcome.KEPT, "it was changed by another program; delete it if you do not need it"
    left = take_back(present, write.before)
    if left == present:
        return UndoOutcome.UNCHANGED, "nothing of myvlm's is in it any more"
    if not dry:
        _put(write.path, left)
    why = "what it held before was forgotten with a concept" if write.lost else "it was changed since"
    return UndoOutcome.CLEANED, f"{why}; only what myvlm wrote was taken out"


def _put(path: Path, data: bytes | None) -> None:
    if data is None:
        remove_file(path)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
