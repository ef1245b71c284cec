"""Store what recognition depended on in past runs, so that results stay valid after a concept is forgotten."""

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from sqlite_utils import Database

from engine.core.database import transaction

_MOST = 200
"""Number of states to keep, the newest; each takes a few kB with a hundred concepts."""


@dataclass(frozen=True)
class RecognitionState:
    """What the matches in a photo depend on, apart from the photo and the user's decisions about it.

    requested: ids of the concepts to name. enrolled: id, version and digest of the heads of every concept.
    fingerprints: of the classifiers; None after a concept was forgotten, because scores and thresholds are fitted on
    all concepts.
    """

    recogniser: str
    requested: tuple[str, ...]
    enrolled: tuple[tuple[str, int, str], ...]
    fingerprints: tuple[str, ...] | None

    def without(self, concept_id: str) -> "RecognitionState":
        """Return the state without a concept that is forgotten."""
        if concept_id not in (e[0] for e in self.enrolled):
            return self
        requested = tuple(i for i in self.requested if i != concept_id)
        return RecognitionState(self.recogniser, requested, tuple(e for e in self.enrolled if e[0] != concept_id), None)

    def covers(self, now: "RecognitionState") -> bool:
        """Return whether results of this state are still valid: the only difference is that concepts were forgotten."""
        same = (self.recogniser, self.requested, self.enrolled) == (now.recogniser, now.requested, now.enrolled)
        return same and self.fingerprints is None


class RecognitionStates:
    """The table of past states, by the digest stored in JSON sidecars."""

    def __init__(self, db: Database, path: Path) -> None:
        self._db, self._path = db, path

    def save(self, digest: str, state: RecognitionState) -> None:
        """Store a state, and delete the oldest beyond `_MOST`."""
        with transaction(self._db.conn, self._path) as db:
            db.execute("insert or replace into recognition_states values (?, ?)", [digest, _to_json(state)])
            db.execute(
                "delete from recognition_states where rowid not in"
                " (select rowid from recognition_states order by rowid desc limit ?)",
                [_MOST],
            )

    def covering(self, now: RecognitionState) -> tuple[str, ...]:
        """Return the digests of past states whose results are still valid."""
        rows = self._db.query("select digest, state from recognition_states order by digest")
        return tuple(row["digest"] for row in rows if _state(row["state"]).covers(now))


def forget_in_states(db: sqlite3.Connection, concept_id: str, *, had_double: bool) -> None:
    """Remove a concept from all states; call it in the transaction that deletes the concept.

    had_double: the concept looked like another one and may have prevented its being named; then no state stays valid.
    """
    if had_double:
        db.execute("delete from recognition_states")
    for digest, text in db.execute("select digest, state from recognition_states").fetchall():
        state = _state(text).without(concept_id)
        db.execute("update recognition_states set state = ? where digest = ?", [_to_json(state), digest])


def _to_json(state: RecognitionState) -> str:
    """Return a state as it is stored; `wanted` and `judges` are the keys of the stored form."""
    row = {"recogniser": state.recogniser, "wanted": state.requested, "enrolled": state.enrolled}
    return json.dumps({**row, "judges": state.fingerprints})


def _state(text: str) -> RecognitionState:
    d = json.loads(text)
    enrolled = tuple((str(i), int(v), str(h)) for i, v, h in d["enrolled"])
    fingerprints = None if d["judges"] is None else tuple(d["judges"])
    return RecognitionState(d["recogniser"], tuple(d["wanted"]), enrolled, fingerprints)
