"""Store the results of encoders and detectors in the feature cache, by content hash and model id."""

import json
import sqlite3
from collections.abc import Collection, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from engine.core.database import open_cache, transaction
from engine.core.errors import StoreError, StoreLockedError

_SCHEMA = (
    "create table if not exists features"
    " (content_hash text, model text, data blob not null, primary key (content_hash, model))"
)

DERIVED = "vectors-"
"""Beginning of the names of files beside the cache that are made from it (`photo_vectors`)."""
_HEADER = 4096
"""Bytes that are read of an entry for the shapes of its arrays; the header of one with five arrays has 400."""


class FeatureCache:
    """A database with arrays for each pair of content hash and model id. Losing it costs only computing time.

    It may hold the faces of bystanders. Therefore it is stored beside the concept store with the same permissions, and
    `myvlm concepts clear-cache` empties it.
    """

    def __init__(self, folder: Path) -> None:
        """Use a folder; no file is created before the first `save`."""
        self._path = folder / "features.db"

    @cached_property
    def _db(self) -> sqlite3.Connection:
        """Open the cache; a damaged one is deleted and created again.

        Raises:
            StoreLockedError: another process holds the cache.
        """
        try:
            return open_cache(self._path, _SCHEMA)
        except StoreLockedError:
            raise
        except StoreError:
            self._delete()
            return open_cache(self._path, _SCHEMA)

    def load(self, content_hash: str, *models: str) -> dict[str, np.ndarray] | None:
        """Return the arrays of a photo for the first of the models that it has any for, by name; None without any.

        Also returns None while another process holds the cache. Creates no file; a damaged cache is deleted.
        """
        if not self._path.exists():
            return None
        query = "select data from features where content_hash = ? and model = ?"
        try:
            found = (self._db.execute(query, [content_hash, model]).fetchone() for model in models)
            row = next((row for row in found if row), None)
            return load(row[0]) if row else None
        except sqlite3.OperationalError:  # another process holds it
            return None
        except (sqlite3.DatabaseError, SafetensorError):
            self._discard()
            return None

    def has_any(self, content_hash: str, models: Collection[str]) -> bool:
        """Return whether a photo has arrays for one of `models`. Reads only the index, and creates no file."""
        if not self._path.exists():
            return False
        marks = ", ".join("?" * len(models))
        query = f"select count(*) from features where content_hash = ? and model in ({marks})"
        try:
            count = self._db.execute(query, [content_hash, *models]).fetchone()[0]
        except sqlite3.OperationalError:  # another process holds it
            return False
        except sqlite3.DatabaseError:
            self._discard()
            return False
        return bool(count)

    def lengths(self, model: str, name: str) -> dict[str, int]:
        """Return the lengths of the arrays of a name, by content hash; only headers are read, and no file is created.

        Empty while another process holds the cache.
        """
        if not self._path.exists():
            return {}
        query = "select content_hash, substr(data, 1, ?) from features where model = ?"
        try:
            rows = self._db.execute(query, [_HEADER, model]).fetchall()
        except sqlite3.OperationalError:  # another process holds it
            return {}
        except sqlite3.DatabaseError:
            self._discard()
            return {}
        return {content: length for content, data in rows if (length := _length(data, name)) is not None}

    def newest(self) -> tuple[int, str, str]:
        """Return the number, content hash and model id of the entry that was stored last; numbers only grow.

        (0, "", "") without any, and while another process holds the cache. Creates no file.
        """
        row = self._row("select rowid, content_hash, model from features order by rowid desc limit 1")
        return row or (0, "", "")

    def is_entry(self, number: int, content_hash: str, model: str) -> bool:
        """Return whether the entry with a number is that of a photo and model."""
        query = "select 1 from features where rowid = ? and content_hash = ? and model = ?"
        return self._row(query, number, content_hash, model) is not None

    def _row(self, query: str, *values: object) -> tuple[Any, ...] | None:
        if not self._path.exists():
            return None
        try:
            row: tuple[Any, ...] | None = self._db.execute(query, values).fetchone()
        except sqlite3.OperationalError:  # another process holds it
            return None
        except sqlite3.DatabaseError:
            self._discard()
            return None
        return row

    def stored_between(self, models: Collection[str], after: int, last: int, most: int) -> list[tuple[int, str]]:
        """Return the numbers and content hashes of the first entries of some models with numbers in ]after, last].

        Raises:
            StoreError: another process holds the cache; a damaged one is deleted, and empty then.
        """
        marks = ", ".join("?" * len(models))
        query = (
            f"select rowid, content_hash from features where rowid > ? and rowid <= ? and model in ({marks})"
            " order by rowid limit ?"
        )
        try:
            return self._db.execute(query, [after, last, *models, most]).fetchall()
        except sqlite3.OperationalError as err:
            raise StoreError(f"{self._path} cannot be used: {err}", hint="Try again.") from err
        except sqlite3.DatabaseError:
            self._discard()
            return []

    def first_row(self, number: int, name: str) -> np.ndarray | None:
        """Return the first row of a float32 matrix of an entry, of which little else is read; None if it has none.

        None also if the entry was stored again meanwhile, which gives it another number; a damaged cache is deleted.
        """
        try:
            return self._first_row(number, name)
        except sqlite3.OperationalError:
            return None
        except sqlite3.DatabaseError:
            self._discard()
            return None

    def _first_row(self, number: int, name: str) -> np.ndarray | None:
        with self._db.blobopen("features", "data", number, readonly=True) as blob:
            size = int.from_bytes(blob.read(8), "little")
            try:
                entry = json.loads(blob.read(size))[name]
                (rows, width), (start, _) = entry["shape"], entry["data_offsets"]
            except (ValueError, KeyError, TypeError):
                return None
            blob.seek(8 + size + start)
            return np.frombuffer(blob.read(4 * width), "<f4") if rows else None

    def _discard(self) -> None:
        """Close and delete a damaged cache."""
        self._db.close()
        del self._db
        self._delete()

    def _delete(self) -> None:
        """Delete the cache's files."""
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        self._delete_derived()

    def _delete_derived(self) -> None:
        for path in sorted(self._path.parent.glob(f"{DERIVED}*")):
            path.unlink(missing_ok=True)

    def save(self, model: str, entries: Iterable[tuple[str, dict[str, np.ndarray]]]) -> None:
        """Store the arrays of photos for a model; entries: for each photo, its content hash and its arrays by name."""
        rows = [(content_hash, model, save(arrays)) for content_hash, arrays in entries]
        with transaction(self._db, self._path) as db:
            db.executemany("insert or replace into features values (?, ?, ?)", rows)

    def clear(self) -> int:
        """Delete all entries, and what is made from them; return their number."""
        self._delete_derived()
        if not self._path.exists():
            return 0
        count = self._db.execute("select count(*) from features").fetchone()[0]
        with transaction(self._db, self._path) as db:
            db.execute("delete from features")
        self._db.execute("vacuum")
        self._db.execute("pragma wal_checkpoint(truncate)")
        return int(count)


def _length(data: bytes, name: str) -> int | None:
    """Return the first number of an array's shape from the beginning of a safetensors file: 8 bytes with the size of
    the header, little-endian, and the header as JSON.
    """
    size = int.from_bytes(data[:8], "little")
    try:
        return int(json.loads(data[8 : 8 + size])[name]["shape"][0])
    except (ValueError, KeyError, IndexError, TypeError):
        return None
