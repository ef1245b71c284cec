"""Names in arrays: keywords, people, tags with a path. Ours are brought up to date, nobody else's are touched."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engine.sidecars.merge.ownership import HIERARCHY, LABELS, RECORDS, TAGS, Edits, Name, set_record
from engine.sidecars.rdf.forms import folded, term_key
from engine.sidecars.rdf.namespaces import MYVLM
from engine.sidecars.rdf.packet import Packet

SEPARATORS = {HIERARCHY: "|", TAGS: "/"}


def leaf(path: str, target: Name) -> str:
    """The last part of a path: the tag's own name."""
    return term_key(path.rsplit(SEPARATORS[target], 1)[-1])


def name_of(term: str, target: Name) -> str:
    """The name that a term of a property says."""
    return leaf(term, target) if target in SEPARATORS else term_key(term)


def name_key(name: str) -> str:
    """The form in which a name and the last part of a path with it are one: no path can hold its separator."""
    return folded(name.replace("|", "-").replace("/", "-"))


@dataclass(frozen=True)
class Choice:
    """Which names may not be written (by key, as they were spelled), and which of ours are to stay as they are."""

    declined: Mapping[str, str] = field(default_factory=dict)
    unasked: frozenset[str] = frozenset()

    def allows(self, name: str) -> bool:
        """Whether no human took a name out."""
        return name_key(name) not in self.declined

    def stays(self, name: str) -> bool:
        """Whether this run has nothing to say about a name."""
        return bool(self.unasked) and name_key(name) in self.unasked


def set_terms(packet: Packet, edits: Edits, target: Name, terms: Sequence[str], choice: Choice) -> list[str]:
    """Bring an array up to date: drop terms of ours that no longer hold, add those that are missing; returns notes.

    A term that was there before us, in whatever spelling, is not ours and is not added again.
    """
    record = RECORDS[target]
    mine, present = packet.items(MYVLM, record), packet.items(*target)
    wanted: dict[str, str] = {}
    for term in (*(m for m in mine if choice.stays(name_of(m, target))), *terms):
        wanted.setdefault(folded(term), term)
    keys = {folded(p) for p in present}
    fresh = [t for k, t in wanted.items() if k not in keys]
    removed = packet.remove_items(*target, [m for m in mine if folded(m) not in wanted])
    edits.removed.setdefault(target, Counter()).update(removed)
    notes = []
    if fresh and not packet.add_items(*target, fresh, kind="Seq" if target == TAGS else "Bag"):
        notes, fresh = [f"could not add {', '.join(fresh)}: {LABELS[target]} has an unusual form"], []
    edits.added.setdefault(target, Counter()).update(term_key(t) for t in fresh)
    held = {k for k in map(folded, mine) if k in wanted and k in keys} | {folded(t) for t in fresh}
    noted = [m for m in mine if folded(m) in held]
    known = {folded(m) for m in noted}
    set_record(packet, record, [*noted, *(t for t in fresh if folded(t) not in known)])
    return notes
