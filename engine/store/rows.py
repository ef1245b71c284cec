"""Rows of the concept store: references, identifiers, ids, and the names of files."""

import os
import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from engine.core.boxes import Box
from engine.core.files import sha256_of
from engine.core.text import name_key
from engine.core.types import Reference


def free_identifier(db: sqlite3.Connection, identifiers: tuple[str, ...]) -> str:
    """Return the first identifier that no concept has, or the first of all when every one is taken."""
    taken = {r[0] for r in db.execute("select identifier from concepts")}
    return next((i for i in identifiers if i not in taken), identifiers[0])


def free_concept_id(db: sqlite3.Connection, name: str) -> str:
    """Return an id for a new concept, made of its name; no existing concept has it."""
    taken = {r[0] for r in db.execute("select id from concepts")}
    candidates = (sha256_of(f"{name_key(name)}#{n}".encode())[:12] for n in range(len(taken) + 1))
    return next(concept_id for concept_id in candidates if concept_id not in taken)


def reset_individual(db: sqlite3.Connection, concept_id: str, identifiers: tuple[str, ...]) -> None:
    """Give a concept another identifier, and delete its heads, embeddings and caption variations."""
    db.execute("update concepts set identifier = '' where id = ?", [concept_id])
    db.execute("update concepts set identifier = ? where id = ?", [free_identifier(db, identifiers), concept_id])
    for table in ("heads", "embeddings", "variations"):
        db.execute(f"delete from {table} where concept_id = ?", [concept_id])


def photos_key(references: Iterable[Reference]) -> str:
    """Return a key that identifies a set of reference photos: their content hashes, in order."""
    return " ".join(sorted(r.content_hash for r in references))


def reference_row(r: Reference) -> tuple:
    """Return a reference's columns after concept and position."""
    box = (r.box.x0, r.box.y0, r.box.x1, r.box.y1) if r.box else (None,) * 4
    return os.fsencode(r.path), r.content_hash, *box


def read_reference(row: dict) -> Reference:
    """Make the reference of a row."""
    box = Box(row["x0"], row["y0"], row["x1"], row["y1"]) if row["x0"] is not None else None
    return Reference(Path(os.fsdecode(row["path"])), row["content_hash"], box)


def stem_of(concept_id: str, what: str, model: str) -> str:
    """Return the path of one kind of file for one model, relative to the store, without hash and file extension."""
    return f"concepts/{concept_id}/{what}-{sha256_of(model.encode())[:12]}"


def digest_of(parts: Iterable[str]) -> str:
    """Return a short digest of texts that does not depend on their order."""
    return sha256_of(repr(sorted(parts)).encode())[:16]


def now() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def model_words(vlm: str) -> str:
    """Return the name to print for a VLM, given the id that its embeddings are stored under."""
    return "the storybook model" if vlm.startswith("embedded:vlm") else vlm
