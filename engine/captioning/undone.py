"""Leave photos alone whose sidecars are as `myvlm undo` left them, while folders are watched."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from engine.sidecars.journal import Journal

_TRUNCATED = 2.0
"""Seconds by which the last file of an undone run may be newer than its end, which is recorded in whole seconds."""


def left_undone(folder: Path, since: datetime, edited: Mapping[Path, Sequence[Path]]) -> frozenset[Path]:
    """Return the photos whose sidecars changed because a run was undone since a moment, and not after that.

    Captioning them again at once would undo the undoing. folder: the data folder. edited: photos of which only sidecars
    changed, with these.
    """
    if not edited:
        return frozenset()
    journal, ends = Journal(folder), dict[Path, float]()
    try:
        for run in journal.runs():
            undone = datetime.fromisoformat(run.undone) if run.undone else None
            if undone is not None and undone.timestamp() >= since.timestamp() - _TRUNCATED:
                for write in journal.writes(run.id):
                    ends[write.photo] = max(ends.get(write.photo, 0.0), undone.timestamp() + _TRUNCATED)
    finally:
        journal.close()
    return frozenset(p for p, own in edited.items() if _newest(own) <= ends.get(p.absolute(), 0.0))


def _newest(files: Sequence[Path]) -> float:
    """Return when the last of some files was modified, in seconds; those that are gone count as old."""
    return max((f.stat().st_mtime for f in files if f.exists()), default=0.0)
