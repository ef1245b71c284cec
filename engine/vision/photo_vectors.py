"""One vector for each photo that an encoder has seen, in a file that is searched as a matrix.

The feature cache holds many features of a photo, each photo in a row of its own. For a search by meaning this is too
slow: the features of 100,000 photos are 6 GB. Therefore those of the whole photos are copied once into a matrix of
bfloat16 numbers, 2 kB a photo, which is read in blocks. Cosine similarities of 100,000 random vectors changed by 0.0002
at most (docs/decisions.md#search-by-meaning). Like the cache, it can be lost: the next search makes it again.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

import numpy as np

from engine.core.database import open_cache, transaction
from engine.core.errors import StoreError
from engine.vision.cache import DERIVED, FeatureCache

_TABLES = (
    "create table if not exists photos (content_hash text primary key, position integer not null) without rowid",
    "create table if not exists state (key text primary key, value text not null) without rowid",
    "create table if not exists texts (number integer primary key, digest blob not null unique, vector blob not null)",
)
_COPIED = 1_000
"""Photos that are copied in one transaction."""
_BLOCK = 4_096
"""Photos whose similarities are computed at a time, in 24 MB of memory with 1,024 numbers each."""
_TEXTS = 1_000
"""Texts whose vectors are kept, the latest."""


class DamagedVectorsError(StoreError):
    """The files were damaged, and are deleted: the next `PhotoVectors.update` makes them again."""


class PhotoVectors:
    """The vectors of whole photos under one encoder, and those of the texts that were searched for."""

    def __init__(self, folder: Path, cached_ids: Sequence[str]) -> None:
        """Use the folder of the feature cache; no file is created before the first `update` or `keep_text`.

        cached_ids: the ids under which features of the encoder are cached; the first tells encoders apart.
        """
        self._ids = tuple(cached_ids)
        name = blake2b(self._ids[0].encode(), digest_size=8).hexdigest()
        self.path = folder / f"{DERIVED}{name}.db"
        self._matrix = folder / f"{DERIVED}{name}.bf16"

    @cached_property
    def _db(self) -> sqlite3.Connection:
        """The database; a damaged one is deleted and made anew.

        Raises:
            StoreError: it cannot be read or written.
        """
        try:
            return self._open()
        except StoreError as err:
            if isinstance(err.__cause__, sqlite3.OperationalError | OSError):
                raise
            self.delete()
            return self._open()

    def _open(self) -> sqlite3.Connection:
        db = open_cache(self.path, _TABLES[0])
        for table in _TABLES[1:]:
            db.execute(table)
        return db

    def close(self) -> None:
        """Close the database, if it was opened."""
        if "_db" in self.__dict__:
            self.__dict__.pop("_db").close()

    def delete(self) -> None:
        """Delete the files; the next `update` makes them again."""
        self.close()
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self._matrix.unlink(missing_ok=True)

    def update(self, cache: FeatureCache, step: Callable[[int], None] = lambda copied: None) -> None:
        """Copy what was cached since the last update; damaged files are made anew. step: called with the number of
        photos that were copied.

        Raises:
            StoreError: the files cannot be written.
        """
        try:
            with self.guarded():
                self._update(cache, step)
        except DamagedVectorsError:
            with self.guarded():
                self._update(cache, step)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Delete the files if they turn out to be damaged.

        Raises:
            DamagedVectorsError: they were.
            StoreError: another process holds them.
        """
        try:
            yield
        except sqlite3.OperationalError as err:
            raise StoreError(f"{self.path} cannot be used: {err}", hint="Try again.") from err
        except sqlite3.DatabaseError as err:
            raise self._damaged(self.path, err) from err

    def _damaged(self, path: Path, err: Exception) -> DamagedVectorsError:
        self.delete()
        return DamagedVectorsError(f"{path} was damaged: {err}", hint="It was deleted. Try again.")

    def _update(self, cache: FeatureCache, step: Callable[[int], None]) -> None:
        newest = cache.newest()
        if not newest[0]:
            return
        if self._size() < 2 * self._count() * self._width():  # the matrix was lost
            self.delete()
        if not cache.is_entry(*self._last()):  # the cache was made anew, or the entry was stored again
            self._note("last", "0 ")
        after = self._last()[0]
        while after < newest[0]:
            entries = cache.stored_between(self._ids, after, newest[0], _COPIED)
            after = entries[-1][0] if len(entries) == _COPIED else newest[0]
            self._append(cache, entries)
            step(len(entries))
        self._note("last", f"{newest[0]} {newest[1]} {newest[2]}")

    def _append(self, cache: FeatureCache, entries: Sequence[tuple[int, str]]) -> None:
        """Add the photos of some entries of the cache that are not there yet."""
        with transaction(self._db, self.path) as db:
            new: dict[str, np.ndarray] = {}
            for number, content in entries:
                known = db.execute("select 1 from photos where content_hash = ?", [content]).fetchone()
                if known is None and content not in new and (row := cache.first_row(number, "features")) is not None:
                    new[content] = row
            if not new:
                return
            count = self._count()
            vectors = to_bfloat16(np.stack(list(new.values())))  # (N, D)
            self._write(vectors, at=2 * count * vectors.shape[1])
            db.executemany("insert into photos values (?, ?)", zip(new, range(count, count + len(new)), strict=True))
            sizes = [("count", str(count + len(new))), ("width", str(vectors.shape[1]))]
            db.executemany("insert or replace into state values (?, ?)", sizes)

    def _write(self, vectors: np.ndarray, *, at: int) -> None:
        """Write rows of the matrix to the disk, before the database says that they are there."""
        try:
            descriptor = os.open(self._matrix, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as f:
                f.seek(at)
                f.write(vectors.tobytes())
                f.flush()
                os.fsync(f.fileno())
        except OSError as err:
            raise StoreError(f"{self._matrix} cannot be written: {err.strerror}", hint="Is the disk full?") from err

    def attach_to(self, db: sqlite3.Connection) -> None:
        """Let a database see the table `vectors.photos`: content_hash, and position in the matrix."""
        _ = self._db  # it is there
        db.execute("attach database ? as vectors", [os.fspath(self.path)])

    def likeness(self, positions: np.ndarray, vector: np.ndarray) -> np.ndarray:
        """Return the cosine similarities of photos to a vector (D,) of unit length: (N,) float32 in -1..1.

        positions: (N,) of the photos in the matrix.

        Raises:
            DamagedVectorsError: the matrix is shorter than the database says, or not there.
        """
        try:
            with self.guarded():
                return self._likeness(positions, vector)
        except (ValueError, IndexError, OSError) as err:
            raise self._damaged(self._matrix, err) from err

    def _likeness(self, positions: np.ndarray, vector: np.ndarray) -> np.ndarray:
        scores = np.empty(len(positions), np.float32)
        if not len(positions):
            return scores
        matrix = np.memmap(self._matrix, "<u2", "r", shape=(self._count(), self._width()))
        order = np.argsort(positions, kind="stable")  # the file is read from its beginning to its end
        block = np.empty((_BLOCK, len(vector)), np.uint32)
        for start in range(0, len(order), _BLOCK):
            rows = order[start : start + _BLOCK]
            widened = block[: len(rows)]  # (B, D)
            np.left_shift(matrix[positions[rows]], 16, out=widened, dtype=np.uint32)
            scores[rows] = widened.view(np.float32) @ vector
        return scores

    def text(self, text: str) -> np.ndarray | None:
        """Return the vector of a text that was searched for before: (D,) float32; None for any other.

        Raises:
            DamagedVectorsError: the database was damaged.
        """
        if not self.path.exists():
            return None
        with self.guarded():
            row = self._db.execute("select vector from texts where digest = ?", [_digest(text)]).fetchone()
        return np.frombuffer(row[0], "<f4") if row else None

    def keep_text(self, text: str, vector: np.ndarray) -> None:
        """Keep the vector of a text; of the text itself only a digest is stored.

        Raises:
            DamagedVectorsError: the database was damaged.
        """
        with self.guarded(), transaction(self._db, self.path) as db:
            values = [_digest(text), vector.astype("<f4").tobytes()]
            db.execute("insert or ignore into texts (digest, vector) values (?, ?)", values)
            db.execute("delete from texts where number <= (select max(number) from texts) - ?", [_TEXTS])

    def _size(self) -> int:
        return self._matrix.stat().st_size if self._matrix.exists() else 0

    def _count(self) -> int:
        return int(self._state("count") or 0)

    def _width(self) -> int:
        return int(self._state("width") or 0)

    def _last(self) -> tuple[int, str, str]:
        """Return the entry of the cache up to which all are copied, as of `FeatureCache.newest`."""
        number, _, rest = (self._state("last") or "0 ").partition(" ")
        content, _, model = rest.partition(" ")
        return int(number), content, model

    def _state(self, key: str) -> str | None:
        row = self._db.execute("select value from state where key = ?", [key]).fetchone()
        return row[0] if row else None

    def _note(self, key: str, value: str) -> None:
        with transaction(self._db, self.path) as db:
            db.execute("insert or replace into state values (?, ?)", [key, value])


def to_bfloat16(vectors: np.ndarray) -> np.ndarray:
    """Round finite float32 numbers to bfloat16, ties to even: the upper halves of their bits, as uint16."""
    bits = np.ascontiguousarray(vectors, "<f4").view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()
