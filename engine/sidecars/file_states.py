"""Tell from the file system alone whether a photo or its sidecars changed since an earlier run.

A state is a digest of what `stat` says of a photo, of its raw companions, and of all files beside it that are or could
become its sidecars: a new `photo.xmp` beside a `photo.jpg.xmp` is a change, too. Size, modification time, status change
time and inode must all be the same. A program that sets the modification time back after an edit is noticed by the
status change time, and a file that was replaced by the inode. Where a drive gives files new inodes when it is mounted
(FAT, some network drives), photos are read again; that is slower, and never wrong.

A time of change can be as coarse as 2 s (FAT). A file that changed within that time before it was looked at may
change again without any of these values changing, as git says of "racily clean" entries. Therefore a state of such
files is trusted only together with a digest of their bytes (`FileState.hash_bytes`).
"""

import hashlib
import os
import time
from bisect import bisect_left
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from engine.core.files import open_regular
from engine.photos.discovery import FoundFile
from engine.sidecars.locate import Namer, Naming, caseless

SETTLED_NS = 3 * 10**9
"""A file that did not change for so long, in nanoseconds, cannot change again without its time of change showing it."""
_SIDECARS = (".xmp", ".json")
_FOLDERS = 8
"""Folder listings that are kept; photos come folder by folder."""
_CHUNK = 2**20


@dataclass(frozen=True)
class FileState:
    """What the file system says of a photo, its companions and its sidecars.

    folder: the real path of the photo's folder. digest: of all values; of_photos: of those of the photo and its
    companions. photos, sidecars: the files. unsettled: "" if no file changed less than `SETTLED_NS` before it was
    looked at, "sidecars" if only sidecars did, else "all".
    """

    folder: str
    digest: bytes
    of_photos: bytes
    photos: tuple[tuple[str, str], ...]
    sidecars: tuple[tuple[str, str], ...]
    unsettled: Literal["", "sidecars", "all"]

    def hash_bytes(self, *, with_photos: bool) -> bytes:
        """Return a digest of the bytes of the sidecars, and of the photos if asked for; b"" if one cannot be read.

        Its first byte tells which of the two it is.
        """
        digest = hashlib.blake2b(digest_size=15)
        try:
            for folder, name in (*self.sidecars, *(self.photos if with_photos else ())):
                with open_regular(Path(folder, name)) as descriptor:
                    digest.update(f"{name}\0{os.fstat(descriptor).st_size}\0".encode("utf-8", "surrogateescape"))
                    while chunk := os.read(descriptor, _CHUNK):
                        digest.update(chunk)
        except OSError:
            return b""
        return (ALL if with_photos else SIDECARS) + digest.digest()


ALL, SIDECARS = b"a", b"s"
"""First bytes of digests of bytes: of photo and sidecars, of the sidecars alone."""


class FileStates:
    """Looks at the files of folders; lists each folder once, when its first file is asked for."""

    def __init__(self, naming: Naming) -> None:
        self._folders: OrderedDict[str, _Folder] = OrderedDict()
        self._last = _Folder("\0")  # that is no folder
        self._namer = Namer(naming)
        self._apart = naming.folder is not None

    def of(self, file: FoundFile) -> FileState | None:
        """Return the state of a photo and its sidecars; None for a link, and for a file that is not where it was."""
        folder, name = os.path.split(file.path)
        beside = self._folder(folder)
        names = [name, *(c.name for c in file.companions)]
        if not all(map(beside.has_file, names)):
            return None
        look = _Look(time.time_ns() - SETTLED_NS)
        for photo in names:
            look.at(beside, photo, names)
            if self._apart:
                there = self._folder(os.fspath(self._namer.sidecar_folder(file.path.parent)))
                look.parts.append(there.path)
                look.at(there, photo, [])
        digest, of_photos = _digest(beside.absolute, *names, *look.parts), _digest(*look.of_photos)
        return FileState(beside.real, digest, of_photos, tuple(look.photos), tuple(look.sidecars), look.unsettled)

    def _folder(self, path: str) -> "_Folder":
        if path == self._last.path:
            return self._last
        self._last = self._folders[path] = folder = self._folders.pop(path, None) or _Folder(path)
        if len(self._folders) > _FOLDERS:
            self._folders.popitem(last=False)
        return folder


def _digest(*parts: str) -> bytes:
    text = "\0".join(parts)
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()


class _Folder:
    """The entries of a folder, by name; none if it cannot be listed."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            with os.scandir(path or ".") as entries:
                self.entries = {e.name: e for e in entries}
        except (OSError, ValueError):
            self.entries = {}

    @cached_property
    def real(self) -> str:
        """The path without links."""
        return os.path.realpath(self.path)

    @cached_property
    def absolute(self) -> str:
        """The path from the root."""
        return os.fspath(Path(self.path).absolute())

    @cached_property
    def _keys(self) -> list[tuple[str, str]]:
        """The caseless names with the names, sorted."""
        return sorted((caseless(name), name) for name in self.entries)

    def has_file(self, name: str) -> bool:
        """Whether there is a file of exactly this name that is no link."""
        entry = self.entries.get(name)
        return entry is not None and entry.is_file(follow_symlinks=False)

    def related(self, photo: str) -> list[str]:
        """Return the names that have the caseless name of a photo, without its ending, before a dot or at the end.

        All names by which `sidecars.locate` decides what a photo's sidecars are called are among them.
        """
        stem = caseless(os.path.splitext(photo)[0])
        ranges = ((stem, f"{stem}\0"), (f"{stem}.", f"{stem}/"))  # "/" follows "."
        keys = self._keys
        return [n for first, end in ranges for _, n in keys[bisect_left(keys, (first,)) : bisect_left(keys, (end,))]]


@dataclass
class _Look:
    """Collects what the file system says. settled: the latest time of change, in nanoseconds, that is long ago."""

    settled: int

    def __post_init__(self) -> None:
        self.parts: list[str] = []
        self.of_photos: list[str] = []
        self.photos: list[tuple[str, str]] = []
        self.sidecars: list[tuple[str, str]] = []
        self.unsettled: Literal["", "sidecars", "all"] = ""
        self._seen: set[tuple[str, str]] = set()

    def at(self, folder: _Folder, photo: str, files: list[str]) -> None:
        """Look at the names that are related to a photo, and into the status of the files and of sidecars."""
        for name in folder.related(photo):
            place = (folder.path, name)
            if place in self._seen:
                continue
            self._seen.add(place)
            self.parts.append(name)
            if name in files:
                self.photos.append(place)
                if self._changed_lately(folder.entries[name]):
                    self.unsettled = "all"
                self.of_photos += self.parts[-2:]
            elif name.lower().endswith(_SIDECARS):
                self.sidecars.append(place)
                if self._changed_lately(folder.entries[name]) and not self.unsettled:
                    self.unsettled = "sidecars"

    def _changed_lately(self, entry: "os.DirEntry[str]") -> bool:
        """Add the status of a file; return whether it changed after `settled`."""
        try:
            s = entry.stat()
        except OSError:  # a broken link
            self.parts.append("-")
            return False
        self.parts.append(f"{s.st_size} {s.st_mtime_ns} {s.st_ctime_ns} {s.st_ino}")
        return max(s.st_mtime_ns, s.st_ctime_ns) > self.settled
