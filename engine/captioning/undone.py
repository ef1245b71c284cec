"""Leave photos alone whose sidecars are as `myvlm undo` or another run left them, while folders are watched."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from engine.core.files import LARGEST_DOCUMENT, read_bytes
from engine.sidecars.journal import Journal, hash_of

_TRUNCATED = 2.0
"""Seconds by which the last file of an undone run may be newer than its end, which is recorded in whole seconds."""


def left_undone(folder: Path, since: datetime, changed: Mapping[Path, Sequence[Path]]) -> frozenset[Path]:
    """Return the photos whose run was undone since a moment, and of which nothing changed after that.

    Captioning them again at once would undo the undoing. folder: the data folder. changed: photos with their files that
    may have changed.
    """
    journal, ends = Journal(folder), dict[Path, float]()
    try:
        for run, undone in journal.undone():
            moment = datetime.fromisoformat(undone).timestamp() + _TRUNCATED
            if moment >= since.timestamp():
                ends |= {write.photo: max(moment, ends.get(write.photo, 0.0)) for write in journal.writes(run)}
    finally:
        journal.close()
    return frozenset(p for p, files in changed.items() if p.absolute() in ends and _newest(files) <= ends[p.absolute()])


def written_by_runs(folder: Path, edited: Mapping[Path, Sequence[Path]]) -> frozenset[Path]:
    """Return the photos of which only sidecars changed, which are as the last run left them.

    That run had other options, or the photos would be known to be unchanged. Captioning them again would change what
    the user has just asked for, and two watchers would do so in turn. folder: the data folder. edited: photos with the
    sidecars that changed.
    """
    journal = Journal(folder)
    try:
        return frozenset(p for p, sidecars in edited.items() if all(_is_as_written(journal, s) for s in sidecars))
    finally:
        journal.close()


def _is_as_written(journal: Journal, sidecar: Path) -> bool:
    written = journal.last_hash(sidecar.absolute())
    try:
        return written is not None and hash_of(read_bytes(sidecar, LARGEST_DOCUMENT)) == written
    except OSError:  # it is gone, or no sidecar
        return False


def _newest(files: Sequence[Path]) -> float:
    """Return when the last of some files changed or came to its place, in seconds; those that are gone count as old."""
    return max((f.stat().st_ctime for f in files if f.exists()), default=0.0)
