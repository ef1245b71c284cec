"""Read the names of concepts and the user's decisions from the concept store, without the libraries that write it."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from engine.library.text import fold_name


@dataclass(frozen=True)
class Stored:
    """What the store says of concepts.

    names: of the enrolled concepts, by id. decided: concept id and content hash of each photo that the user decided
    about.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    decided: frozenset[tuple[str, str]] = frozenset()

    @cached_property
    def ids(self) -> Mapping[str, str]:
        """The ids of the enrolled concepts, by folded name."""
        return {fold_name(name): concept_id for concept_id, name in self.names.items()}


def read_stored(folder: Path) -> Stored:
    """Read the store of a data folder; nothing where there is none, or where it cannot be read. Creates no file."""
    path = folder / "store.db"
    if not path.is_file():
        return Stored()
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=0.5)) as db:
            names = dict(db.execute("select id, name from concepts"))
            decided = frozenset(db.execute("select concept_id, content_hash from decisions"))
    except sqlite3.Error:
        return Stored()
    return Stored(names, decided)
