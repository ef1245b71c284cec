"""Open SQLite files that several processes may share and that a kill does not break."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from engine.core.errors import StoreError, StoreLockedError
from engine.core.files import make_private_folder

if TYPE_CHECKING:
    from sqlite_utils import Database, Migrations

BUSY_SECONDS = 15.0


def open_database(path: Path, migrations: "Migrations") -> "Database":
    """Open the database at `path`, creating it (0600) and bringing its schema up to date.

    Raises:
        StoreLockedError: another process kept it busy for 15 s.
        StoreError: the file is no store, or cannot be read or written.
    """
    from sqlite_utils import Database

    try:
        db = Database(_connect(path))
        if migrations.pending(db):
            _migrate(path, db, migrations)
    except (sqlite3.Error, OSError) as err:
        raise _explained(path, err) from err
    return db


def open_empty(migrations: "Migrations") -> "Database":
    """Return an empty database with this schema in memory, for commands that must not create one on disk."""
    from sqlite_utils import Database

    db = Database(memory=True)
    migrations.apply(db)
    return db


def open_cache(path: Path, schema: str) -> sqlite3.Connection:
    """Open a cache of one table, creating it (0600) when it is not there.

    Raises:
        StoreError: as `open_database`.
    """
    try:
        connection = _connect(path)
        connection.execute(schema)
    except (sqlite3.Error, OSError) as err:
        raise _explained(path, err) from err
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    make_private_folder(path.parent)
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    _use_wal(connection)
    for pragma in ("foreign_keys=on", "secure_delete=on", "synchronous=full"):
        connection.execute(f"pragma {pragma}")
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead logging. SQLite's busy timeout does not cover this: while another process switches, too,
    it says at once that the database is locked.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("pragma journal_mode=wal")
            return
        except sqlite3.OperationalError as err:
            if "locked" not in str(err) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _migrate(path: Path, db: "Database", migrations: "Migrations") -> None:
    from filelock import FileLock

    with FileLock(path.with_suffix(".lock"), timeout=BUSY_SECONDS, mode=0o600):
        migrations.apply(db)


@contextmanager
def transaction(connection: sqlite3.Connection, path: Path) -> Iterator[sqlite3.Connection]:
    """Make one all-or-nothing change; it waits for the changes of other processes."""
    try:
        connection.execute("begin immediate")
        try:
            yield connection
        except BaseException:
            connection.execute("rollback")
            raise
        connection.execute("commit")
    except sqlite3.OperationalError as err:
        raise _explained(path, err) from err


def _explained(path: Path, err: Exception) -> StoreError:
    if isinstance(err, sqlite3.OperationalError) and "locked" in str(err):
        return StoreLockedError(
            f"the concept store {path} is in use by another process", hint="Try again when it has finished."
        )
    return StoreError(
        f"the concept store {path} cannot be used: {err}",
        hint="Check that it is a file you may write, or set MYVLM_HOME to another folder.",
    )
