"""Store the user's decisions about concepts in photos, by content hash, until removed or the concept is forgotten."""

import os
import sqlite3
from pathlib import Path

from sqlite_utils import Database

from engine.core.boxes import Box
from engine.core.database import transaction
from engine.core.types import Decision, Verdict


class Decisions:
    """Read and write the decisions of a store: at most one for each concept and photo, the latest."""

    def __init__(self, db: Database, path: Path) -> None:
        self._db, self._path = db, path

    def all(self) -> tuple[Decision, ...]:
        """Return all decisions, ordered by concept and time."""
        rows = self._db.query("select * from decisions order by concept_id, decided, content_hash")
        return tuple(map(_decision, rows))

    def of(self, concept_id: str) -> tuple[Decision, ...]:
        """Return the decisions about one concept, ordered by time."""
        query = "select * from decisions where concept_id = ? order by decided, content_hash"
        return tuple(map(_decision, self._db.query(query, [concept_id])))

    def find(self, concept_id: str, content_hash: str) -> Decision | None:
        """Return the decision about a concept in a photo; None if there is none."""
        query = "select * from decisions where concept_id = ? and content_hash = ?"
        return next(map(_decision, self._db.query(query, [concept_id, content_hash])), None)

    def put(self, decision: Decision) -> Decision | None:
        """Store a decision and return the one that it replaces."""
        d = decision
        box = (d.box.x0, d.box.y0, d.box.x1, d.box.y1) if d.box else (None,) * 4
        row = [d.concept_id, d.content_hash, os.fsencode(d.path), *box, d.verdict, d.decided]
        with transaction(self._db.conn, self._path) as db:
            replaced = self.find(d.concept_id, d.content_hash)
            db.execute("insert or replace into decisions values (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        return replaced

    def remove(self, concept_id: str, content_hash: str) -> Decision | None:
        """Delete a decision and return it; None if there was none."""
        with transaction(self._db.conn, self._path) as db:
            removed = self.find(concept_id, content_hash)
            db.execute("delete from decisions where concept_id = ? and content_hash = ?", [concept_id, content_hash])
        return removed

    def move(self, db: sqlite3.Connection, giver: str, taker: str) -> None:
        """Move the decisions of `giver` to `taker` in a transaction; of two about one photo, the later one stays."""
        db.execute(
            "delete from decisions where concept_id = :taker and exists (select 1 from decisions as other where"
            " other.concept_id = :giver and other.content_hash = decisions.content_hash"
            " and other.decided >= decisions.decided)",
            {"giver": giver, "taker": taker},
        )
        db.execute("update or ignore decisions set concept_id = ? where concept_id = ?", [taker, giver])


def _decision(row: dict) -> Decision:
    box = Box(row["x0"], row["y0"], row["x1"], row["y1"]) if row["x0"] is not None else None
    path = Path(os.fsdecode(row["path"]))
    return Decision(row["concept_id"], row["content_hash"], path, box, Verdict(row["verdict"]), row["decided"])
