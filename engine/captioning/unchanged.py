"""Tell without reading them which photos a run would find unchanged: from how photos and sidecars looked before.

A result holds while the photo, its raw companions and all files that are or could be their sidecars look as they did
(`sidecars.file_states`), and everything else that a run depends on is the same (`run_key`). Files are looked at before
they are read: after a later change, the recorded look no longer matches. A photo that differs in any way is processed
in full. This module imports nothing heavy.
"""

import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from engine.captioning.known_results import decode_results, encode_results
from engine.captioning.results import PhotoResult
from engine.core.notes import SkipReason
from engine.photos.discovery import FoundFile
from engine.sidecars.file_states import ALL, FileState, FileStates
from engine.sidecars.locate import Naming
from engine.store.known_files import KnownFiles, KnownResult

_WRITTEN = 1_000
"""Rows that are written at a time."""


@dataclass(frozen=True)
class Look:
    """How a photo and its sidecars looked before they were read.

    contents: digest of the bytes of files that had changed just before; None if there were none.
    """

    file: FoundFile
    state: FileState
    contents: bytes | None

    @classmethod
    def at(cls, file: FoundFile, state: FileState | None) -> "Look | None":
        """Look at a photo in a state; None for what is no regular file."""
        if state is None:
            return None
        return cls(file, state, state.hash_bytes(with_photos=state.unsettled == "all") if state.unsettled else None)

    @property
    def stays(self) -> bool:
        """Whether the files that had changed just before still hold the same bytes, and can be read."""
        if self.contents is None:
            return True
        return bool(self.contents) and self.state.hash_bytes(with_photos=self.contents[:1] == ALL) == self.contents


class UnchangedFiles:
    """The results of one command for photos, as text, from a run with the same key. Several threads may use it."""

    def __init__(
        self,
        folder: Path,
        key: str,
        naming: Naming | None,
        command: Literal["caption", "status", "people"],
        *,
        recalls: bool,
    ) -> None:
        """Use the data folder of a run.

        key: of `run_key`; "" knows and keeps nothing. recalls: False for a run that reads every photo.
        """
        self._files, self.key, self._recalls = KnownFiles(folder / "cache"), key, recalls
        self._command = command
        self._states = FileStates(naming or Naming())
        self._rows: tuple[str, Mapping[str, KnownResult]] = ("", {})
        self._settled: list[tuple[FileState, str, KnownResult]] = []
        self._pruned: set[str] = set()
        self._lock = threading.RLock()

    def find(self, file: FoundFile) -> str | None:
        """Return what is known of a photo that is unchanged; None for any other."""
        if not self.key or not self._recalls:
            return None
        with self._lock:
            state = self._states.of(file)
            row = self._rows_of(state.folder).get(file.path.name) if state else None
        if state is None or row is None or row.run != self.key or row.state != state.digest:
            return None
        if row.contents is None:
            return row.results
        if state.hash_bytes(with_photos=row.contents[:1] == ALL) != row.contents:
            return None
        if not state.unsettled:  # from now on, how the files look is enough
            with self._lock:
                self._settled.append((state, file.path.name, replace(row, contents=None)))
                if len(self._settled) >= _WRITTEN:
                    self.finish()
        return row.results

    def look(self, file: FoundFile) -> Look | None:
        """Look at a photo before it is read; None if nothing can be kept of it."""
        if not self.key:
            return None
        with self._lock:
            state = self._states.of(file)
        return Look.at(file, state)

    def keep(self, found: Iterable[tuple[Look, str]]) -> None:
        """Keep what was found out about photos after they were looked at, unless files changed in between."""
        rows = [
            (look.state, look.file.path.name, KnownResult(self.key, look.state.digest, look.contents, text))
            for look, text in found
            if look.stays
        ]
        self._save(rows if self.key else [])

    def finish(self) -> None:
        """Write what is not written yet."""
        with self._lock:
            settled, self._settled = self._settled, []
            self._save(settled)

    def _save(self, rows: Sequence[tuple[FileState, str, KnownResult]]) -> None:
        by_folder: dict[str, list[tuple[str, KnownResult]]] = {}
        for state, name, row in rows:
            by_folder.setdefault(state.folder, []).append((name, row))
        for folder, own in by_folder.items():
            self._files.save(folder, self._command, own)
            if folder not in self._pruned:
                self._pruned.add(folder)
                with suppress(OSError):
                    self._files.forget_missing(folder, os.listdir(folder))

    def _rows_of(self, folder: str) -> Mapping[str, KnownResult]:
        if self._rows[0] != folder:
            self._rows = (folder, self._files.of_folder(folder, self._command))
        return self._rows[1]


class UnchangedPhotos(UnchangedFiles):
    """Photos of which the results of captioning are known."""

    def __init__(self, folder: Path, key: str, naming: Naming | None = None, *, recalls: bool = True) -> None:
        """Use the data folder of a run; see `UnchangedFiles`."""
        super().__init__(folder, key, naming, "caption", recalls=recalls)

    def facts(self, *about: object) -> dict[str, Any] | None:
        """Return what runs with this key about the same have in common, as `save_facts` got it; None for nothing."""
        text = self._files.facts_of(self._about(about)) if self.key and self._recalls else None
        return None if text is None else json.loads(text)

    def save_facts(self, facts: Mapping[str, Any], *about: object) -> None:
        """Keep what runs with this key about the same have in common."""
        if self.key:
            self._files.save_facts(self._about(about), json.dumps(facts))

    def _about(self, about: tuple[object, ...]) -> str:
        return blake2b(repr((self.key, about)).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()

    def split(self, files: Iterable[FoundFile]) -> tuple[Iterator[tuple[PhotoResult, ...]], Iterator[FoundFile]]:
        """Split files into the results of those at the beginning that are unchanged, and the other files.

        The second iterator may be used when the first has ended.
        """
        source = iter(files)
        rest: list[FoundFile] = []

        def known() -> Iterator[tuple[PhotoResult, ...]]:
            for file in source:
                results = self.results(file)
                if results is None:
                    rest.append(file)
                    return
                yield results

        return known(), chain(rest, source)

    def results(self, file: FoundFile, *, sidecars: bool = True) -> tuple[PhotoResult, ...] | None:
        """Return the results of an unchanged photo and its raw companions, or of a video; None for anything else.

        sidecars: whether they name the sidecar files, which those of a run that writes nothing do not.
        """
        if file.kind == "video":
            skip = SkipReason.LIVE_PHOTO_VIDEO if file.live else SkipReason.VIDEO
            return (PhotoResult.skipped(file.path, skip),)
        text = self.find(file)
        return None if text is None else tuple(decode_results(file, text, sidecars=sidecars))

    def keep_results(self, found: Iterable[tuple[Look, Sequence[PhotoResult]]]) -> None:
        """Keep the results of photos and their companions that the next run would report if nothing changes."""
        encoded = ((look, encode_results(look.file, results)) for look, results in found)
        self.keep((look, text) for look, text in encoded if text is not None)
