"""Summarise a library from the index: photos by name, suggestions that wait, failures, faces without a name."""

import math
import os
import sqlite3
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from engine.library.index import LibraryIndex
from engine.library.paths import BELOW, bounds
from engine.library.stored import Stored
from engine.library.text import fold_name

if TYPE_CHECKING:
    from engine.sidecars.journal import Run

_TRUNCATED = 1.0
"""Seconds by which a file that a run wrote may be newer than the end of the run, which is recorded in whole seconds."""


@dataclass(frozen=True)
class NameCount:
    """How many photos have a name of a person, pet or thing."""

    name: str
    kind: str
    photos: int


@dataclass(frozen=True)
class LibrarySummary:
    """What the sidecars of some photos say. Numbers are of photos, RAW companions included.

    captions: with a caption or description; by_people: of these, not written by myvlm. named: with the name of a
    person, pet or thing. names: most frequent first. suggestions: that wait for a decision. failed: photos that failed
    when they were last captioned, with the reasons.
    """

    captions: int = 0
    by_people: int = 0
    named: int = 0
    names: tuple[NameCount, ...] = ()
    suggestions: int = 0
    failed: tuple[tuple[Path, str], ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell."""
        return not (self.captions or self.named or self.suggestions or self.failed)


def summarise(
    index: LibraryIndex,
    stored: Stored,
    *,
    folder: Path | None = None,
    photos: Collection[bytes] = (),
) -> LibrarySummary:
    """Summarise the photos of a folder and those below it, or some photos by their real paths.

    stored: suggestions of concepts that are not enrolled, and those that the user decided about, are left out; names
    are those that concepts have now.

    Raises:
        StoreError: the index is damaged or in use.
    """
    with index.guarded() as db:
        choose(db, folder, photos)
        captions, by_people = db.execute(
            "select count(*), coalesce(sum(author = 'human'), 0) from photos join chosen using (path)"
            " where caption != ''"
        ).fetchone()
        named = db.execute(
            "select count(distinct photo) from names join photos on photos.id = photo join chosen using (path)"
            " where kind != ''"
        ).fetchone()[0]
        failed = db.execute("select path, reason from failures join chosen using (path) order by path").fetchall()
        waiting = _suggestions(db, stored.names) - stored.decided
        names = _names(db, stored.names)
    failures = tuple((Path(os.fsdecode(path)), reason) for path, reason in failed)
    return LibrarySummary(captions, by_people, named, names, len(waiting), failures)


def choose(db: sqlite3.Connection, folder: Path | None, photos: Collection[bytes]) -> None:
    """Fill the temporary table `chosen` with the paths of the photos to summarise."""
    db.execute("create temporary table if not exists chosen (path blob primary key) without rowid")
    db.execute("delete from chosen")
    if folder is not None:
        for table in ("photos", "failures"):
            db.execute(f"insert or ignore into chosen select path from {table} where {BELOW}", bounds(folder))
    db.executemany("insert or ignore into chosen values (?)", [(p,) for p in photos])


def _names(db: sqlite3.Connection, present: Mapping[str, str]) -> tuple[NameCount, ...]:
    """Count the photos with each name; a concept counts under its present name."""
    rows = db.execute(
        "select concept, min(name), kind, count(*) from names join photos on photos.id = photo join chosen using (path)"
        " where kind != '' group by case concept when '' then key else concept end, kind"
    )
    counts, first = Counter[tuple[str, str]](), dict[tuple[str, str], str]()
    for concept_id, name, kind, number in rows:
        name = present.get(concept_id, name)
        key = (fold_name(name), kind)
        first.setdefault(key, name)
        counts[key] += number
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(NameCount(first[key], key[1], number) for key, number in ordered)


def _suggestions(db: sqlite3.Connection, present: Mapping[str, str]) -> set[tuple[str, str]]:
    """Return the suggestions of enrolled concepts, by concept id and content hash."""
    rows = db.execute(
        "select concept, content_hash from suggestions join photos on photos.id = photo join chosen using (path)"
    )
    return {(concept, content) for concept, content in rows if concept in present}


def count_unnamed_faces(index: LibraryIndex, faces: Mapping[str, int], photos: Collection[bytes]) -> tuple[int, int]:
    """Return how many faces have no name, and in how many pictures; copies of a picture count once.

    faces: number of faces that were found in a picture, by content hash. A picture with as many names of people as
    faces has none.
    """
    with index.guarded() as db:
        choose(db, None, photos)
        rows = db.execute(
            "select content_hash, max((select count(*) from names where photo = id and kind = 'person'))"
            " from photos join chosen using (path) where content_hash != '' group by content_hash"
        ).fetchall()
    unnamed = [n for content, people in rows if (n := faces.get(content, 0) - people) > 0]
    return sum(unnamed), len(unnamed)


def runs_in(runs: "Sequence[Run]", folder: Path | None) -> "list[Run]":
    """Return the runs that wrote in a folder, above or below it, the newest first; all runs for None."""
    return [r for r in runs if folder is None or (r.folder and _overlap(r.folder, folder))]


def _overlap(a: Path, b: Path) -> bool:
    first, second = Path(os.path.realpath(a)), Path(os.path.realpath(b))
    return first.is_relative_to(second) or second.is_relative_to(first)


def count_edited_since(index: LibraryIndex, runs: "Sequence[Run]", photos: Collection[bytes]) -> int:
    """Return how many photos have a sidecar that was written after all these runs, and after they were undone."""
    moments = (datetime.fromisoformat(r.undone or r.finished or r.started).timestamp() for r in runs)
    end = max(moments, default=math.inf) + _TRUNCATED
    with index.guarded() as db:
        choose(db, None, photos)
        stamps = db.execute("select stamp from photos join chosen using (path)").fetchall()
    return sum(any(_modified(s) > end for s in stamp.split(" ")[1:]) for (stamp,) in stamps)


def _modified(stamp: str) -> float:
    """Return the modification time in a part of a stamp, in seconds."""
    return 0.0 if stamp == "-" else int(stamp.split(".")[1]) / 1e9
