"""Names that the user removed from a sidecar: they are not written again until the user adds them again.

A name that myvlm wrote counts as removed if it is missing from a property into which it was written, and no program
rewrote the sidecar. Two records remember it: `myvlm:Declined` the name, and `myvlm:DeclinedBeside` ("Hierarchy Anna")
the properties in which others have it. If it appears in any other property, the user added it again.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from engine.sidecars.merge.ownership import RECORDS, Edits, check_version, is_rewritten, set_record
from engine.sidecars.merge.terms import NameRules, folded_name, name_of
from engine.sidecars.rdf.forms import MYVLM, folded, term_key
from engine.sidecars.rdf.packet import Packet
from engine.sidecars.regions.named import region_names, remove_regions

DECLINED, BESIDE = "Declined", "DeclinedBeside"


@dataclass(frozen=True)
class _Place:
    """A property into which myvlm writes names.

    record: our property that records them. recorded: names in that record. present: all names in the property.
    foreign: names in it that myvlm did not write.
    """

    record: str
    recorded: list[str]
    present: list[str]
    foreign: list[str]


def read_rules(packet: Packet, unrequested: frozenset[str] = frozenset()) -> NameRules:
    """Read which names the user removed. unrequested: names of concepts that this run does not look for."""
    removed = {folded_name(n): n for n in packet.items(MYVLM, DECLINED)}
    if not is_rewritten(packet):
        places = list(_places(packet, every=bool(removed)))
        if removed:
            added_again = _added_again(packet, places)
            removed = {k: n for k, n in removed.items() if k not in added_again}
        for place in places:
            present = {folded_name(n) for n in place.present}
            for name in place.recorded:
                if folded_name(name) not in present:
                    removed.setdefault(folded_name(name), name)
    return NameRules(removed, frozenset(k for n in unrequested if (k := folded_name(n)) not in removed))


def _added_again(packet: Packet, places: Iterable[_Place]) -> set[str]:
    """Return the folded names that others have in a property in which they did not have them when it was recorded."""
    beside = (b.partition(" ") for b in packet.items(MYVLM, BESIDE))
    known = {(record, folded_name(name)) for record, _, name in beside}
    return {key for p in places for n in p.foreign if (p.record, key := folded_name(n)) not in known}


def read_removed_names(data: bytes) -> frozenset[str]:
    """Return the names that the user removed from a sidecar, by `folded_name`.

    Raises:
        SidecarError: it cannot be read, or a later version wrote it.
    """
    packet = Packet(data)
    check_version(packet)
    return frozenset(read_rules(packet).removed)


def record_removed(packet: Packet, rules: NameRules) -> None:
    """Record the names that the user removed. Call it when everything else is in the packet."""
    set_record(packet, DECLINED, list(rules.removed.values()))
    places = _places(packet, every=True) if rules.removed else ()
    foreign = [(p.record, {folded_name(n) for n in p.foreign}) for p in places]
    set_record(packet, BESIDE, [f"{r} {n}" for r, keys in foreign for k, n in rules.removed.items() if k in keys])


def settle_records(packet: Packet, edits: Edits) -> None:
    """Drop from our records what is not in the packet, also for properties that a program emptied and this run left.

    Otherwise the next run would take these names for removed by the user.
    """
    for target, record in RECORDS.items():
        recorded = packet.items(MYVLM, record)
        present = {folded(p) for p in packet.items(*target)} if recorded else set()
        if any(folded(r) not in present for r in recorded):
            set_record(packet, record, [r for r in recorded if folded(r) in present])
    if packet.find(MYVLM, "Regions") is not None:
        recorded, names, _ = region_names(packet)
        present = {folded(n) for n in names}
        missing = [r for r in recorded if folded(r) not in present]
        if missing:
            edits.regions = True
            remove_regions(packet, missing)


def forget_removed(packet: Packet, names: Collection[str]) -> None:
    """Drop names from the records of removed names."""
    keys = {folded_name(n) for n in names}
    set_record(packet, DECLINED, [n for n in packet.items(MYVLM, DECLINED) if folded_name(n) not in keys])
    beside = [b for b in packet.items(MYVLM, BESIDE) if folded_name(b.partition(" ")[2]) not in keys]
    set_record(packet, BESIDE, beside)


def _places(packet: Packet, *, every: bool) -> Iterator[_Place]:
    """Yield the properties into which myvlm writes names. every: also those in which no name is recorded."""
    for target, record in RECORDS.items():
        recorded = packet.items(MYVLM, record)
        if not (recorded or every):
            continue
        present, keys = packet.items(*target), {term_key(r) for r in recorded}
        foreign = [name_of(p, target) for p in present if term_key(p) not in keys]
        yield _Place(record, [name_of(r, target) for r in recorded], [name_of(p, target) for p in present], foreign)
    if every or packet.find(MYVLM, "Regions") is not None:
        yield _Place("Regions", *region_names(packet))
