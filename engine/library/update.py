"""Keep the index up to date: as sidecars are written, and from the sidecars of folders."""

import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.core.batches import batched
from engine.core.errors import EngineError, SidecarError, StoreError
from engine.library.index import IndexedPhoto, IndexUpdate, LibraryIndex
from engine.library.paths import BELOW, bounds, real_path, real_paths, stamp_of, unpack_paths
from engine.library.read import read_indexed
from engine.photos.discovery import FoundFile
from engine.sidecars.locate import JSON_ENDING, Namer, SidecarPaths
from engine.sidecars.name_search import NameSearch
from engine.store.cache_file import forget_files

_BATCH = 256
"""Photos in a transaction, so that a run that captions meanwhile waits for a fraction of a second at most."""


@dataclass(frozen=True)
class PhotoFiles:
    """A photo with its sidecars that exist.

    suggestions: ids of the concepts that are suggested; None if that is not known. failure: why the photo failed; its
    row stays as it is then.
    """

    path: Path
    sidecars: tuple[Path, ...]
    suggestions: tuple[str, ...] | None = None
    failure: str = ""


@dataclass
class Changes:
    """What an update did.

    read, unchanged, removed: rows that were read anew, stayed, or were removed. without: photos without sidecars.
    failed: photos whose sidecars cannot be read, with the reasons. found: real paths of all photos.
    """

    read: int = 0
    unchanged: int = 0
    removed: int = 0
    without: int = 0
    failed: dict[Path, str] = field(default_factory=dict)
    found: set[bytes] = field(default_factory=set)


def index_photos(index: LibraryIndex, photos: Sequence[PhotoFiles], asked: Collection[str] = ()) -> str:
    """Index some photos whose sidecars were just written or are up to date.

    asked: ids of the concepts of which it is known whether they are suggested; suggestions of others stay. Returns why
    it failed, "" if it did not: a caption is never lost because of the index.
    """
    try:
        _update(index, photos, Changes(), asked, captioned=True)
    except (EngineError, OSError, ValueError) as err:
        return str(err)
    return ""


def _update(
    index: LibraryIndex,
    photos: Sequence[PhotoFiles],
    changes: Changes,
    asked: Collection[str] = (),
    *,
    captioned: bool = False,
) -> None:
    """Read the sidecars that changed, and write the rows of these photos in one transaction.

    captioned: the photos were just captioned, so that those that did not fail no longer count as failed; otherwise only
    those whose sidecars changed.
    """
    photos = [_with_real_paths(p) for p in photos]
    known, failed_before = index.known(p.path for p in photos)
    update = IndexUpdate(asked=tuple(asked))
    for photo in photos:
        if photo.failure:
            update.failures[photo.path] = photo.failure
        elif not photo.sidecars:
            changes.without += 1
            update.absent.append(photo.path)
        else:
            _update_one(photo, known.get(photo.path), update, changes)
    update.absent = [p for p in update.absent if p in known]
    fine = {p.path for p in photos if not p.failure} if captioned else {row.path for row in update.photos}
    update.succeeded = [p for p in failed_before if p in fine and p not in update.failures]
    changes.removed += len(update.absent)
    index.write(update)


def _with_real_paths(photo: PhotoFiles) -> PhotoFiles:
    path, *sidecars = real_paths((photo.path, *photo.sidecars))
    return replace(photo, path=path, sidecars=tuple(sidecars))


def _update_one(photo: PhotoFiles, known_stamp: str | None, update: IndexUpdate, changes: Changes) -> None:
    """Read the sidecars of a photo unless they are as they were indexed."""
    stamp = stamp_of((photo.path, *photo.sidecars))
    if known_stamp == stamp:
        changes.unchanged += 1
        if photo.suggestions is not None:
            update.suggestions[photo.path] = photo.suggestions
        return
    try:
        row = read_indexed(photo.path, photo.sidecars, stamp)
    except SidecarError as err:
        update.failures[photo.path] = changes.failed[photo.path] = str(err)
        update.absent.append(photo.path)
    else:
        changes.read += 1
        update.photos.append(replace(row, suggestions=photo.suggestions))


def update_index(
    index: LibraryIndex,
    files: Iterable[FoundFile],
    namer: Namer,
    *,
    folders: Sequence[Path] = (),
    step: Callable[[], None] = lambda: None,
) -> Changes:
    """Read the sidecars of photos that changed since they were indexed; no photo is decoded.

    folders: whose rows are removed if their photos do not exist any more. step: called for each photo.

    Raises:
        StoreError: the index cannot be written.
    """
    changes = Changes()
    stills = (p for f in files if f.kind == "photo" for p in (f.path, *f.companions))
    for batch in batched(stills, _BATCH):
        photos = []
        for path in batch:
            step()
            changes.found.add(os.fsencode(real_path(path)))
            try:
                photos.append(PhotoFiles(path, existing(namer.find(path))))
            except SidecarError as err:
                changes.failed[path] = str(err)
        _update(index, photos, changes)
    known = {p for folder in folders for p in indexed_below(index, folder) if os.fsencode(p) not in changes.found}
    gone = sorted(p for p in known if not os.path.lexists(p))
    if gone:
        index.write(IndexUpdate(absent=gone))
        changes.removed += len(gone)
        forget_files(index.path.parent / "cache")  # if they come back, the next run looks at them and indexes them
    return changes


def existing(paths: SidecarPaths) -> tuple[Path, ...]:
    """Return the sidecars of a photo that exist: the one from which a new one starts counts as well."""
    xmp = next((p for p in (paths.xmp, paths.source) if p is not None and p.exists()), None)
    return (*((xmp,) if xmp else ()), *((paths.json,) if paths.json.exists() else ()))


def indexed_below(index: LibraryIndex, folder: Path) -> list[Path]:
    """Return the photos that the index knows in a folder or below it, also those that failed."""
    query = f"select path from photos where {BELOW} union select path from failures where {BELOW}"
    with index.guarded() as db:
        rows = db.execute(query, [*bounds(folder), *bounds(folder)]).fetchall()
    return [Path(os.fsdecode(row[0])) for row in rows]


def index_undone(folder: Path, written: Mapping[Path, Sequence[Path]]) -> str:
    """Index photos whose sidecars were restored or deleted, by photo; returns why it failed, as `index_photos`."""
    index = LibraryIndex(folder)
    if not index.path.exists():
        return ""
    with index:
        try:
            photos = [PhotoFiles(p, _still_there(index, p, sidecars)) for p, sidecars in written.items()]
        except StoreError as err:
            return str(err)
        return index_photos(index, photos)


def _still_there(index: LibraryIndex, photo: Path, written: Sequence[Path]) -> tuple[Path, ...]:
    """Return the sidecars of a photo that exist, of those that the index knows and of those that were written."""
    with index.guarded() as db:
        row = db.execute("select sidecars from photos where path = ?", [os.fsencode(real_path(photo))]).fetchone()
    paths = dict.fromkeys((*(unpack_paths(row[0]) if row else ()), *written))
    return tuple(sorted((p for p in paths if p.exists()), key=lambda p: p.name.endswith(JSON_ENDING)))


def forget_in_index(folder: Path, sought: NameSearch, identifies: Callable[[Path], bool]) -> None:
    """Remove the rows that name a concept, and read those of photos whose sidecars do not name it any more.

    identifies: tells of a path whether it would give the concept away, such as that of a photo with a decision about
    it. The rows of such photos come back with the next run.

    Raises:
        StoreError: the index is in use.
    """
    index = LibraryIndex(folder)
    if not index.path.exists():
        return
    with index:
        with index.guarded() as db:
            rows = db.execute("select id, path, sidecars, caption from photos").fetchall()
            names = _names_by_photo(db)
            failures = [(Path(os.fsdecode(path)), reason) for path, reason in db.execute("select * from failures")]
            suggested = _suggested(db, sought.ids)
        failed = [p for p, why in failures if identifies(p) or sought.in_path(p) or sought.in_text(why)]
        named = [
            (number, Path(os.fsdecode(path)), unpack_paths(sidecars))
            for number, path, sidecars, caption in rows
            if _names(sought, Path(os.fsdecode(path)), caption, names.get(number, []))
            or identifies(Path(os.fsdecode(path)))
        ]
        index.write(IndexUpdate(absent=[path for _, path, _ in named], succeeded=failed))
        kept = [(number, _read_again(sought, path, files)) for number, path, files in named if not identifies(path)]
        index.write(IndexUpdate([replace(r, suggestions=suggested.get(n, ())) for n, r in kept if r is not None]))
        index.erase()


def _suggested(db: sqlite3.Connection, forgotten: Collection[str]) -> dict[int, tuple[str, ...]]:
    """Return the ids of the suggested concepts of all photos, without those that are forgotten."""
    suggested: dict[int, tuple[str, ...]] = {}
    for photo, concept in db.execute("select photo, concept from suggestions"):
        if concept not in forgotten:
            suggested[photo] = (*suggested.get(photo, ()), concept)
    return suggested


_Names = list[tuple[str, str]]


def _names_by_photo(db: sqlite3.Connection) -> dict[int, _Names]:
    """Return the names and concept ids of all photos; suggestions count as names."""
    names: dict[int, _Names] = {}
    query = "select photo, name, concept from names union all select photo, '', concept from suggestions"
    for photo, name, concept in db.execute(query):
        names.setdefault(photo, []).append((name, concept))
    return names


def _names(sought: NameSearch, path: Path, caption: str, names: Iterable[tuple[str, str]]) -> bool:
    known = list(names)
    if any(concept in sought.ids for _, concept in known) or sought.in_path(path):
        return True
    return any(map(sought.in_text, (caption, *(name for name, _ in known))))


def _read_again(sought: NameSearch, path: Path, sidecars: Sequence[Path]) -> IndexedPhoto | None:
    """Read a photo's sidecars; None where there are none, or where they still name the concept."""
    there = tuple(p for p in sidecars if p.exists())
    try:
        row = read_indexed(path, there, stamp_of((path, *there))) if there else None
    except SidecarError:
        return None
    named = row is None or _names(sought, path, row.caption, ((n.name, n.concept_id) for n in row.names))
    return None if named else row
