"""The table of caption variations that a VLM wrote for training, so that the same request is made only once."""

import json
from dataclasses import astuple, dataclass
from pathlib import Path

from sqlite_utils import Database

from engine.core.database import transaction


@dataclass(frozen=True)
class VariationKey:
    """The request that variations answer: a caption of a reference photo, and the VLM that varies it."""

    concept_id: str
    content_hash: str
    vlm: str
    revision: str
    caption: str


class VariationTable:
    """Read and write the caption variations of a store."""

    def __init__(self, db: Database, path: Path) -> None:
        self._db, self._path = db, path

    def load(self, key: VariationKey) -> tuple[str, ...] | None:
        """Return the variations for a request, or None."""
        query = (
            "select texts from variations where concept_id = ? and content_hash = ? and vlm = ? and revision = ?"
            " and caption = ?"
        )
        rows = list(self._db.query(query, list(astuple(key))))
        return tuple(json.loads(rows[0]["texts"])) if rows else None

    def save(self, key: VariationKey, texts: tuple[str, ...]) -> None:
        """Store the variations for a request."""
        with transaction(self._db.conn, self._path) as db:
            db.execute(
                "insert or replace into variations values (?, ?, ?, ?, ?, ?)", [*astuple(key), json.dumps(texts)]
            )
