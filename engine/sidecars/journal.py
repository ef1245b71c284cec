"""The journal: what every sidecar held before a run changed it, so that the run can be undone.

It lies beside the concept store, with the same permissions. A write is recorded before it is made; whether it
was made is seen from the file itself, whose hash is the one before or the one after.
"""

import os
import secrets
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from sqlite_utils import Database

from engine import __version__
from engine.core.database import open_database, transaction
from engine.core.errors import UsageError
from engine.core.files import sha256_of
from engine.store.migrations import journal_migrations

_RECORD = """
    insert into writes (run, path, photo, before, before_hash, after_hash) values (?, ?, ?, ?, ?, ?)
    on conflict (run, path) do update set
        before = case when after_hash = excluded.before_hash then before else excluded.before end,
        before_hash = case when after_hash = excluded.before_hash then before_hash else excluded.before_hash end,
        after_hash = excluded.after_hash
"""
"""A file that a run writes twice was before the run what it was before the first time, unless somebody else wrote it
in between."""


@dataclass(frozen=True)
class Write:
    """One file as it was before a run wrote it; None is no file. `after_hash` is of what the run wrote.

    lost: what it was before was forgotten with a concept that it named; `before` is None though there was a file.
    """

    path: Path
    photo: Path
    before: bytes | None
    after_hash: str
    lost: bool = False

    @property
    def before_hash(self) -> str:
        """Hex SHA-256 of the bytes before; "" when there was no file, or it is lost."""
        return hash_of(self.before)


@dataclass(frozen=True)
class Run:
    """A run that wrote sidecars; times are ISO 8601 with the zone. `finished` is None after a kill. folder: the folder
    that holds all of its photos, None where none of its writes is known any more.
    """

    id: str
    command: str
    version: str
    started: str
    finished: str | None
    undone: str | None
    files: int
    photos: int
    folder: Path | None = None


def hash_of(data: bytes | None) -> str:
    """Hex SHA-256 of a file's bytes; "" when there is no file."""
    return "" if data is None else sha256_of(data)


def new_run_id(now: datetime) -> str:
    """An id that sorts by time and that nobody else has: `20261121-171500-3fa2`."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


class Journal:
    """Runs and the pre-images of their writes. Reading creates nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal.db"

    @cached_property
    def _db(self) -> Database:
        return open_database(self.path, journal_migrations)

    def close(self) -> None:
        """Close the database, if it was opened."""
        if "_db" in self.__dict__:
            self._db.conn.close()
            del self.__dict__["_db"]

    def record(self, run: str, command: str, started: datetime, writes: Sequence[Write]) -> None:
        """Record writes that are about to be made, and their run with the first of them; all or nothing."""
        rows = [
            (
                run,
                os.fsencode(w.path),
                os.fsencode(w.photo),
                None if w.before is None else zlib.compress(w.before),
                w.before_hash,
                w.after_hash,
            )
            for w in writes
        ]
        with transaction(self._db.conn, self.path) as db:
            row = [run, command, __version__, _iso(started)]
            db.execute("insert or ignore into runs values (?, ?, ?, ?, null, null)", row)
            db.executemany(_RECORD, rows)

    def finish(self, run: str, now: datetime) -> None:
        """Note that a run came to its end, whether or not it was interrupted."""
        with transaction(self._db.conn, self.path) as db:
            db.execute("update runs set finished = ? where id = ?", [_iso(now), run])

    def reopen(self, run: str) -> None:
        """Note that a run's files are being written again, so that a kill leaves nothing unswept."""
        with transaction(self._db.conn, self.path) as db:
            db.execute("update runs set finished = null where id = ?", [run])

    def mark_undone(self, run: str, now: datetime) -> None:
        """Note that a run was undone."""
        with transaction(self._db.conn, self.path) as db:
            db.execute("update runs set undone = ? where id = ?", [_iso(now), run])

    def runs(self) -> tuple[Run, ...]:
        """All runs, the newest first."""
        if not self.path.exists():
            return ()
        query = (
            "select runs.*, count(writes.path) as files, count(distinct writes.photo) as photos,"
            " min(writes.photo) as first, max(writes.photo) as last"
            " from runs left join writes on writes.run = runs.id group by runs.id order by runs.rowid desc"
        )
        found = []
        for row in self._db.query(query):
            ends = row.pop("first"), row.pop("last")
            found.append(Run(**row, folder=_common_folder(*ends) if ends[0] else None))
        return tuple(found)

    def find_run(self, wanted: str | None) -> Run:
        """The run whose id starts like this; None is the last one that was not undone.

        Raises:
            UsageError: there is none, or more than one.
        """
        runs = self.runs()
        if wanted is None:
            found = [r for r in runs if r.undone is None][:1]
        else:
            found = [r for r in runs if r.id.startswith(wanted)]
        if len(found) == 1:
            return found[0]
        if not runs or wanted is None:
            raise UsageError("there is no run to undo", hint="myvlm runs lists what was written, and when.")
        known = ", ".join(r.id for r in (found or runs)[:5])
        problem = "several runs start with" if found else "there is no run"
        raise UsageError(f"{problem} {wanted!r}", hint=f"Known: {known}. See myvlm runs.")

    def writes(self, run: str) -> Iterator[Write]:
        """A run's writes, the last one first."""
        rows = self._db.query("select * from writes where run = ? order by number desc", [run])
        for row in rows:
            before = None if row["before"] is None else zlib.decompress(row["before"])
            paths = (Path(os.fsdecode(row["path"])), Path(os.fsdecode(row["photo"])))
            yield Write(*paths, before, row["after_hash"], lost=bool(row["lost"]))

    def later_run(self, run: str, path: Path) -> str | None:
        """The next run that wrote a file after this one and was not undone."""
        query = (
            "select runs.id from writes join runs on runs.id = writes.run where writes.path = ? and runs.undone is null"
            " and runs.rowid > (select rowid from runs where id = ?) order by runs.rowid limit 1"
        )
        return next((row["id"] for row in self._db.query(query, [os.fsencode(path), run])), None)

    def unfinished_folders(self) -> tuple[Path, ...]:
        """Folders in which a killed run may have left temporary files."""
        if not self.path.exists():
            return ()
        query = "select distinct writes.path from writes join runs on runs.id = writes.run where finished is null"
        found = {Path(os.fsdecode(row["path"])).parent for row in self._db.query(query)}
        return tuple(sorted(found))

    def finish_killed(self, now: datetime) -> None:
        """Close the runs that were killed; call while no other run can be going on."""
        with transaction(self._db.conn, self.path) as db:
            db.execute("update runs set finished = ? where finished is null", [_iso(now)])

    def sidecars(self) -> Iterator[Path]:
        """Every file that a run wrote which was not forgotten, sorted."""
        if not self.path.exists():
            return
        for row in self._db.query("select distinct path from writes order by path"):
            yield Path(os.fsdecode(row["path"]))

    def folders(self) -> tuple[Path, ...]:
        """Every folder in which any run wrote, those of forgotten runs, too; sorted."""
        if not self.path.exists():
            return ()
        kept = {row["path"] for row in self._db.query("select path from folders")}
        return tuple(Path(os.fsdecode(f)) for f in sorted(kept | {os.fsencode(p.parent) for p in self.sidecars()}))

    def forget(self, tells: Callable[[bytes], bool], names: Callable[[Path], bool]) -> int:
        """Forget what tells of somebody: the bytes before of a write where these do, the write itself where its path
        or its photo's names them, and the folders that do; returns how many writes cannot be undone any more.
        """
        if not self.path.exists():
            return 0
        gone, lost = [], []
        for row in self._db.query("select number, path, photo, before from writes"):
            if any(names(Path(os.fsdecode(row[column]))) for column in ("path", "photo")):
                gone.append((row["number"],))
            elif row["before"] is not None and tells(zlib.decompress(row["before"])):
                lost.append((row["number"],))
        with self._erasing() as db:
            folders = [(os.fsencode(f),) for f in self.folders()]
            db.executemany("insert or ignore into folders values (?)", folders)
            db.executemany("delete from folders where path = ?", [f for f in folders if names(Path(os.fsdecode(f[0])))])
            db.executemany("delete from writes where number = ?", gone)
            db.executemany("update writes set before = null, before_hash = '', lost = 1 where number = ?", lost)
        return len(gone) + len(lost)

    def prune(self, keep: int) -> int:
        """Forget all but the newest `keep` runs, but not in which folders they wrote; returns how many went. Sidecars
        stay as they are.
        """
        gone = [(r.id,) for r in self.runs()[keep:]]
        if gone:
            with self._erasing() as db:
                folders = [(os.fsencode(f),) for f in self.folders()]
                db.executemany("insert or ignore into folders values (?)", folders)
                db.executemany("delete from runs where id = ?", gone)
        return len(gone)

    @contextmanager
    def _erasing(self) -> Iterator[sqlite3.Connection]:
        """A transaction after which nothing of what it deleted is left in the files."""
        with transaction(self._db.conn, self.path) as db:
            yield db
        self._db.conn.execute("vacuum")
        self._db.conn.execute("pragma wal_checkpoint(truncate)")


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _common_folder(first: bytes, last: bytes) -> Path | None:
    """The folder that holds all of some sorted paths, of which these are the first and the last: what both ends of a
    sorted list start with, all between them do. None on different drives.
    """
    try:
        return Path(os.path.commonpath([Path(os.fsdecode(end)).parent for end in (first, last)]))
    except ValueError:
        return None
