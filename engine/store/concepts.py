"""The concept store: concepts, their references, heads and embeddings, on this machine only."""

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from shlex import quote

import numpy as np

from engine.core.database import open_database, open_empty, transaction
from engine.core.errors import ArtefactError, ConceptError, NotTrainedError
from engine.core.files import make_private_folder, sha256_of
from engine.core.tensors import add_tensors, load_tensors
from engine.core.types import Concept, Kind, Reference
from engine.store.calibrations import Calibrations
from engine.store.decisions import Decisions
from engine.store.migrations import migrations
from engine.store.names import check_name, name_key
from engine.store.recognition_states import RecognitionStates, forget_in_states
from engine.store.rows import (
    digest_of,
    free_identifier,
    model_words,
    now,
    read_reference,
    reference_row,
    stem_of,
)


@dataclass(frozen=True)
class Head:
    """A stored recogniser: for faces `templates` (T, D), for objects `weight` (2, D) and `bias` (2,); for both, where
    there are any, `confirmed` and `rejected` (N, D): features of what the user decided.
    """

    concept_id: str
    encoder: str
    kind: str
    threshold: float
    tensors: dict[str, np.ndarray]
    facts: dict[str, float | int | str]


@dataclass(frozen=True)
class Embedding:
    """A stored concept embedding: vector (1, D) float32 of unit length, and how it was made. photos: `photos_key` of
    the references that it was trained on; "" when it was imported.
    """

    concept_id: str
    vlm: str
    revision: str
    identifier: str
    steps: int
    seed: int
    loss: float
    vector: np.ndarray
    task: str = "caption"
    photos: str = ""


class ConceptStore:
    """Reads and writes concepts; every change is one transaction, every file private and whole."""

    def __init__(self, folder: Path, *, create: bool = True) -> None:
        """Open the store of a folder. Without `create`, one that is not there is empty, and stays not there."""
        self.folder = folder
        self.path = folder / "store.db"
        if not create and not self.path.exists():
            self._db = open_empty(migrations)
            return
        self._db = open_database(self.path, migrations)
        make_private_folder(folder / "concepts")

    @property
    def decisions(self) -> Decisions:
        """What the user said of concepts in photos."""
        return Decisions(self._db, self.path)

    @property
    def calibrations(self) -> Calibrations:
        """Thresholds that were calibrated on libraries."""
        return Calibrations(self._db, self.folder)

    @property
    def recognition_states(self) -> RecognitionStates:
        """What recognition depended on in past runs."""
        return RecognitionStates(self._db, self.path)

    def close(self) -> None:
        """Close the database."""
        self._db.conn.close()

    def all(self) -> tuple[Concept, ...]:
        """All concepts, by name."""
        rows = self._db.query("select * from concepts order by key")
        return tuple(self._concept(row) for row in rows)

    def get(self, name: str) -> Concept:
        """The concept of a name, whatever its case.

        Raises:
            ConceptError: there is none; the hint lists those that exist.
        """
        found = list(self._db.query("select * from concepts where key = ?", [name_key(name)]))
        if not found:
            raise ConceptError(f"there is no concept {name!r}", hint=self._hint_at(name))
        return self._concept(found[0])

    def _hint_at(self, name: str) -> str:
        """Which concepts there are, and which may have been meant."""
        names = {name_key(c.name): c.name for c in self.all()}
        if not names:
            return "Known: none yet; see `myvlm add-concept --help`."
        near = [names[k] for k in get_close_matches(name_key(name), names, n=3)]
        meant = f"Did you mean {' or '.join(near)}? " if near else ""
        return f"{meant}Known: {', '.join(names.values())}."

    def find(self, name: str) -> Concept | None:
        """The concept of a name, or None."""
        found = list(self._db.query("select * from concepts where key = ?", [name_key(name)]))
        return self._concept(found[0]) if found else None

    def put(
        self, name: str, kind: Kind, category: str, identifiers: tuple[str, ...], references: tuple[Reference, ...]
    ) -> Concept:
        """Create a concept, or give an existing one of that name new references.

        `identifiers` are the words a VLM can call it by, best first; a new concept takes the first that no other
        concept has, an existing one keeps its own. One that becomes a person, or no longer is one, is another
        individual: it takes another identifier, and its embeddings are deleted.
        """
        check_name(name)
        another = False
        with transaction(self._db.conn, self.path) as db:
            row = db.execute("select id, kind, version from concepts where key = ?", [name_key(name)]).fetchone()
            if row:
                concept_id = row[0]
                db.execute(
                    "update concepts set kind = ?, category = ?, version = ? where id = ?",
                    [kind, category, row[2] + 1, concept_id],
                )
                db.execute("delete from concept_references where concept_id = ?", [concept_id])
                another = (row[1] == Kind.PERSON) != (kind is Kind.PERSON)
                if another:
                    _start_over(db, concept_id, identifiers)
            else:
                concept_id = self._fresh_id(name)
                identifier = free_identifier(db, identifiers)
                db.execute(
                    "insert into concepts values (?, ?, ?, ?, ?, ?, 1, ?)",
                    [concept_id, name, name_key(name), kind, category, identifier, now()],
                )
            db.executemany(
                "insert into concept_references values (?, ?, ?, ?, ?, ?, ?, ?)",
                [(concept_id, i, *reference_row(r)) for i, r in enumerate(references)],
            )
        if another:
            shutil.rmtree(self.folder / "concepts" / concept_id, ignore_errors=True)
        return self.get(name)

    def move_references(self, concept: Concept, paths: Mapping[str, Path]) -> None:
        """Remember where reference photos, by content hash, are now; the concept is the same."""
        rows = [(os.fsencode(path), concept.id, content) for content, path in paths.items()]
        with transaction(self._db.conn, self.path) as db:
            db.executemany("update concept_references set path = ? where concept_id = ? and content_hash = ?", rows)

    def rename(self, name: str, new: str) -> Concept:
        """Give a concept another name; heads and embeddings stay valid, its words change.

        Raises:
            ConceptError: the concept is unknown, or the new name is taken.
        """
        concept = self.get(name)
        check_name(new)
        other = self.find(new)
        if other and other.id != concept.id:
            raise ConceptError(f"there is a concept {other.name!r} already", hint="Forget it first, or take another.")
        with transaction(self._db.conn, self.path) as db:
            db.execute(
                "update concepts set name = ?, key = ?, version = version + 1 where id = ?",
                [new, name_key(new), concept.id],
            )
        return self.get(new)

    def forget(self, name: str, *, had_double: bool = False) -> Concept:
        """Delete a concept with its references, heads, embeddings and their files; returns what it was. had_double: it
        looked like another concept, which may be named in more photos now.
        """
        concept = self.get(name)
        with transaction(self._db.conn, self.path) as db:
            db.execute("delete from concepts where id = ?", [concept.id])
            forget_in_states(db, concept.id, had_double=had_double)
        self._erase(concept)
        return concept

    def merge(self, kept: Concept, gone: Concept) -> Concept:
        """Give one concept another's references and decisions, and delete the other, as `forget` does. Of two
        decisions on one photo the later one stays.
        """
        with transaction(self._db.conn, self.path) as db:
            db.execute(
                "insert or ignore into concept_references select ?, position + ?, path, content_hash, x0, y0, x1, y1"
                " from concept_references where concept_id = ?",
                [kept.id, len(kept.references), gone.id],
            )
            self.decisions.move(db, gone.id, kept.id)
            db.execute("update concepts set version = version + 1 where id = ?", [kept.id])
            db.execute("delete from concepts where id = ?", [gone.id])
        self._erase(gone)
        return self.get(kept.name)

    def _erase(self, concept: Concept) -> None:
        """Leave nothing of a concept whose row was deleted: neither files nor freed pages."""
        shutil.rmtree(self.folder / "concepts" / concept.id, ignore_errors=True)
        self.calibrations.forget()
        self._db.conn.execute("vacuum")
        self._db.conn.execute("pragma wal_checkpoint(truncate)")

    def save_head(self, head: Head) -> None:
        """Store a concept's head for one encoder; the concept's version rises."""
        self._put_head(head, "update concepts set version = version + 1 where id = ?")

    def renew_head(self, head: Head) -> None:
        """Store what a head learned from the user's decisions; its concept is the same, and so is its version."""
        self._put_head(head, "select 1 from concepts where id = ?")

    def _put_head(self, head: Head, about_concept: str) -> None:
        facts = {"encoder": head.encoder, "kind": head.kind}
        with self._replacing(head.concept_id, "head", head.encoder, head.tensors, facts) as (db, file):
            db.execute(about_concept, [head.concept_id])
            db.execute(
                "insert or replace into heads values (?, ?, ?, ?, ?, ?)",
                [
                    head.concept_id,
                    head.encoder,
                    head.kind,
                    head.threshold,
                    file,
                    json.dumps(head.facts, sort_keys=True),
                ],
            )

    def drop_head(self, concept: Concept, encoder: str) -> None:
        """Delete a concept's head for one encoder; the concept's version rises."""
        with transaction(self._db.conn, self.path) as db:
            db.execute("delete from heads where concept_id = ? and encoder = ?", [concept.id, encoder])
            db.execute("update concepts set version = version + 1 where id = ?", [concept.id])
        for path in (self.folder / "concepts" / concept.id).glob(f"{Path(stem_of('', 'head', encoder)).name}-*"):
            path.unlink(missing_ok=True)

    def has_head(self, concept_id: str, encoder: str) -> bool:
        """Whether the concept has a head for an encoder; no file is read."""
        query = "select 1 from heads where concept_id = ? and encoder = ?"
        return any(self._db.query(query, [concept_id, encoder]))

    def load_head(self, concept_id: str, encoder: str) -> Head | None:
        """The concept's head for an encoder, or None; heads of other encoders are never returned."""
        rows = self._db.query("select * from heads where concept_id = ? and encoder = ?", [concept_id, encoder])
        for row in rows:
            tensors = load_tensors(self.folder / row["file"])
            return Head(concept_id, encoder, row["kind"], row["threshold"], tensors, json.loads(row["facts"]))
        return None

    def save_embedding(self, embedding: Embedding) -> None:
        """Store a concept's embedding for one VLM and task; the concept's version stays: whom it matches and what
        it is called are the same.

        Raises:
            ArtefactError: it has numbers that are not finite.
        """
        e = embedding
        if not np.isfinite(e.vector).all():
            raise ArtefactError(
                f"the embedding for {e.vlm} has numbers that are not finite and is not stored",
                hint="Train with --dtype float32 or --dtype bfloat16.",
            )
        facts = {"vlm": e.vlm, "revision": e.revision, "identifier": e.identifier, "seed": str(e.seed)}
        tensors = {"embedding": e.vector.astype(np.float32)}
        with self._replacing(e.concept_id, f"embedding-{e.task}", e.vlm, tensors, facts) as (db, file):
            row = [e.concept_id, e.vlm, e.revision, e.vector.shape[-1], e.steps, e.seed, e.task, e.identifier, e.loss]
            marks = ", ".join("?" * (len(row) + 2))
            db.execute(f"insert or replace into embeddings values ({marks})", [*row, file, e.photos])

    def load_embedding(self, concept: Concept, vlm: str, revision: str, task: str = "caption") -> Embedding:
        """The concept's embedding for a VLM.

        Raises:
            NotTrainedError: there is none for this VLM and revision.
        """
        query = "select * from embeddings where concept_id = ? and vlm = ? and revision = ? and task = ?"
        for row in self._db.query(query, [concept.id, vlm, revision, task]):
            vector = load_tensors(self.folder / row["file"])["embedding"]
            facts = [row[k] for k in ("identifier", "steps", "seed", "loss")]
            return Embedding(concept.id, vlm, revision, *facts, vector, task, row["photos"])
        extra = "" if task == "caption" else f" --task {task}"
        raise NotTrainedError(
            f"{concept.name} is not trained yet for {model_words(vlm)}",
            hint=f"Run: myvlm train {quote(concept.name)}{extra}",
        )

    def facts(self, concept: Concept) -> dict[str, list[dict]]:
        """What is stored beside a concept, for people: its heads and embeddings without the numbers."""
        heads = self._db.query(
            "select encoder, kind, threshold, facts from heads where concept_id = ? order by encoder", [concept.id]
        )
        embeddings = self._db.query(
            "select vlm, revision, width, steps, seed, task, identifier, loss from embeddings"
            " where concept_id = ? order by vlm, task",
            [concept.id],
        )
        return {
            "heads": [{**h, "facts": json.loads(h["facts"])} for h in heads],
            "embeddings": [dict(e) for e in embeddings],
        }

    def head_fingerprint(self, concept: Concept, encoder: str | None = None) -> str:
        """A digest of what decides where a concept is recognised: its heads, or that for one encoder."""
        rows = self._db.query("select encoder, file from heads where concept_id = ?", [concept.id])
        return digest_of(row["file"] for row in rows if encoder in (None, row["encoder"]))

    def voice_fingerprint(self, concept: Concept, vlm: str, revision: str) -> str:
        """A digest of what decides a VLM's words for a concept: its names, and its embedding for captions."""
        files = self._db.query(
            "select file from embeddings where concept_id = ? and vlm = ? and revision = ? and task = 'caption'",
            [concept.id, vlm, revision],
        )
        return digest_of([concept.name, concept.identifier, concept.category, *(row["file"] for row in files)])

    def training_file(self, concept: Concept, vlm: str, task: str = "caption") -> Path:
        """Where an unfinished training of this concept keeps its state."""
        what = "training" if task == "caption" else f"training-{task}"
        return self.folder / f"{stem_of(concept.id, what, vlm)}.safetensors"

    def load_variations(
        self, concept: Concept, photo: str, vlm: str, revision: str, caption: str
    ) -> tuple[str, ...] | None:
        """Variations that a VLM wrote of a caption of the photo with this content hash, or None."""
        query = (
            "select texts from variations where concept_id = ? and content_hash = ? and vlm = ? and revision = ?"
            " and caption = ?"
        )
        rows = list(self._db.query(query, [concept.id, photo, vlm, revision, caption]))
        return tuple(json.loads(rows[0]["texts"])) if rows else None

    def save_variations(
        self, concept: Concept, photo: str, vlm: str, revision: str, caption: str, texts: tuple[str, ...]
    ) -> None:
        """Keep what a VLM wrote; asking it again would give the same."""
        row = [concept.id, photo, vlm, revision, caption, json.dumps(texts)]
        with transaction(self._db.conn, self.path) as db:
            db.execute("insert or replace into variations values (?, ?, ?, ?, ?, ?)", row)

    @contextmanager
    def _replacing(
        self, concept_id: str, what: str, model: str, tensors: dict[str, np.ndarray], facts: dict[str, str]
    ) -> Iterator[tuple[sqlite3.Connection, str]]:
        """One transaction that makes the store point at new tensors.

        The file is named by its content and there before its row, so a kill leaves the old pair or the new one.
        """
        stem = stem_of(concept_id, what, model)
        with transaction(self._db.conn, self.path) as db:
            if not db.execute("select 1 from concepts where id = ?", [concept_id]).fetchone():
                raise ConceptError("the concept was forgotten meanwhile", hint="Add it again if you want it.")
            path = add_tensors(self.folder / stem, tensors, facts)
            yield db, path.relative_to(self.folder).as_posix()
        for old in path.parent.glob(f"{Path(stem).name}-*.safetensors"):
            if old != path:
                old.unlink(missing_ok=True)

    def _fresh_id(self, name: str) -> str:
        taken = {row["id"] for row in self._db.query("select id from concepts")}
        for n in range(len(taken) + 1):
            found = sha256_of(f"{name_key(name)}#{n}".encode())[:12]
            if found not in taken:
                return found
        raise AssertionError("more ids than concepts")

    def _concept(self, row: dict) -> Concept:
        query = "select * from concept_references where concept_id = ? order by position"
        references = tuple(read_reference(r) for r in self._db.query(query, [row["id"]]))
        return Concept(
            row["id"], row["name"], Kind(row["kind"]), row["category"], row["identifier"], row["version"], references
        )


def _start_over(db: sqlite3.Connection, concept_id: str, identifiers: tuple[str, ...]) -> None:
    """Give a concept another identifier, and delete its heads and what VLMs learned of it."""
    db.execute("update concepts set identifier = '' where id = ?", [concept_id])
    db.execute("update concepts set identifier = ? where id = ?", [free_identifier(db, identifiers), concept_id])
    for table in ("heads", "embeddings", "variations"):
        db.execute(f"delete from {table} where concept_id = ?", [concept_id])
