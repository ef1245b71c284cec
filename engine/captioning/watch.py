"""Find the photos that arrive or change in folders, in batches that have settled.

A photo is in a batch if it, a raw file of the same shot, or its XMP sidecar appeared or changed, and if it is not known
to be unchanged: so what a run writes itself makes no further batch. Files that are deleted, moved away or renamed are
no reason for anything; under its new name a photo is new.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.captioning.file_events import Changed, Events, Notice
from engine.captioning.settling import Look, Settling, look_at
from engine.photos.discovery import FoundFile, Selection, find_below, find_files, is_photo_name
from engine.sidecars.locate import XMP_ENDING, caseless

IDLE_SECONDS = 60.0
"""An empty batch comes at least so often, so that whoever takes batches can do other things."""
_FIRST_RETRY, _LAST_RETRY = 60.0, 3600.0
"""Seconds until a batch that failed is tried again, which double each time, up to the second number."""
Known = Callable[[Sequence[FoundFile]], frozenset[Path]]
"""Returns which of some photos are known to be unchanged."""


@dataclass(frozen=True)
class Batch:
    """Photos to caption.

    edited: those of which only sidecars changed, with these. notices: what happened to the watching meanwhile. failed:
    how often captioning these photos failed as a whole.
    """

    files: tuple[FoundFile, ...] = ()
    edited: Mapping[Path, tuple[Path, ...]] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()
    failed: int = 0

    def reasons(self) -> dict[Path, tuple[Path, ...]]:
        """Return the photos, each with the files that changed: its sidecars, or itself with its raw companions."""
        return {f.path: self.edited.get(f.path, (f.path, *f.companions)) for f in self.files}

    def without(self, photos: Iterable[Path]) -> "Batch":
        """Return the batch without some photos."""
        left_out = frozenset(photos)
        return replace(self, files=tuple(f for f in self.files if f.path not in left_out))


@dataclass
class PhotoWatch:
    """Watches folders.

    folders: as they were given; patterns of the selection are compared below them. known: tells which photos are as the
    last run left them. clock: seconds, which only grow.
    """

    folders: Sequence[Path]
    selection: Selection
    events: Events
    known: Known
    clock: Callable[[], float]
    _retries: list[tuple[float, Batch]] = field(default_factory=list)
    _taken: dict[Path, Look | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._settling = Settling(self.clock)
        self._real = {Path(os.path.realpath(f)): f for f in self.folders}

    def batches(self) -> Iterator[Batch]:
        """Yield settled batches without end; empty ones if nothing happens."""
        while True:
            changed = self.events.wait(self._longest_wait())
            self._note(changed)
            settled = self._settling.take()
            batch = (
                replace(self._choose(settled), notices=changed.notices) if settled else Batch(notices=changed.notices)
            )
            yield batch
            yield from self._due_retries()

    def retry(self, batch: Batch) -> float:
        """Yield a batch again later, because it failed as a whole; return in how many seconds."""
        seconds = min(_LAST_RETRY, _FIRST_RETRY * 2**batch.failed)
        again = replace(batch, failed=batch.failed + 1, notices=())
        self._retries.append((self.clock() + seconds, again))
        return seconds

    def _longest_wait(self) -> float:
        moments = [IDLE_SECONDS, *(max(0.0, at - self.clock()) for at, _ in self._retries)]
        due = self._settling.due()
        return min(moments if due is None else [due, *moments])

    def _due_retries(self) -> Iterator[Batch]:
        now = self.clock()
        due = [batch for at, batch in self._retries if at <= now]
        self._retries = [(at, batch) for at, batch in self._retries if at > now]
        for batch in due:
            yield batch.without(f.path for f in batch.files if not os.path.lexists(f.path))

    def _note(self, changed: Changed) -> None:
        """Wait for the files that changed to settle; those of folders that appeared are among them."""
        for path in sorted(changed.paths):
            if _matters(path.name):
                self._settling.touch(path)
            elif not path.name.startswith(".") and path.is_dir():
                self._touch_all(f for root, folder in self._places(path) for f in self._below(root, folder, deep=True))
        if changed.whole:
            found = find_files(changed.whole, replace(self.selection, since=None, until=None))
            photos = [f for f in found if f.kind == "photo"]
            known = self.known(photos)
            self._touch_all(f for f in photos if f.path not in known and self._taken.get(f.path) != look_at(f.path))

    def _touch_all(self, files: Iterable[FoundFile]) -> None:
        for file in files:
            if file.kind == "photo":
                for path in (file.path, *file.companions):
                    self._settling.touch(path)

    def _choose(self, settled: frozenset[Path]) -> Batch:
        """Choose the photos that settled files belong to, in the order of their paths."""
        by_folder: dict[Path, list[Path]] = {}
        for path in settled:
            by_folder.setdefault(path.parent, []).append(path)
        files: dict[Path, FoundFile] = {}
        edited: dict[Path, tuple[Path, ...]] = {}
        for folder in sorted(by_folder):
            changed, sidecars = frozenset(by_folder[folder]), _sidecars_by_stem(by_folder[folder])
            for root, place in self._places(folder):
                for file in self._below(root, place, deep=False):
                    own = sidecars.get(_stem(file.path.name), ())
                    is_new = not changed.isdisjoint(_in(folder, (file.path, *file.companions)))
                    if (is_new or own) and file.path not in files and self.selection.takes_date(file.path):
                        files[file.path] = file
                        if not is_new:
                            edited[file.path] = own
        known = self.known(tuple(files.values()))
        chosen = tuple(file for path, file in files.items() if path not in known)
        self._taken |= {file.path: look_at(file.path) for file in chosen}
        return Batch(chosen, {f.path: edited[f.path] for f in chosen if f.path in edited})

    def _below(self, root: Path, folder: Path, *, deep: bool) -> Iterator[FoundFile]:
        found = find_below(root, folder, self.selection, deep=deep)
        return (f for f in found if f.kind == "photo" and f.path != folder)

    def _places(self, folder: Path) -> Iterator[tuple[Path, Path]]:
        """Yield the given folders that a folder is in, with its path below each; macOS reports real paths."""
        for real, given in self._real.items():
            for base in (given, real):
                if folder.is_relative_to(base):
                    yield given, given / folder.relative_to(base)
                    break


def _matters(name: str) -> bool:
    """Return whether a file may be a photo or an XMP sidecar; temporary files of others have other endings or a dot."""
    return is_photo_name(name) or (name.lower().endswith(XMP_ENDING) and not name.startswith("."))


def _stem(name: str) -> str:
    return caseless(os.path.splitext(name)[0])


def _sidecars_by_stem(paths: Iterable[Path]) -> dict[str, tuple[Path, ...]]:
    """Return sidecars by the stems of the photos that they may belong to: photo.jpg.xmp and photo.xmp to photo.jpg."""
    found: dict[str, tuple[Path, ...]] = {}
    for path in sorted(paths):
        if path.name.lower().endswith(XMP_ENDING):
            stem = path.name[: -len(XMP_ENDING)]
            for key in {caseless(stem), _stem(stem)}:
                found[key] = (*found.get(key, ()), path)
    return found


def _in(folder: Path, paths: Iterable[Path]) -> Iterator[Path]:
    """Yield paths as events report them: in a folder by the path that the events have."""
    return (folder / p.name for p in paths)
