"""Keep rows in an SQLite file of the cache folder, opened without sqlite_utils. Losing it costs only time."""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

RESULTS, CONTENTS, GROUPS = "files.db", "contents.db", "groups.db"
NAMES = (RESULTS, CONTENTS, GROUPS)
"""The files of `known_files`, of `known_contents` and of `unnamed.kept`."""


class CacheFile:
    """A file with tables. Errors of the database count as not knowing: a damaged file is deleted."""

    def __init__(self, folder: Path, name: str, tables: Sequence[str]) -> None:
        """Use a file of a cache folder; it is not created before the first `write`.

        name: of `NAMES`, so that `forget_files` knows it. tables: the statements that create them.
        """
        if name not in NAMES:
            raise ValueError(f"{name} is not among the cache files that are deleted when a concept is forgotten")
        self._path, self._tables = folder / name, tables

    @cached_property
    def _db(self) -> sqlite3.Connection:
        from engine.core.database import open_cache

        db = open_cache(self._path, self._tables[0])
        for table in self._tables[1:]:
            db.execute(table)
        return db

    def read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        if not self._path.exists():
            return []
        from engine.core.errors import StoreError

        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.OperationalError:  # another process holds it
            return []
        except (sqlite3.DatabaseError, StoreError):
            self.delete()
            return []

    def attach_to(self, db: sqlite3.Connection, name: str) -> bool:
        """Let a database see the tables under a name; return whether the file is there."""
        if not self.read("select name from sqlite_master"):  # a damaged one is deleted
            return False
        db.execute(f"attach database ? as {name}", [os.fspath(self._path)])
        return True

    def check(self) -> None:
        """Read the whole file, and delete it if it is damaged."""
        self.read("pragma quick_check")

    def write(self, query: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Write rows in one transaction; what cannot be written is not known."""
        from engine.core.errors import StoreError

        with suppress(sqlite3.Error, StoreError, OSError):
            self._db.execute("begin immediate")
            try:
                self._db.executemany(query, rows)
                self._db.execute("commit")
            except BaseException:
                self._db.execute("rollback")
                raise

    def delete(self) -> None:
        """Delete the file."""
        opened = self.__dict__.pop("_db", None)
        if opened is not None:
            opened.close()
        with suppress(OSError):
            _delete_file(self._path)


def forget_files(folder: Path) -> None:
    """Delete all that is known of files, with the results of runs that name concepts."""
    for name in NAMES:
        _delete_file(folder / name)


def _delete_file(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
