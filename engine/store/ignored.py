"""Store which groups of faces or animals the user ignores, until they are shown again."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sqlite_utils import Database

from engine.core.boxes import Box
from engine.core.database import transaction
from engine.core.types import Kind


@dataclass(frozen=True)
class IgnoredGroup:
    """A group that the user ignores.

    kind: PERSON for faces, PET for animals. model: the id of the features. mean: (D,) float32, the mean of the unit
    features of its members: its scalar product with a feature is the mean cosine similarity to them. sample: a photo
    that shows it. photos: how many there were. places: content hash and box of each member. ignored: when, ISO 8601.
    """

    id: str
    kind: Kind
    model: str
    mean: np.ndarray
    sample: Path
    photos: int
    places: tuple[tuple[str, Box], ...]
    ignored: str


class IgnoredGroups:
    """Read and write the ignored groups of a store."""

    def __init__(self, db: Database, path: Path) -> None:
        self._db, self._path = db, path

    def all(self, kind: Kind | None = None) -> tuple[IgnoredGroup, ...]:
        """Return the ignored groups, of one kind or of all, in the order in which they were ignored."""
        places: dict[str, list[tuple[str, Box]]] = {}
        for row in self._db.query("select * from ignored_places order by rowid"):
            box = Box(row["x0"], row["y0"], row["x1"], row["y1"])
            places.setdefault(row["ignored_id"], []).append((row["content_hash"], box))
        rows = self._db.query("select * from ignored order by rowid")
        return tuple(_group(r, tuple(places.get(r["id"], ()))) for r in rows if kind in (None, r["kind"]))

    def put(self, group: IgnoredGroup) -> None:
        """Store a group in place of one with the same id."""
        g = group
        row = [g.id, g.kind, g.model, g.mean.astype("<f4").tobytes(), os.fsencode(g.sample), g.photos, g.ignored]
        places = [(g.id, content, b.x0, b.y0, b.x1, b.y1) for content, b in g.places]
        with transaction(self._db.conn, self._path) as db:
            db.execute("delete from ignored where id = ?", [g.id])
            db.execute("insert into ignored values (?, ?, ?, ?, ?, ?, ?)", row)
            db.executemany("insert into ignored_places values (?, ?, ?, ?, ?, ?)", places)

    def remove(self, group_id: str) -> bool:
        """Delete a group; return whether there was one."""
        with transaction(self._db.conn, self._path) as db:
            return db.execute("delete from ignored where id = ?", [group_id]).rowcount > 0


def _group(row: Mapping[str, object], places: tuple[tuple[str, Box], ...]) -> IgnoredGroup:
    mean, sample, photos = row["mean"], row["sample"], row["photos"]
    assert isinstance(mean, bytes) and isinstance(sample, bytes) and isinstance(photos, int)
    return IgnoredGroup(
        id=str(row["id"]),
        kind=Kind(str(row["kind"])),
        model=str(row["model"]),
        mean=np.frombuffer(mean, "<f4").astype(np.float32),
        sample=Path(os.fsdecode(sample)),
        photos=photos,
        places=places,
        ignored=str(row["ignored"]),
    )
