"""The index: one row for each photo with sidecars, in a SQLite file of its own beside the concept store.

Everything in it can be read from sidecars again, so a damaged or older file is deleted and begun anew.
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType

from engine.core.database import open_cache, transaction
from engine.core.errors import StoreError
from engine.library.paths import pack_paths
from engine.library.text import fold_name, searchable, storable

FILE = "library.db"
_VERSION = 2
_BETWEEN_NAMES = " \ue000 "
"""A private character, which the tokenizer takes for a word: a phrase never spans two names."""
_SCHEMA = """
    create table photos (
        id integer primary key, path blob not null unique, caption text not null, author text not null,
        names text not null, taken text, latitude real, longitude real, content_hash text not null,
        sidecars text not null, stamp text not null);
    create table names (
        photo integer not null, key text not null, name text not null, kind text not null, concept text not null,
        primary key (photo, key)) without rowid;
    create index names_by_key on names (key);
    create index names_by_concept on names (concept);
    create index names_by_kind on names (kind);
    create table suggestions (photo integer not null, concept text not null, primary key (photo, concept))
        without rowid;
    create table failures (path blob primary key, reason text not null) without rowid;
    create virtual table words using fts5 (names, caption, concepts, tokenize = 'unicode61 remove_diacritics 2');
"""
"""`words` holds folded texts; its rowid is the photo's id. concepts: hexadecimal ids, each one word."""


@dataclass(frozen=True)
class IndexedName:
    """A name in the sidecars of a photo: of a concept, a person or pet in a region, or a keyword.

    kind: person, pet or thing, "" if the sidecars do not say. concept_id: "" unless myvlm recognised it.
    """

    name: str
    kind: str = ""
    concept_id: str = ""


@dataclass(frozen=True)
class IndexedPhoto:
    """What the sidecars of a photo say.

    author: who wrote the caption, "myvlm" or "human"; "" without one. taken: ISO 8601, by the camera's clock. place:
    (latitude, longitude) in degrees. sidecars: those that exist. stamp: state of the files before they were read.
    suggestions: ids of the concepts that are suggested; None if that is not known, so that those known earlier stay.
    """

    path: Path
    caption: str
    author: str
    names: tuple[IndexedName, ...]
    taken: str | None
    place: tuple[float, float] | None
    content_hash: str
    sidecars: tuple[Path, ...]
    stamp: str
    suggestions: tuple[str, ...] | None = None


@dataclass
class IndexUpdate:
    """A change to the index.

    photos: rows to insert or replace. absent: photos whose rows are removed. suggestions: ids of suggested concepts of
    photos whose rows stay. asked: ids of the concepts of which it is known whether they are suggested. failures: why
    photos failed. succeeded: photos that no longer fail.
    """

    photos: list[IndexedPhoto] = field(default_factory=list)
    absent: list[Path] = field(default_factory=list)
    suggestions: dict[Path, tuple[str, ...]] = field(default_factory=dict)
    asked: tuple[str, ...] = ()
    failures: dict[Path, str] = field(default_factory=dict)
    succeeded: list[Path] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.photos or self.absent or self.suggestions or self.failures or self.succeeded)


class LibraryIndex:
    """Reads and writes the index of a data folder."""

    def __init__(self, folder: Path, *, create: bool = True) -> None:
        """Use a data folder; no file is created before it is needed, and with `create=False` never: a missing index is
        empty then, and what is written to it is lost.
        """
        self.path = folder / FILE
        self._in_memory = not create and not self.path.exists()

    def __enter__(self) -> "LibraryIndex":
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @cached_property
    def db(self) -> sqlite3.Connection:
        """The database, created if it is missing or of another version; a damaged one is deleted.

        Raises:
            StoreLockedError: another process holds it.
            StoreError: it was damaged, or cannot be read or written.
        """
        try:
            return self._open()
        except StoreError as err:
            if _is_damaged(err.__cause__):
                raise self._damaged(err.__cause__) from err
            raise

    def _open(self) -> sqlite3.Connection:
        if self._in_memory:
            connection = sqlite3.connect(":memory:", isolation_level=None)
            _create(connection)
            return connection
        connection = open_cache(self.path, "pragma synchronous = normal")  # a power cut may cost the last rows
        if _version(connection) not in (0, _VERSION):
            connection.close()
            self.delete()
            connection = open_cache(self.path, "pragma synchronous = normal")
        if _version(connection) == 0:
            with transaction(connection, self.path) as db:
                if _version(db) == 0:  # not created by another process meanwhile
                    _create(db)
        return connection

    def delete(self) -> None:
        """Delete the file; `--reindex` rebuilds it.

        Raises:
            StoreError: it cannot be deleted.
        """
        self.close()
        try:
            for suffix in ("", "-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        except OSError as err:
            raise StoreError(f"the search index {self.path} cannot be deleted: {err.strerror}") from err

    def close(self) -> None:
        """Close the database, if it was opened."""
        if "db" in self.__dict__:
            self.__dict__.pop("db").close()

    @contextmanager
    def guarded(self) -> Iterator[sqlite3.Connection]:
        """Yield the database; a damaged one is deleted.

        Raises:
            StoreError: it is damaged, in use, or cannot be written.
        """
        try:
            yield self.db
        except sqlite3.OperationalError as err:
            raise StoreError(f"the search index {self.path} cannot be used: {err}", hint="Try again.") from err
        except sqlite3.DatabaseError as err:
            raise self._damaged(err) from err

    def _damaged(self, err: BaseException | None) -> StoreError:
        """Delete the file, and return the error that says so."""
        self.delete()
        hint = "It was deleted. To rebuild it: myvlm search --reindex FOLDER"
        return StoreError(f"the search index {self.path} was damaged: {err}", hint=hint)

    def known(self, paths: Iterable[Path]) -> tuple[dict[Path, str], dict[Path, str]]:
        """Return the stamps of those photos that are in the index, and why those failed that failed last time."""
        queries = ("select stamp from photos where path = ?", "select reason from failures where path = ?")
        stamps, failures = dict[Path, str](), dict[Path, str]()
        with self.guarded() as db:
            for path in paths:
                for query, values in zip(queries, (stamps, failures), strict=True):
                    row = db.execute(query, [os.fsencode(path)]).fetchone()
                    if row:
                        values[path] = row[0]
        return stamps, failures

    def write(self, update: IndexUpdate) -> None:
        """Make one change, all or nothing."""
        if update.is_empty:
            return
        with self.guarded(), transaction(self.db, self.path) as db:
            for photo in update.photos:
                _write_photo(db, photo, update.asked)
            for path in update.absent:
                _remove_photo(db, path)
            for path, concept_ids in update.suggestions.items():
                _write_suggestions(db, _id_of(db, path), concept_ids, update.asked)
            ended = [(os.fsencode(p),) for p in (*update.succeeded, *update.absent)]
            db.executemany("delete from failures where path = ?", ended)
            failures = [(os.fsencode(p), _shown(reason)) for p, reason in update.failures.items()]
            db.executemany("insert or replace into failures values (?, ?)", failures)

    def erase(self) -> None:
        """Leave nothing of deleted rows in the file."""
        with self.guarded() as db:
            db.execute("insert into words(words) values ('optimize')")
            db.execute("vacuum")
            db.execute("pragma wal_checkpoint(truncate)")


def _is_damaged(err: BaseException | None) -> bool:
    """Return whether an error says that a file is no database; others come from locks, disks and permissions."""
    return isinstance(err, sqlite3.DatabaseError) and not isinstance(err, sqlite3.OperationalError)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("pragma user_version").fetchone()[0])


def _create(db: sqlite3.Connection) -> None:
    for statement in filter(str.strip, _SCHEMA.split(";")):
        db.execute(statement)
    db.execute(f"pragma user_version = {_VERSION}")


def _shown(reason: str) -> str:
    """Return a reason as it is printed: bytes of a path that are not UTF-8 as escapes."""
    return reason.encode("utf-8", "backslashreplace").decode()


def _id_of(db: sqlite3.Connection, path: Path) -> int | None:
    row = db.execute("select id from photos where path = ?", [os.fsencode(path)]).fetchone()
    return row[0] if row else None


def _write_photo(db: sqlite3.Connection, photo: IndexedPhoto, asked: Sequence[str]) -> None:
    """Insert or replace a row; its id stays."""
    known = _id_of(db, photo.path)
    if known is not None:
        _remove_texts(db, known)
    names = json.dumps([[n.name, n.kind, storable(n.concept_id)] for n in photo.names])
    place = photo.place or (None, None)
    values = [storable(photo.caption), photo.author, names, photo.taken, *place, storable(photo.content_hash)]
    values += [pack_paths(photo.sidecars), photo.stamp]
    marks = ", ".join("?" * (2 + len(values)))
    done = db.execute(f"insert or replace into photos values ({marks})", [known, os.fsencode(photo.path), *values])
    number = known if known is not None else done.lastrowid
    rows = [(number, fold_name(n.name), storable(n.name), n.kind, storable(n.concept_id)) for n in photo.names]
    db.executemany("insert or ignore into names values (?, ?, ?, ?, ?)", rows)
    texts = [_BETWEEN_NAMES.join(searchable(n.name) for n in photo.names), searchable(photo.caption)]
    concepts = " ".join(concept_word(n.concept_id) for n in photo.names if n.concept_id)
    db.execute("insert into words (rowid, names, caption, concepts) values (?, ?, ?, ?)", [number, *texts, concepts])
    if photo.suggestions is not None:
        _write_suggestions(db, number, photo.suggestions, asked)


def _write_suggestions(
    db: sqlite3.Connection, number: int | None, concept_ids: Sequence[str], asked: Sequence[str]
) -> None:
    """Replace the suggestions of the concepts that were asked for."""
    if number is not None:
        gone = "delete from suggestions where photo = ? and concept in (select value from json_each(?))"
        db.execute(gone, [number, json.dumps(asked)])
        db.executemany("insert or ignore into suggestions values (?, ?)", [(number, c) for c in concept_ids])


def _remove_photo(db: sqlite3.Connection, path: Path) -> None:
    number = _id_of(db, path)
    if number is not None:
        _remove_texts(db, number)
        db.execute("delete from suggestions where photo = ?", [number])
        db.execute("delete from photos where id = ?", [number])


def _remove_texts(db: sqlite3.Connection, number: int) -> None:
    db.execute("delete from names where photo = ?", [number])
    db.execute("delete from words where rowid = ?", [number])


def concept_word(concept_id: str) -> str:
    """Return a concept's id as one word of the index, whatever characters it has."""
    return concept_id.encode("utf-8", "replace").hex()
