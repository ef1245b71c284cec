"""Update names in arrays: keywords, people, tags with a path. Terms of the user and other programs stay."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engine.core.notes import Note, NoteCode
from engine.sidecars.merge.ownership import HIERARCHY, LABELS, RECORDS, TAGS, Edits, Name, set_record
from engine.sidecars.rdf.forms import MYVLM, folded, term_key
from engine.sidecars.rdf.packet import Packet

SEPARATORS = {HIERARCHY: "|", TAGS: "/"}
"""What separates the parts of a path, for each property with paths."""


def leaf(path: str, target: Name) -> str:
    """Return the last part of a path: the name of the tag itself."""
    return term_key(path.rsplit(SEPARATORS[target], 1)[-1])


def name_of(term: str, target: Name) -> str:
    """Return the name in a term of a property: of a path its last part."""
    return leaf(term, target) if target in SEPARATORS else term_key(term)


def folded_name(name: str) -> str:
    """Fold a name so that it equals the last part of a path with it, in which the separators become hyphens.

    Not the same as `core.text.name_key`, which identifies a concept: that keeps white space, "|" and "/".
    """
    return folded(name.replace("|", "-").replace("/", "-"))


@dataclass(frozen=True)
class NameRules:
    """Which names a merge may write or remove.

    removed: names that the user removed, which must not be written again; by `folded_name`, as they were spelled.
    unrequested: folded names of concepts that this run does not look for, so that names written earlier stay.
    """

    removed: Mapping[str, str] = field(default_factory=dict)
    unrequested: frozenset[str] = frozenset()

    def allows(self, name: str) -> bool:
        """Return whether a name may be written: the user did not remove it."""
        return folded_name(name) not in self.removed

    def keeps(self, name: str) -> bool:
        """Return whether a name stays because this run does not look for its concept."""
        return bool(self.unrequested) and folded_name(name) in self.unrequested


def set_terms(packet: Packet, edits: Edits, target: Name, terms: Sequence[str], rules: NameRules) -> list[Note]:
    """Update an array: remove terms that myvlm wrote and that no longer hold, add missing ones; return notes.

    A term that the user or another program wrote, in any spelling, is neither recorded nor added again.
    """
    record = RECORDS[target]
    recorded, present = packet.items(MYVLM, record), {folded(p) for p in packet.items(*target)}
    wanted: dict[str, str] = {}
    for term in (*(r for r in recorded if rules.keeps(name_of(r, target))), *terms):
        wanted.setdefault(folded(term), term)
    new = [t for k, t in wanted.items() if k not in present]
    removed = packet.remove_items(*target, [r for r in recorded if folded(r) not in wanted])
    edits.removed.setdefault(target, Counter()).update(removed)
    notes = []
    if new and not packet.add_items(*target, new, kind="Seq" if target == TAGS else "Bag"):
        notes, new = [Note(NoteCode.UNUSUAL_ARRAY, (", ".join(new), LABELS[target]))], []
    edits.added.setdefault(target, Counter()).update(term_key(t) for t in new)
    held = {k for k in map(folded, recorded) if k in wanted and k in present} | {folded(t) for t in new}
    kept = [r for r in recorded if folded(r) in held]
    kept_keys = {folded(r) for r in kept}
    set_record(packet, record, [*kept, *(t for t in new if folded(t) not in kept_keys)])
    return notes
