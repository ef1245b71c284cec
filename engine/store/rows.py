"""Rows of the concept store: references, identifiers, and the names of files."""

import os
import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from engine.core.boxes import Box
from engine.core.files import sha256_of
from engine.core.types import Reference


def free_identifier(db: sqlite3.Connection, identifiers: tuple[str, ...]) -> str:
    """The first identifier that no concept has; the first of all when every one is taken."""
    taken = {r[0] for r in db.execute("select identifier from concepts")}
    return next((i for i in identifiers if i not in taken), identifiers[0])


def photos_key(references: Iterable[Reference]) -> str:
    """Tells sets of reference photos apart: their content hashes, in order."""
    return " ".join(sorted(r.content_hash for r in references))


def reference_row(r: Reference) -> tuple:
    """A reference's columns after concept and position."""
    box = (r.box.x0, r.box.y0, r.box.x1, r.box.y1) if r.box else (None,) * 4
    return os.fsencode(r.path), r.content_hash, *box


def read_reference(row: dict) -> Reference:
    """The reference of a row."""
    box = Box(row["x0"], row["y0"], row["x1"], row["y1"]) if row["x0"] is not None else None
    return Reference(Path(os.fsdecode(row["path"])), row["content_hash"], box)


def stem_of(concept_id: str, what: str, model: str) -> str:
    """Where the files of one kind for one model lie, under the store, without hash and ending."""
    return f"concepts/{concept_id}/{what}-{sha256_of(model.encode())[:12]}"


def digest_of(parts: Iterable[str]) -> str:
    """A short digest of texts, whatever their order."""
    return sha256_of(repr(sorted(parts)).encode())[:16]


def now() -> str:
    """The time, ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def model_words(vlm: str) -> str:
    """What people call a VLM, by the id that its embeddings are stored under."""
    return "the storybook model" if vlm.startswith("embedded:vlm") else vlm
