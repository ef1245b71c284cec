"""Names that a human took out of a sidecar: they stay out, everywhere, until he puts one in again.

A name of ours is declined when it is gone from one of the properties that we had put it into, and no program wrote the
sidecar anew. Our block remembers it (`myvlm:Declined`), and where it still stands by somebody else's hand
(`myvlm:DeclinedBeside`, "Hierarchy Anna"): a human put it in again when it stands anywhere else.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from engine.sidecars.merge.ownership import RECORDS, Edits, check_version, is_rewritten, set_record
from engine.sidecars.merge.terms import Choice, name_key, name_of
from engine.sidecars.rdf.forms import folded, term_key
from engine.sidecars.rdf.namespaces import MYVLM
from engine.sidecars.rdf.packet import Packet
from engine.sidecars.regions.named import region_names, remove_regions

DECLINED, BESIDE = "Declined", "DeclinedBeside"


@dataclass(frozen=True)
class _Place:
    """A property that we put names into: those that our record has, those that are there, those of others."""

    record: str
    noted: list[str]
    present: list[str]
    others: list[str]


def read_choice(packet: Packet, unasked: frozenset[str] = frozenset()) -> Choice:
    """What a human decided about names; `unasked` are those that this run has nothing to say about."""
    declined = {name_key(n): n for n in packet.items(MYVLM, DECLINED)}
    if not is_rewritten(packet):
        places = list(_places(packet, every=bool(declined)))
        if declined:
            known = {(record, name_key(n)) for record, _, n in (b.partition(" ") for b in packet.items(MYVLM, BESIDE))}
            again = {key for p in places for n in p.others if (p.record, key := name_key(n)) not in known}
            declined = {k: n for k, n in declined.items() if k not in again}
        for place in places:
            here = {name_key(n) for n in place.present}
            for name in place.noted:
                if name_key(name) not in here:
                    declined.setdefault(name_key(name), name)
    return Choice(declined, frozenset(k for n in unasked if (k := name_key(n)) not in declined))


def read_declined(data: bytes) -> frozenset[str]:
    """The keys (`name_key`) of the names that a human took out of a sidecar.

    Raises:
        SidecarError: it cannot be read, or a later version wrote it.
    """
    packet = Packet(data)
    check_version(packet)
    return frozenset(read_choice(packet).declined)


def note_declined(packet: Packet, choice: Choice) -> None:
    """Remember what a human decided; to be called when all else is in the packet."""
    set_record(packet, DECLINED, list(choice.declined.values()))
    places = _places(packet, every=True) if choice.declined else ()
    others = [(p.record, {name_key(n) for n in p.others}) for p in places]
    set_record(packet, BESIDE, [f"{r} {n}" for r, keys in others for k, n in choice.declined.items() if k in keys])


def settle_records(packet: Packet, edits: Edits) -> None:
    """Let our records say what is there, also of properties that this run left as a program had emptied them: what
    they say beyond that would be taken for a human's decision the next time.
    """
    for target, record in RECORDS.items():
        mine = packet.items(MYVLM, record)
        keys = {folded(p) for p in packet.items(*target)} if mine else set()
        if any(folded(m) not in keys for m in mine):
            set_record(packet, record, [m for m in mine if folded(m) in keys])
    if packet.find(MYVLM, "Regions") is not None:
        noted, present, _ = region_names(packet)
        here = {folded(p) for p in present}
        gone = [n for n in noted if folded(n) not in here]
        if gone:
            edits.regions = True
            remove_regions(packet, gone)


def forget_declined(packet: Packet, names: Collection[str]) -> None:
    """Remember some names no longer."""
    keys = {name_key(n) for n in names}
    set_record(packet, DECLINED, [n for n in packet.items(MYVLM, DECLINED) if name_key(n) not in keys])
    beside = [b for b in packet.items(MYVLM, BESIDE) if name_key(b.partition(" ")[2]) not in keys]
    set_record(packet, BESIDE, beside)


def _places(packet: Packet, *, every: bool) -> Iterator[_Place]:
    """The properties that we put names into; not `every`: only those that our record has names of."""
    for target, record in RECORDS.items():
        mine = packet.items(MYVLM, record)
        if not (mine or every):
            continue
        present, keys = packet.items(*target), {term_key(m) for m in mine}
        others = [name_of(p, target) for p in present if term_key(p) not in keys]
        yield _Place(record, [name_of(m, target) for m in mine], [name_of(p, target) for p in present], others)
    if every or packet.find(MYVLM, "Regions") is not None:
        yield _Place("Regions", *region_names(packet))
