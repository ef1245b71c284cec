"""The table of concept heads: one head for each concept and encoder, its tensors in a file beside the database."""

import json
from dataclasses import dataclass
from pathlib import Path

from sqlite_utils import Database

from engine.core.database import transaction
from engine.core.tensors import load_tensors
from engine.store.head_codec import decode_head
from engine.store.heads import ConceptHead, Facts, HeadKind
from engine.store.rows import digest_of, stem_of
from engine.store.tensor_files import replace_tensors

_RAISE_VERSION = "update concepts set version = version + 1 where id = ?"


@dataclass(frozen=True)
class StoredHead:
    """A stored head without its tensors. threshold: the paper's (cosine for faces, probability for objects)."""

    encoder: str
    kind: HeadKind
    threshold: float
    facts: Facts


class HeadTable:
    """Read and write the heads of a store."""

    def __init__(self, db: Database, folder: Path) -> None:
        self._db, self._folder = db, folder

    def save(self, head: ConceptHead, *, raise_version: bool) -> None:
        """Store a head in place of the one that the concept has for its encoder."""
        tensors, facts = head.encode()
        row = [head.concept_id, head.encoder, str(head.kind), head.threshold]
        with replace_tensors(
            self._db,
            self._folder,
            head.concept_id,
            stem=("head", head.encoder),
            tensors=tensors,
            header={"encoder": head.encoder, "kind": str(head.kind)},
        ) as (db, file):
            if raise_version:
                db.execute(_RAISE_VERSION, [head.concept_id])
            values = [*row, file, json.dumps(facts, sort_keys=True)]
            db.execute("insert or replace into heads values (?, ?, ?, ?, ?, ?)", values)

    def delete(self, concept_id: str, encoder: str) -> None:
        """Delete a concept's head for one encoder and raise the concept's version."""
        with transaction(self._db.conn, self._folder / "store.db") as db:
            db.execute("delete from heads where concept_id = ? and encoder = ?", [concept_id, encoder])
            db.execute(_RAISE_VERSION, [concept_id])
        for path in (self._folder / "concepts" / concept_id).glob(f"{Path(stem_of('', 'head', encoder)).name}-*"):
            path.unlink(missing_ok=True)

    def has(self, concept_id: str, encoder: str) -> bool:
        """Return whether the concept has a head for an encoder; no file is read."""
        query = "select 1 from heads where concept_id = ? and encoder = ?"
        return any(self._db.query(query, [concept_id, encoder]))

    def load(self, concept_id: str, encoder: str) -> ConceptHead | None:
        """Return the concept's head for an encoder, or None.

        Raises:
            ArtefactError: the head's file cannot be read.
        """
        rows = self._db.query("select * from heads where concept_id = ? and encoder = ?", [concept_id, encoder])
        for row in rows:
            return decode_head(
                concept_id,
                encoder,
                HeadKind(row["kind"]),
                threshold=row["threshold"],
                tensors=load_tensors(self._folder / row["file"]),
                facts=json.loads(row["facts"]),
            )
        return None

    def stored(self, concept_id: str) -> tuple[StoredHead, ...]:
        """Return a concept's heads without their tensors, ordered by encoder."""
        query = "select encoder, kind, threshold, facts from heads where concept_id = ? order by encoder"
        return tuple(
            StoredHead(row["encoder"], HeadKind(row["kind"]), row["threshold"], json.loads(row["facts"]))
            for row in self._db.query(query, [concept_id])
        )

    def fingerprint(self, concept_id: str, encoder: str | None) -> str:
        """Return a digest of the files of a concept's heads: all of them, or that for one encoder."""
        rows = self._db.query("select encoder, file from heads where concept_id = ?", [concept_id])
        return digest_of(row["file"] for row in rows if encoder in (None, row["encoder"]))
