"""The concept store: concepts, their references, heads and embeddings, on this machine only."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from engine.core.database import open_database, open_empty, transaction
from engine.core.errors import ConceptError, UsageError
from engine.core.files import make_private_folder
from engine.core.text import name_key
from engine.core.types import Concept, Kind, Reference
from engine.store import rows
from engine.store.calibrations import Calibrations
from engine.store.decisions import Decisions
from engine.store.embedding_table import Embedding, EmbeddingTable, StoredEmbedding
from engine.store.head_table import HeadTable, StoredHead
from engine.store.heads import ConceptHead
from engine.store.ignored import IgnoredGroups
from engine.store.migrations import migrations
from engine.store.names import check_name
from engine.store.recognition_states import RecognitionStates, forget_in_states
from engine.store.variation_table import VariationKey, VariationTable

__all__ = ["ConceptStore", "Embedding", "StoredFacts"]


@dataclass(frozen=True)
class StoredFacts:
    """What is stored beside a concept, without the numbers: heads by encoder, embeddings by VLM and task."""

    heads: tuple[StoredHead, ...]
    embeddings: tuple[StoredEmbedding, ...]


class ConceptStore:
    """Read and write concepts. Each change is one transaction; each file is private and written whole."""

    def __init__(self, folder: Path, *, create: bool = True) -> None:
        """Open the store of a folder. With `create=False`, a missing store is read as empty and is not created."""
        self.folder = folder
        self.path = folder / "store.db"
        if not create and not self.path.exists():
            self._db = open_empty(migrations)
            return
        self._db = open_database(self.path, migrations)
        make_private_folder(folder / "concepts")

    @property
    def decisions(self) -> Decisions:
        """The user's decisions about concepts in photos."""
        return Decisions(self._db, self.path)

    @property
    def ignored(self) -> IgnoredGroups:
        """The groups of faces and animals that the user ignores."""
        return IgnoredGroups(self._db, self.path)

    @property
    def calibrations(self) -> Calibrations:
        """Thresholds that were calibrated on libraries."""
        return Calibrations(self._db, self.folder)

    @property
    def recognition_states(self) -> RecognitionStates:
        """The inputs that recognition depended on in past runs."""
        return RecognitionStates(self._db, self.path)

    @property
    def _heads(self) -> HeadTable:
        return HeadTable(self._db, self.folder)

    @property
    def _embeddings(self) -> EmbeddingTable:
        return EmbeddingTable(self._db, self.folder)

    @property
    def _variations(self) -> VariationTable:
        return VariationTable(self._db, self.path)

    def close(self) -> None:
        """Close the database."""
        self._db.conn.close()

    def all(self) -> tuple[Concept, ...]:
        """Return all concepts, ordered by name."""
        return tuple(map(self._concept, self._db.query("select * from concepts order by key")))

    def get(self, name: str) -> Concept:
        """Return the concept with a name; case does not matter.

        Raises:
            ConceptError: there is none; the hint lists those that exist.
        """
        concept = self.find(name)
        if concept is None:
            raise ConceptError(f"there is no concept {name!r}", hint=self._hint_at(name))
        return concept

    def _hint_at(self, name: str) -> str:
        """Return a hint with the existing names and those most like an unknown name."""
        names = {name_key(c.name): c.name for c in self.all()}
        if not names:
            return "Known: none yet; see `myvlm add-concept --help`."
        near = [names[k] for k in get_close_matches(name_key(name), names, n=3)]
        meant = f"Did you mean {' or '.join(near)}? " if near else ""
        return f"{meant}Known: {', '.join(names.values())}."

    def select(self, names: tuple[str, ...] | None) -> tuple[Concept, ...]:
        """Return the concepts with these names (None: all), ordered by name.

        Raises:
            ConceptError: a name is unknown.
            UsageError: no name at all was given.
        """
        if names is None:
            return self.all()
        if not names:
            raise UsageError("no concept names given", hint="Example: --concepts rex,anna")
        by_id = {c.id: c for c in (self.get(n) for n in names)}
        return tuple(sorted(by_id.values(), key=lambda c: c.name.casefold()))

    def find(self, name: str) -> Concept | None:
        """Return the concept with a name, or None."""
        matches = self._db.query("select * from concepts where key = ?", [name_key(name)])
        return next(map(self._concept, matches), None)

    def put(
        self, name: str, kind: Kind, category: str, identifiers: tuple[str, ...], references: tuple[Reference, ...]
    ) -> Concept:
        """Create a concept, or give an existing one of that name new references.

        identifiers: the words that a VLM can use for it, best first. A new concept takes the first that no other
        concept has; an existing concept keeps its own. A concept that changes from or to a person is a different
        individual: it takes another identifier, and its heads and embeddings are deleted.
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
                    rows.reset_individual(db, concept_id, identifiers)
            else:
                concept_id = rows.free_concept_id(db, name)
                identifier = rows.free_identifier(db, identifiers)
                db.execute(
                    "insert into concepts values (?, ?, ?, ?, ?, ?, 1, ?)",
                    [concept_id, name, name_key(name), kind, category, identifier, rows.now()],
                )
            db.executemany(
                "insert into concept_references values (?, ?, ?, ?, ?, ?, ?, ?)",
                [(concept_id, i, *rows.reference_row(r)) for i, r in enumerate(references)],
            )
        if another:
            shutil.rmtree(self.folder / "concepts" / concept_id, ignore_errors=True)
        return self.get(name)

    def move_references(self, concept: Concept, paths: Mapping[str, Path]) -> None:
        """Store the new paths of reference photos, by content hash; the concept's version stays."""
        moved = [(os.fsencode(path), concept.id, content) for content, path in paths.items()]
        with transaction(self._db.conn, self.path) as db:
            db.executemany("update concept_references set path = ? where concept_id = ? and content_hash = ?", moved)

    def rename(self, name: str, new: str) -> Concept:
        """Give a concept another name; its heads and embeddings stay valid, its version rises.

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
        """Delete a concept with its references, heads, embeddings and their files, and return the deleted concept.

        had_double: the concept looked like another concept, which may be named in more photos now.
        """
        concept = self.get(name)
        with transaction(self._db.conn, self.path) as db:
            db.execute("delete from concepts where id = ?", [concept.id])
            forget_in_states(db, concept.id, had_double=had_double)
        self._erase(concept)
        return concept

    def merge(self, kept: Concept, gone: Concept) -> Concept:
        """Move the references and decisions of `gone` to `kept`, and delete `gone` as `forget` does.

        Of two decisions about one photo, the later one stays.
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
        """Delete the concept's files and calibrations, then VACUUM: nothing can be recovered from the database."""
        shutil.rmtree(self.folder / "concepts" / concept.id, ignore_errors=True)
        self.calibrations.forget()
        self._db.conn.execute("vacuum")
        self._db.conn.execute("pragma wal_checkpoint(truncate)")

    def save_head(self, head: ConceptHead) -> None:
        """Store a concept's head for one encoder and raise the concept's version."""
        self._heads.save(head, raise_version=True)

    def renew_head(self, head: ConceptHead) -> None:
        """Store a head that learned from the user's decisions; the concept's version stays."""
        self._heads.save(head, raise_version=False)

    def drop_head(self, concept: Concept, encoder: str) -> None:
        """Delete a concept's head for one encoder and raise the concept's version."""
        self._heads.delete(concept.id, encoder)

    def has_head(self, concept_id: str, encoder: str) -> bool:
        """Return whether the concept has a head for an encoder; no file is read."""
        return self._heads.has(concept_id, encoder)

    def load_head(self, concept_id: str, encoder: str) -> ConceptHead | None:
        """Return the concept's head for an encoder, or None; heads of other encoders are never returned."""
        return self._heads.load(concept_id, encoder)

    def head_fingerprint(self, concept: Concept, encoder: str | None = None) -> str:
        """Return a digest of what decides where a concept is recognised: all its heads, or that for one encoder."""
        return self._heads.fingerprint(concept.id, encoder)

    def save_embedding(self, embedding: Embedding) -> None:
        """Store a concept's embedding for one VLM and task. The concept's version stays, because the photos that it
        matches and its words are the same.

        Raises:
            ArtefactError: the embedding has numbers that are not finite.
        """
        self._embeddings.save(embedding)

    def load_embedding(self, concept: Concept, vlm: str, revision: str, task: str = "caption") -> Embedding:
        """Return the concept's embedding for a VLM.

        Raises:
            NotTrainedError: there is none for this VLM and revision.
        """
        return self._embeddings.load(concept, vlm, revision, task)

    def caption_fingerprint(self, concept: Concept, vlm: str, revision: str) -> str:
        """Return a digest of what decides a VLM's words for a concept: its words and embedding for captions."""
        return self._embeddings.fingerprint(concept, vlm, revision)

    def training_file(self, concept: Concept, vlm: str, task: str = "caption") -> Path:
        """Return where an unfinished training of this concept keeps its state."""
        what = "training" if task == "caption" else f"training-{task}"
        return self.folder / f"{rows.stem_of(concept.id, what, vlm)}.safetensors"

    def load_variations(
        self, concept: Concept, photo: str, vlm: str, revision: str, caption: str
    ) -> tuple[str, ...] | None:
        """Return the variations that a VLM wrote of a caption of the photo with this content hash, or None."""
        return self._variations.load(VariationKey(concept.id, photo, vlm, revision, caption))

    def save_variations(
        self, concept: Concept, photo: str, vlm: str, revision: str, caption: str, texts: tuple[str, ...]
    ) -> None:
        """Store the variations that a VLM wrote of a caption; the same request would give the same texts."""
        self._variations.save(VariationKey(concept.id, photo, vlm, revision, caption), texts)

    def facts(self, concept: Concept) -> StoredFacts:
        """Return what is stored beside a concept without the numbers: its heads and embeddings."""
        return StoredFacts(self._heads.stored(concept.id), self._embeddings.stored(concept.id))

    def _concept(self, row: dict) -> Concept:
        query = "select * from concept_references where concept_id = ? order by position"
        references = tuple(rows.read_reference(r) for r in self._db.query(query, [row["id"]]))
        return Concept(
            row["id"], row["name"], Kind(row["kind"]), row["category"], row["identifier"], row["version"], references
        )
