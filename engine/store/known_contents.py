"""Content hashes of photos that look as they did when they were hashed, so that they need not be read again."""

import os
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.core.stamps import RACY_NS, Stamp, stamp_of
from engine.photos.photo_file import PhotoFile, UnreadPhoto, read_photo
from engine.store.cache_file import CONTENTS, CacheFile

_SCHEMA = (
    "create table if not exists contents (folder blob not null, name blob not null, size integer not null, mtime_ns"
    " integer not null, ctime_ns integer not null, inode integer not null, content_hash text not null,"
    " primary key (folder, name)) without rowid"
)
_QUERY = "select name, size, mtime_ns, ctime_ns, inode, content_hash from contents where folder = ?"
_KEPT = 8
"""Folders that are kept in memory; photos come folder by folder."""
_WRITTEN = 500
"""Photos that are written at a time."""


class KnownContents:
    """A table by path. Several threads may use it. Without a folder it knows nothing, and every photo is read."""

    def __init__(self, folder: Path | None) -> None:
        """Use a folder for caches. Call `flush` at the end."""
        self._file = None if folder is None else CacheFile(folder, CONTENTS, (_SCHEMA,))
        self._folders: OrderedDict[str, dict[str, tuple[Stamp, str]]] = OrderedDict()
        self._new: list[tuple[object, ...]] = []
        self._lock = threading.Lock()

    def content_hash(self, path: Path) -> str | None:
        """Return the content hash of a photo that looks as it did; None where it is not known."""
        if self._file is None:
            return None
        place, stamp = path.absolute(), stamp_of(path)
        with self._lock:
            known = self._folder(str(place.parent)).get(place.name)
        return known[1] if known is not None and known[0] == stamp else None

    @contextmanager
    def attached(self, db: sqlite3.Connection) -> Iterator[bool]:
        """Let a database see the table `known.contents`: folder, name, content_hash, …; yield whether there is one.

        Files may have changed since. If an error of the database is raised, the file is deleted if it is damaged.
        """
        if self._file is None or not self._file.attach_to(db, "known"):
            yield False
            return
        try:
            yield True
        except sqlite3.DatabaseError:
            self._file.check()
            raise
        db.execute("detach database known")

    def open(self, path: Path) -> PhotoFile | UnreadPhoto:
        """Return a photo: not read if its content hash is known, else read and hashed.

        Raises:
            PhotoError: as `read_photo`.
        """
        known = self.content_hash(path)
        return self.read(path) if known is None else UnreadPhoto(path, known)

    def read(self, path: Path) -> PhotoFile:
        """Read and hash a photo, and keep its content hash.

        Raises:
            PhotoError: as `read_photo`.
        """
        now, stamp = time.time_ns(), stamp_of(path)  # before it is read
        file = read_photo(path)
        if self._file is not None and stamp is not None and stamp.mtime_ns < now - RACY_NS:
            place = path.absolute()
            row = (os.fsencode(place.parent), os.fsencode(place.name), *_columns(stamp), file.content_hash)
            with self._lock:
                self._new.append(row)
                if len(self._new) >= _WRITTEN:
                    self._write()
        return file

    def flush(self) -> None:
        """Write what is new."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        if self._new and self._file is not None:
            self._file.write("insert or replace into contents values (?, ?, ?, ?, ?, ?, ?)", self._new)
        self._new = []

    def _folder(self, folder: str) -> dict[str, tuple[Stamp, str]]:
        known = self._folders.pop(folder, None)
        if known is None:
            rows = self._file.read(_QUERY, os.fsencode(folder)) if self._file is not None else []
            known = {
                os.fsdecode(name): (Stamp(size, mtime_ns, ctime_ns, inode), content_hash)
                for name, size, mtime_ns, ctime_ns, inode, content_hash in rows
            }
        self._folders[folder] = known
        if len(self._folders) > _KEPT:
            self._folders.popitem(last=False)
        return known


def _columns(stamp: Stamp) -> tuple[int, int, int, int]:
    return stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.inode
