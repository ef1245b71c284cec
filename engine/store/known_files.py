"""What the last run saw of each file: how photo and sidecars looked, the photo's content hash, and the results.

It is a file of its own beside the feature cache: a run in which nothing changed reads little else.
"""

import json
import os
import stat
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from engine.store.cache_file import CacheFile

_SCHEMA = (
    "create table if not exists files (folder blob not null, name blob not null, files text not null, around text not"
    " null, content_hash text not null, run text not null, results text not null, primary key (folder, name)) without"
    " rowid"
)
_RUNS = "create table if not exists runs (run text primary key, facts text not null, at real not null)"
_MOST_RUNS = 100
"""Kinds of runs whose facts are kept, the latest."""
_BUSY_SECONDS = 2.0
RACY_NS = 2_000_000_000
"""A photo that was modified within this time before it was recorded is not recorded: a second change within the same
tick of the clock would not show. FAT has the coarsest clock, 2 s; git treats its index in the same way."""


class Stamp(NamedTuple):
    """How a file looks without being read: a change of its content shows in one of these.

    ctime_ns: when its inode changed, which programs that keep the modification time cannot set; on Windows when the
    file was made.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


def stamp_of(path: str | Path) -> Stamp | None:
    """Return the stamp of a regular file; None where there is none. A link is not followed, and has none."""
    try:
        status = os.lstat(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@dataclass(frozen=True)
class KnownFile:
    """A row: a photo as one run left it.

    files: stamps by name of the photo, its raw companions, and the sidecars of all of them, in the photo's folder; None
    where there is no such file. The photo is the first. around: a digest of other names that could be of its sidecars.
    run: what the results depend on beside the files (`captioning/unchanged.py`); "" for a photo that was scanned only.
    results: as JSON.
    """

    files: Mapping[str, Stamp | None]
    around: str
    content_hash: str
    run: str = ""
    results: str = "[]"

    def looks_the_same(self, folder: str) -> bool:
        """Return whether all files look as they did."""
        return all(stamp_of(f"{folder}{os.sep}{name}") == stamp for name, stamp in self.files.items())


class KnownFiles:
    """The tables of files, and of what runs of a kind have in common."""

    def __init__(self, folder: Path) -> None:
        """Use a folder for caches; no file is created before the first `save`."""
        self._file = CacheFile(folder / "files.db", (_SCHEMA, _RUNS))

    def of_folder(self, folder: str) -> dict[str, KnownFile]:
        """Return the rows of the photos in a folder, by name."""
        query = "select name, files, around, content_hash, run, results from files where folder = ?"
        rows = self._file.read(query, os.fsencode(folder))
        return {os.fsdecode(name): KnownFile(_parse(files), *rest) for name, files, *rest in rows}

    def facts_of(self, run: str) -> str | None:
        """Return what is known of runs of a kind, as JSON; None where nothing is."""
        return next((facts for (facts,) in self._file.read("select facts from runs where run = ?", run)), None)

    def save(self, folder: str, rows: Iterable[tuple[str, KnownFile]]) -> None:
        """Write the rows of photos in a folder, by name. Photos that were modified just now are left out."""
        recent = time.time_ns() - RACY_NS
        packed = [
            (os.fsencode(folder), os.fsencode(name), json.dumps(row.files), row.around, row.content_hash)
            + (row.run, row.results)
            for name, row in rows
            if all(stamp is None or stamp.mtime_ns < recent for stamp in list(row.files.values())[:1])
        ]
        if packed:
            self._file.write("insert or replace into files values (?, ?, ?, ?, ?, ?, ?)", packed)

    def save_facts(self, run: str, facts: str) -> None:
        """Write what is known of runs of a kind."""
        self._file.write("insert or replace into runs values (?, ?, ?)", [(run, facts, time.time())])
        oldest = "select run from runs order by at desc limit -1 offset ?"
        self._file.write(f"delete from runs where run in ({oldest})", [(_MOST_RUNS,)])


def _parse(files: str) -> dict[str, Stamp | None]:
    return {name: Stamp(*stamp) if stamp else None for name, stamp in json.loads(files).items()}
