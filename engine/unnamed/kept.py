"""Keep the groups that were found, the last list that was shown, and what was done with it, in the cache folder."""

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.core.errors import UsageError
from engine.core.types import Kind
from engine.store.cache_file import GROUPS, CacheFile
from engine.unnamed.groups import Group, Groups, from_json, to_json

_TABLES = (
    "create table if not exists found (kind text not null, key text not null, made real not null, given text not null,"
    " groups text not null, primary key (kind, key)) without rowid",
    "create table if not exists listed (kind text primary key, rows integer not null, groups text not null)",
    "create table if not exists done (number integer primary key, kind text not null, action text not null)",
)
_MOST = 6
"""Results that are kept of each kind, the latest."""


@dataclass(frozen=True)
class Action:
    """What was done with a group, so that it can be undone.

    kind: of the list. group: its id. name: the concept that it was named; "" for a group that is ignored. created:
    whether the concept was new. added: content hashes of the reference photos that it got. concept: its id, because it
    may be renamed. category: its class word at that time.
    """

    kind: Kind
    group: str
    name: str = ""
    created: bool = False
    added: tuple[str, ...] = ()
    concept: str = ""
    category: str = ""


@dataclass(frozen=True)
class Listed:
    """A list that was shown. rows: how many of its groups the user saw, the first ones."""

    groups: Groups
    rows: int

    def find(self, wanted: str) -> tuple[int, Group]:
        """Return a group with its number, given by a number that was shown, or by id.

        Raises:
            UsageError: there is none.
        """
        for number, group in enumerate(self.groups.groups, 1):
            if wanted == group.id or (wanted == str(number) and number <= self.rows):
                return number, group
        numbers = f"had the numbers 1 to {self.rows:,}" if self.rows else "was empty"
        raise UsageError(f"there is no group {wanted!r}", hint=f"The last list {numbers}.")


class KeptGroups:
    """The groups of a data folder; `myvlm concepts clear-cache` and `myvlm forget` delete them all."""

    def __init__(self, folder: Path) -> None:
        """Use a data folder; no file is created before something is kept."""
        self._file = CacheFile(folder / "cache", GROUPS, _TABLES)

    def load(self, kind: Kind, key: str) -> Groups | None:
        """Return what was found under a key; None if it is not known."""
        rows = self._file.read("select groups from found where kind = ? and key = ?", kind, key) if key else []
        return from_json(rows[0][0]) if rows else None

    def save(self, kind: Kind, key: str, groups: Groups) -> None:
        """Keep what was found; an empty key keeps nothing."""
        if key:
            row = (kind, key, time.time(), _given(groups.given), to_json(groups))
            self._file.write("insert or replace into found values (?, ?, ?, ?, ?)", [row])
            oldest = "select key from found where kind = ? order by made desc limit -1 offset ?"
            self._file.write(f"delete from found where kind = ? and key in ({oldest})", [(kind, kind, _MOST)])

    def count(self, kind: Kind, given: Iterable[Path]) -> int | None:
        """Return how many groups in several photos were found last for these paths, without those that were named or
        ignored since; None if that is unknown.
        """
        query = "select groups from found where kind = ? and given = ? order by made desc limit 1"
        rows = self._file.read(query, kind, _given(p.absolute() for p in given))
        if not rows:
            return None
        acted_on = {action.group for _, action in self.actions() if action.kind is kind}
        return sum(g.photos > 1 and g.id not in acted_on for g in from_json(rows[0][0]).groups)

    def last_kind(self) -> Kind | None:
        """Return the kind of the list that was shown last; None if there was none."""
        rows = self._file.read("select kind from listed order by rowid desc limit 1")
        return Kind(rows[0][0]) if rows else None

    def listed(self, kind: Kind) -> Listed | None:
        """Return the list of a kind that was shown last; None if there was none."""
        rows = self._file.read("select groups, rows from listed where kind = ?", kind)
        return Listed(from_json(rows[0][0]), rows[0][1]) if rows else None

    def show(self, groups: Groups, rows: int) -> None:
        """Keep a list as the one that was shown last, so that its numbers keep their meaning; rows: how many it had."""
        query = "insert or replace into listed (kind, rows, groups) values (?, ?, ?)"
        self._file.write(query, [(groups.kind, rows, to_json(groups))])

    def note(self, action: Action) -> None:
        """Keep what was done."""
        row = (action.kind, json.dumps(asdict(action)))
        self._file.write("insert into done (kind, action) values (?, ?)", [row])

    def actions(self) -> list[tuple[int, Action]]:
        """Return what was done, with its number, the latest first."""
        rows = self._file.read("select number, action from done order by number desc")
        return [(number, _action(json.loads(text))) for number, text in rows]

    def change(self, number: int, action: Action) -> None:
        """Keep an action in place of another one."""
        self._file.write("update done set action = ? where number = ?", [(json.dumps(asdict(action)), number)])

    def drop(self, number: int) -> None:
        """Delete what is kept of something that was undone."""
        self._file.write("delete from done where number = ?", [(number,)])


def _given(paths: Iterable[Path]) -> str:
    return json.dumps(sorted(map(str, paths)))


def _action(row: dict[str, Any]) -> Action:
    return Action(**{**row, "kind": Kind(row["kind"]), "added": tuple(row["added"])})
