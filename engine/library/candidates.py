"""The photos that a search by meaning can rank: those that fulfil a request, and that the encoder has seen."""

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.library.index import LibraryIndex
from engine.library.paths import real_path
from engine.library.search import SearchRequest, matching
from engine.library.stored import read_stored
from engine.store.known_contents import KnownContents
from engine.vision.photo_vectors import PhotoVectors

_ROWS = 50_000


@dataclass(frozen=True)
class Candidates:
    """Photos to rank.

    ids: (N,) of the photos in the index; -1, -2, … stand for the first, second, … of `bare`. positions: (N,) of their
    vectors. bare: paths of photos that scans know and the index does not, because they have no sidecars. present: names
    of the enrolled concepts, by id. indexed: photos in the index. unscanned: photos that fulfil the request but have no
    vector.
    """

    ids: np.ndarray
    positions: np.ndarray
    bare: Sequence[Path]
    present: Mapping[str, str]
    indexed: int
    unscanned: int


def find_candidates(
    index: LibraryIndex, request: SearchRequest, vectors: PhotoVectors, contents: KnownContents
) -> Candidates:
    """Find the photos to rank. contents: what scans know of files.

    Raises:
        DamagedVectorsError: the index or the vectors are damaged; the vectors are deleted then.
        StoreError: one of them is in use.
    """
    stored = read_stored(index.path.parent)
    with index.guarded() as db:
        indexed = db.execute("select count(*) from photos").fetchone()[0]
        source, values = matching(db, request, stored.ids)
    with _attached(db, vectors):
        rows = _fetch(db.execute(f"select photos.id, {_POSITION} {source}", values))
        if (rows[:, 1] < 0).any():
            _add_known(db, rows, contents)
        bare = _find_bare(db, request, contents) if _asks_for_no_words(request) else {}
    seen = rows[rows[:, 1] >= 0]
    ids = np.concatenate([seen[:, 0], -1 - np.arange(len(bare))])
    positions = np.concatenate([seen[:, 1], np.array(list(bare.values()), np.int64)])
    return Candidates(ids, positions, list(bare), stored.names, indexed, len(rows) - len(seen))


def _fetch(cursor: sqlite3.Cursor) -> np.ndarray:
    """Return all rows of two numbers: (N, 2) int64; only some are held as Python's numbers at a time."""
    parts = [np.empty((0, 2), np.int64)]
    while rows := cursor.fetchmany(_ROWS):
        parts.append(np.array(rows, np.int64))
    return np.concatenate(parts)


_POSITION = "coalesce((select position from vectors.photos as v where v.content_hash = photos.content_hash), -1)"


def _add_known(db: sqlite3.Connection, rows: np.ndarray, contents: KnownContents) -> None:
    """Fill in the positions of photos whose sidecars do not say their content hash, but which scans know."""
    number_of = {photo_id: k for k, photo_id in enumerate(rows[:, 0].tolist())}
    for photo_id, path in db.execute("select id, path from photos where content_hash = ''").fetchall():
        if photo_id in number_of:
            content = contents.content_hash(Path(os.fsdecode(path)))
            rows[number_of[photo_id], 1] = _position_of(db, content)


def _position_of(db: sqlite3.Connection, content_hash: str | None) -> int:
    row = db.execute("select position from vectors.photos where content_hash = ?", [content_hash]).fetchone()
    return -1 if row is None else int(row[0])


def _asks_for_no_words(request: SearchRequest) -> bool:
    """Return whether photos of which nothing is known but their paths fulfil a request."""
    conditions = (request.names, request.kinds, request.since, request.until, request.near)
    return not any(conditions) and all(t.excluded for t in request.terms)


_BARE = """
    select folder, name, content_hash, position from known.contents join vectors.photos using (content_hash)
    where not exists (select 1 from main.photos where path = cast(folder || x'2f' || name as blob))"""


def _find_bare(db: sqlite3.Connection, request: SearchRequest, contents: KnownContents) -> dict[Path, int]:
    """Return the positions of photos that scans know and the index does not, in the order of their paths."""
    folders = [Path(os.path.realpath(f)) for f in request.folders]
    found: dict[Path, int] = {}
    with contents.attached(db) as is_there:
        rows = db.execute(_BARE).fetchall() if is_there else []
    for folder, name, content, position in rows:
        path = Path(os.fsdecode(folder), os.fsdecode(name))
        real = real_path(path)
        if folders and not any(real.is_relative_to(f) for f in folders):
            continue
        if real != path and db.execute("select 1 from photos where path = ?", [os.fsencode(real)]).fetchone():
            continue  # it was scanned by way of a link
        if contents.content_hash(path) == content:  # it still looks as it did
            found[real] = position
    return dict(sorted(found.items()))


@contextmanager
def _attached(db: sqlite3.Connection, vectors: PhotoVectors) -> Iterator[None]:
    """Let the index see the positions of the vectors.

    Raises:
        DamagedVectorsError: one of the two is damaged; the vectors are deleted then.
        StoreError: one of the two is in use.
    """
    with vectors.guarded():
        vectors.attach_to(db)
        yield
        db.execute("detach database vectors")
