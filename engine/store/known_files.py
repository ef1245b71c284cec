"""What the last run saw of each file: how photo and sidecars looked, the photo's content hash, and the results.

It is a file of its own beside the feature cache, opened without sqlite_utils: a run in which nothing changed reads
little else. Losing it costs only time.
"""

import json
import os
import sqlite3
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

_SCHEMA = (
    "create table if not exists files (folder blob not null, name blob not null, files text not null, around text not"
    " null, content_hash text not null, run text not null, results text not null, primary key (folder, name)) without"
    " rowid"
)
_RUNS = "create table if not exists runs (run text primary key, facts text not null, at real not null)"
_MOST_RUNS = 100
"""Kinds of runs whose facts are kept, the latest."""
_BUSY_SECONDS = 2.0
_RACY_NS = 2_000_000_000
"""A photo that was modified within this time before it was recorded is not recorded: a second change within the same
tick of the clock would not show. FAT has the coarsest clock, 2 s; git treats its index in the same way."""


class Stamp(NamedTuple):
    """How a file looks without being read: a change of its content shows in one of these."""

    size: int
    mtime_ns: int
    inode: int


def stamp_of(path: str | Path) -> Stamp | None:
    """Return the stamp of a regular file; None where there is none. A link is not followed, and has none."""
    try:
        status = os.lstat(path)
    except (OSError, ValueError):
        return None
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ino) if stat.S_ISREG(status.st_mode) else None


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
    """The table. Errors of the database count as not knowing: a damaged file is deleted."""

    def __init__(self, folder: Path) -> None:
        """Use a folder for caches; no file is created before the first `save`."""
        self._path = folder / "files.db"

    @cached_property
    def _db(self) -> sqlite3.Connection:
        from engine.core.database import open_cache

        db = open_cache(self._path, _SCHEMA)
        db.execute(_RUNS)
        return db

    def of_folder(self, folder: str) -> dict[str, KnownFile]:
        """Return the rows of the photos in a folder, by name."""
        query = "select name, files, around, content_hash, run, results from files where folder = ?"
        rows = self._read(query, os.fsencode(folder))
        return {os.fsdecode(name): KnownFile(_parse(files), *rest) for name, files, *rest in rows}

    def facts_of(self, run: str) -> str | None:
        """Return what is known of runs of a kind, as JSON; None where nothing is."""
        return next((facts for (facts,) in self._read("select facts from runs where run = ?", run)), None)

    def _read(self, query: str, value: object) -> list[tuple]:  # type: ignore[type-arg]  # of each query's columns
        if not self._path.exists():
            return []
        from engine.core.errors import StoreError

        try:
            return self._db.execute(query, [value]).fetchall()
        except sqlite3.OperationalError:  # another process holds it
            return []
        except (sqlite3.DatabaseError, StoreError):
            self._delete()
            return []

    def save(self, folder: str, rows: Iterable[tuple[str, KnownFile]]) -> None:
        """Write the rows of photos in a folder, by name. Photos that were modified just now are left out."""
        recent = time.time_ns() - _RACY_NS
        packed = [
            (os.fsencode(folder), os.fsencode(name), json.dumps(row.files), row.around, row.content_hash)
            + (row.run, row.results)
            for name, row in rows
            if all(stamp is None or stamp.mtime_ns < recent for stamp in list(row.files.values())[:1])
        ]
        if packed:
            self._write("insert or replace into files values (?, ?, ?, ?, ?, ?, ?)", packed)

    def save_facts(self, run: str, facts: str) -> None:
        """Write what is known of runs of a kind."""
        self._write("insert or replace into runs values (?, ?, ?)", [(run, facts, time.time())])
        oldest = "select run from runs order by at desc limit -1 offset ?"
        self._write(f"delete from runs where run in ({oldest})", [(_MOST_RUNS,)])

    def _write(self, query: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Write rows in one transaction; what cannot be written is not known, which costs time only."""
        from engine.core.errors import StoreError

        with suppress(sqlite3.Error, StoreError, OSError):
            self._db.execute("begin immediate")
            try:
                self._db.executemany(query, rows)
                self._db.execute("commit")
            except BaseException:
                self._db.execute("rollback")
                raise

    def _delete(self) -> None:
        opened = self.__dict__.pop("_db", None)
        if opened is not None:
            opened.close()
        for suffix in ("", "-wal", "-shm"):
            with suppress(OSError):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)


def _parse(files: str) -> dict[str, Stamp | None]:
    return {name: Stamp(*stamp) if stamp else None for name, stamp in json.loads(files).items()}
