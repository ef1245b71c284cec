"""The feature cache: what encoders and detectors found in a photo, by content hash and model."""

import sqlite3
from collections.abc import Collection, Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from engine.core.database import open_cache, transaction
from engine.core.errors import StoreError, StoreLockedError

_SCHEMA = (
    "create table if not exists features"
    " (content_hash text, model text, data blob not null, primary key (content_hash, model))"
)


class FeatureCache:
    """Arrays per (content hash, model id); losing it costs time only. It may hold faces of bystanders,
    so it lies beside the store with the same permissions, and `myvlm concepts clear-cache` empties it.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "features.db"

    @cached_property
    def _db(self) -> sqlite3.Connection:
        try:
            return open_cache(self._path, _SCHEMA)
        except StoreLockedError:
            raise
        except StoreError:
            self._delete()
            return open_cache(self._path, _SCHEMA)

    def load(self, content_hash: str, model: str) -> dict[str, np.ndarray] | None:
        """The arrays of a photo for a model, or None. Creates nothing."""
        if not self._path.exists():
            return None
        query = "select data from features where content_hash = ? and model = ?"
        try:
            row = self._db.execute(query, [content_hash, model]).fetchone()
            return load(row[0]) if row else None
        except sqlite3.OperationalError:  # another process holds it
            return None
        except (sqlite3.DatabaseError, SafetensorError):
            self._start_anew()
            return None

    def has(self, content_hash: str, models: Collection[str]) -> bool:
        """Whether a photo has arrays for each of some models; the index knows, no array is read. Creates nothing."""
        if not self._path.exists():
            return False
        marks = ", ".join("?" * len(models))
        query = f"select count(*) from features where content_hash = ? and model in ({marks})"
        try:
            count = self._db.execute(query, [content_hash, *models]).fetchone()[0]
        except sqlite3.OperationalError:  # another process holds it
            return False
        except sqlite3.DatabaseError:
            self._start_anew()
            return False
        return bool(count == len(models))

    def _start_anew(self) -> None:
        """Throw a damaged cache away."""
        self._db.close()
        del self._db
        self._delete()

    def _delete(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def save(self, model: str, found: Iterable[tuple[str, dict[str, np.ndarray]]]) -> None:
        """Keep the arrays of some photos."""
        rows = [(content_hash, model, save(arrays)) for content_hash, arrays in found]
        with transaction(self._db, self._path) as db:
            db.executemany("insert or replace into features values (?, ?, ?)", rows)

    def clear(self) -> int:
        """Forget everything; returns how many entries there were."""
        if not self._path.exists():
            return 0
        count = self._db.execute("select count(*) from features").fetchone()[0]
        with transaction(self._db, self._path) as db:
            db.execute("delete from features")
        self._db.execute("vacuum")
        self._db.execute("pragma wal_checkpoint(truncate)")
        return int(count)
