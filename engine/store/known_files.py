"""What the last run saw of each file: how photo and sidecars looked, the photo's content hash, and the results.

It is a file of its own beside the feature cache: a run in which nothing changed reads little else.
"""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.store.cache_file import RESULTS, CacheFile

_SCHEMA = (
    "create table if not exists command_results (folder blob not null, command text not null, name blob not null,"
    " run text not null, state blob not null, contents blob, results text not null,"
    " primary key (folder, command, name)) without rowid"
)
_RUNS = "create table if not exists runs (run text primary key, facts text not null, at real not null)"
OF_FOLDER = "select name, run, state, contents, results from command_results where folder = ? and command = ?"
"""The query that a run makes, once a folder; a test checks that it uses the primary key."""
_MOST_RUNS = 100
"""Kinds of runs whose facts are kept, the latest."""


@dataclass(frozen=True)
class KnownResult:
    """The results for a photo and its raw companions.

    run: what they depend on beside the files (`captioning/run_key.py`). state: digest of what the file system says of
    the files (`sidecars/file_states.py`). contents: digest of the bytes of files that had just been written; None where
    the state is enough. results: as JSON.
    """

    run: str
    state: bytes
    contents: bytes | None
    results: str


class KnownFiles:
    """The tables of results, and of what runs of a kind have in common."""

    def __init__(self, folder: Path) -> None:
        """Use a folder for caches; no file is created before the first `save`."""
        self._file = CacheFile(folder, RESULTS, (_SCHEMA, _RUNS))

    def of_folder(self, folder: str, command: str) -> dict[str, KnownResult]:
        """Return a command's results for the photos in a folder, by name."""
        rows = self._file.read(OF_FOLDER, os.fsencode(folder), command)
        return {os.fsdecode(name): KnownResult(*rest) for name, *rest in rows}

    def facts_of(self, run: str) -> str | None:
        """Return what is known of runs of a kind, as JSON; None where nothing is."""
        return next((facts for (facts,) in self._file.read("select facts from runs where run = ?", run)), None)

    def save(self, folder: str, command: str, rows: Iterable[tuple[str, KnownResult]]) -> None:
        """Write a command's results for photos in a folder, by name."""
        start = (os.fsencode(folder), command)
        packed = [(*start, os.fsencode(n), r.run, r.state, r.contents, r.results) for n, r in rows]
        if packed:
            self._file.write("insert or replace into command_results values (?, ?, ?, ?, ?, ?, ?)", packed)

    def forget_missing(self, folder: str, names: Iterable[str]) -> None:
        """Delete what is known of photos of a folder that are not among these names."""
        present, where = {os.fsencode(n) for n in names}, os.fsencode(folder)
        known = {n for (n,) in self._file.read("select distinct name from command_results where folder = ?", where)}
        if gone := [(where, n) for n in known - present]:
            self._file.write("delete from command_results where folder = ? and name = ?", gone)

    def save_facts(self, run: str, facts: str) -> None:
        """Write what is known of runs of a kind."""
        self._file.write("insert or replace into runs values (?, ?, ?)", [(run, facts, time.time())])
        oldest = "select run from runs order by at desc limit -1 offset ?"
        self._file.write(f"delete from runs where run in ({oldest})", [(_MOST_RUNS,)])
