"""The journal: the content of every sidecar before a run changed it, so that the run can be undone.

It is beside the concept store, with the same permissions. A write is recorded before it is made; whether it was made
is known from the file itself, whose hash is either that before or that after.
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
from engine.sidecars.journal_migrations import journal_migrations

_RECORD = """
    insert into writes (run, path, photo, before, before_hash, after_hash) values (?, ?, ?, ?, ?, ?)
    on conflict (run, path) do update set
        before = case when after_hash = excluded.before_hash then before else excluded.before end,
        before_hash = case when after_hash = excluded.before_hash then before_hash else excluded.before_hash end,
        after_hash = excluded.after_hash
"""
"""Record a write. If a run writes a file twice, the content before the first write counts, unless another program wrote
the file in between."""


@dataclass(frozen=True)
class Write:
    """A file that a run wrote. before: its bytes before, None for no file. after_hash: of the bytes that the run wrote.

    lost: the bytes before were forgotten because they named a forgotten concept; `before` is None then.
    """

    path: Path
    photo: Path
    before: bytes | None
    after_hash: str
    lost: bool = False

    @property
    def before_hash(self) -> str:
        """Hexadecimal SHA-256 of the bytes before; "" if there was no file, or if they are lost."""
        return hash_of(self.before)


@dataclass(frozen=True)
class Run:
    """A run that wrote sidecars. Times are ISO 8601 with time zone.

    finished: None if the run was killed. undone: when it was undone. files, photos: how many it wrote. folder: the
    folder that holds all of its photos; None if its writes were forgotten.
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
    """Return the hexadecimal SHA-256 of the bytes of a file; "" for no file."""
    return "" if data is None else sha256_of(data)


def new_run_id(now: datetime) -> str:
    """Make a unique id that sorts by time: `20261121-171500-3fa2`."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


class Journal:
    """Runs, and the content of files before their writes. Reading creates nothing on disk."""

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
        """Record writes that are about to be made, all or none; the first ones also record their run."""
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
        """Record that a run ended, whether or not it was interrupted."""
        with transaction(self._db.conn, self.path) as db:
            db.execute("update runs set finished = ? where id = ?", [_iso(now), run])

    def reopen(self, run: str) -> None:
        """Record that the files of a run are being written again, so that leftovers of a kill are removed."""
        with transaction(self._db.conn, self.path) as db:
            db.execute("update runs set finished = null where id = ?", [run])

    def mark_undone(self, run: str, now: datetime) -> None:
        """Record that a run was undone."""
        with transaction(self._db.conn, self.path) as db:
            db.execute("update runs set undone = ? where id = ?", [_iso(now), run])

    def runs(self) -> tuple[Run, ...]:
        """Return all runs, the newest first."""
        if not self.path.exists():
            return ()
        query = (
            "select runs.*, count(writes.path) as files, count(distinct writes.photo) as photos,"
            " min(writes.photo) as first, max(writes.photo) as last"
            " from runs left join writes on writes.run = runs.id group by runs.id order by runs.rowid desc"
        )
        runs = []
        for row in self._db.query(query):
            first, last = row.pop("first"), row.pop("last")
            runs.append(Run(**row, folder=_common_folder(first, last) if first else None))
        return tuple(runs)

    def undone(self) -> tuple[tuple[str, str], ...]:
        """Return the ids of the runs that were undone, with when; the writes are not looked at."""
        if not self.path.exists():
            return ()
        rows = self._db.query("select id, undone from runs where undone is not null order by rowid")
        return tuple((row["id"], row["undone"]) for row in rows)

    def find_run(self, wanted: str | None) -> Run:
        """Return the run whose id starts with `wanted`; None means the last run that was not undone.

        Raises:
            UsageError: there is none, or more than one.
        """
        runs = self.runs()
        if wanted is None:
            matches = [r for r in runs if r.undone is None][:1]
        else:
            matches = [r for r in runs if r.id.startswith(wanted)]
        if len(matches) == 1:
            return matches[0]
        if not runs or wanted is None:
            raise UsageError("there is no run to undo", hint="myvlm runs lists what was written, and when.")
        ids = ", ".join(r.id for r in (matches or runs)[:5])
        problem = "several runs start with" if matches else "there is no run"
        raise UsageError(f"{problem} {wanted!r}", hint=f"Known: {ids}. See myvlm runs.")

    def writes(self, run: str) -> Iterator[Write]:
        """Yield the writes of a run, the last one first."""
        rows = self._db.query("select * from writes where run = ? order by number desc", [run])
        for row in rows:
            before = None if row["before"] is None else zlib.decompress(row["before"])
            paths = (Path(os.fsdecode(row["path"])), Path(os.fsdecode(row["photo"])))
            yield Write(*paths, before, row["after_hash"], lost=bool(row["lost"]))

    def later_run(self, run: str, path: Path) -> str | None:
        """Return the id of the next run that wrote a file after this one and was not undone; None if there is none."""
        query = (
            "select runs.id from writes join runs on runs.id = writes.run where writes.path = ? and runs.undone is null"
            " and runs.rowid > (select rowid from runs where id = ?) order by runs.rowid limit 1"
        )
        return next((row["id"] for row in self._db.query(query, [os.fsencode(path), run])), None)

    def last_hash(self, path: Path) -> str | None:
        """Return the hash of the bytes that the last run that was not undone wrote into a file; None for none."""
        if not self.path.exists():
            return None
        query = (
            "select after_hash from writes join runs on runs.id = writes.run"
            " where writes.path = ? and runs.undone is null order by runs.rowid desc limit 1"
        )
        return next((row["after_hash"] for row in self._db.query(query, [os.fsencode(path)])), None)

    def unfinished_folders(self) -> tuple[Path, ...]:
        """Return the folders in which killed runs may have left temporary files."""
        if not self.path.exists():
            return ()
        query = "select distinct writes.path from writes join runs on runs.id = writes.run where finished is null"
        folders = {Path(os.fsdecode(row["path"])).parent for row in self._db.query(query)}
        return tuple(sorted(folders))

    def finish_killed(self, now: datetime) -> None:
        """Record the end of killed runs. Call it while no other run can be active."""
        with transaction(self._db.conn, self.path) as db:
            db.execute("update runs set finished = ? where finished is null", [_iso(now)])

    def sidecars(self) -> Iterator[Path]:
        """Yield every file that a run wrote, unless the run was forgotten; sorted."""
        if not self.path.exists():
            return
        for row in self._db.query("select distinct path from writes order by path"):
            yield Path(os.fsdecode(row["path"]))

    def folders(self) -> tuple[Path, ...]:
        """Return every folder in which any run wrote, including forgotten runs; sorted."""
        if not self.path.exists():
            return ()
        kept = {row["path"] for row in self._db.query("select path from folders")}
        return tuple(Path(os.fsdecode(f)) for f in sorted(kept | {os.fsencode(p.parent) for p in self.sidecars()}))

    def forget(self, in_content: Callable[[bytes], bool], in_path: Callable[[Path], bool]) -> int:
        """Forget what names a concept; return how many writes cannot be undone any more.

        Forgotten are writes whose path, or the path of their photo, names it (in_path), the content before of writes
        in which it is named (in_content), and folders whose path names it.
        """
        if not self.path.exists():
            return 0
        forgotten, lost = [], []
        for row in self._db.query("select number, path, photo, before from writes"):
            if any(in_path(Path(os.fsdecode(row[column]))) for column in ("path", "photo")):
                forgotten.append((row["number"],))
            elif row["before"] is not None and in_content(zlib.decompress(row["before"])):
                lost.append((row["number"],))
        with self._erasing() as db:
            folders = [(os.fsencode(f),) for f in self.folders()]
            db.executemany("insert or ignore into folders values (?)", folders)
            named = [f for f in folders if in_path(Path(os.fsdecode(f[0])))]
            db.executemany("delete from folders where path = ?", named)
            db.executemany("delete from writes where number = ?", forgotten)
            db.executemany("update writes set before = null, before_hash = '', lost = 1 where number = ?", lost)
        return len(forgotten) + len(lost)

    def prune(self, keep: int) -> int:
        """Forget all but the newest `keep` runs, but not their folders; return how many were forgotten.

        Sidecars stay as they are.
        """
        old = [(r.id,) for r in self.runs()[keep:]]
        if old:
            with self._erasing() as db:
                folders = [(os.fsencode(f),) for f in self.folders()]
                db.executemany("insert or ignore into folders values (?)", folders)
                db.executemany("delete from runs where id = ?", old)
        return len(old)

    @contextmanager
    def _erasing(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction after which the files of the database hold nothing of what it deleted."""
        with transaction(self._db.conn, self.path) as db:
            yield db
        self._db.conn.execute("vacuum")
        self._db.conn.execute("pragma wal_checkpoint(truncate)")


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _common_folder(first: bytes, last: bytes) -> Path | None:
    """Return the folder that holds all paths of a sorted list, from its first and last one; None on different drives.

    What both ends of a sorted list start with, all paths between them start with, too.
    """
    try:
        return Path(os.path.commonpath([Path(os.fsdecode(end)).parent for end in (first, last)]))
    except ValueError:
        return None
