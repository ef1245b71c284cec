"""The safetensors files beside the concept database: one file for each head or embedding, named by its content."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from sqlite_utils import Database

from engine.core.database import transaction
from engine.core.errors import ConceptError
from engine.core.tensors import add_tensors
from engine.store.rows import stem_of


@contextmanager
def replace_tensors(
    db: Database,
    folder: Path,
    concept_id: str,
    *,
    stem: tuple[str, str],
    tensors: dict[str, np.ndarray],
    header: dict[str, str],
) -> Iterator[tuple[sqlite3.Connection, str]]:
    """Write tensors for a concept and open the transaction in which their row is stored; then delete the old file.

    The file is named by its content and written before its row, so that a killed process leaves either the old row
    and file or the new ones. stem: what the tensors are ("head", "embedding-TASK") and the id of their model; header:
    texts for the file's header. Yields the connection and the file's path relative to `folder`.

    Raises:
        ConceptError: the concept was deleted in the meantime.
    """
    prefix = stem_of(concept_id, *stem)
    with transaction(db.conn, folder / "store.db") as connection:
        if not connection.execute("select 1 from concepts where id = ?", [concept_id]).fetchone():
            raise ConceptError("the concept was forgotten meanwhile", hint="Add it again if you want it.")
        path = add_tensors(folder / prefix, tensors, header)
        yield connection, path.relative_to(folder).as_posix()
    for old in path.parent.glob(f"{Path(prefix).name}-*.safetensors"):
        if old != path:
            old.unlink(missing_ok=True)
