"""Undoing a run in a sidecar that somebody else changed after it: ours goes, what stood there before comes back."""

from engine.core.errors import SidecarError
from engine.sidecars.merge.ownership import (
    DESCRIPTION,
    RECORDS,
    TIFF_DESCRIPTION,
    Edits,
    Name,
    caption_hash,
    check_version,
    is_known,
    is_marked,
    set_mark,
    set_record,
)
from engine.sidecars.merge.removal import is_empty
from engine.sidecars.merge.removed_names import note_declined, read_choice
from engine.sidecars.merge.terms import Choice, name_of, set_terms
from engine.sidecars.rdf.forms import term_key
from engine.sidecars.rdf.namespaces import MYVLM
from engine.sidecars.rdf.packet import Packet
from engine.sidecars.rdf.parsing import refused
from engine.sidecars.regions.named import add_regions, own_regions, read_dimensions, remove_regions

_TEXTS = (
    (DESCRIPTION, "HadDescription", ("CaptionHash",)),
    (TIFF_DESCRIPTION, "HadImageDescription", ("MirrorHash", "CaptionHash")),
)
_MARKS = ("SchemaVersion", "VLM", "Settings", "Run", "CaptionHash", "MirrorHash", "HadDescription")
_MARKS += ("HadImageDescription",)


def take_back(present: bytes, before: bytes | None) -> bytes | None:
    """Undo a run in a sidecar that somebody else changed since; `before` is what the run found (None: no sidecar).

    What is ours goes. Back come our own words that `before` held, from a run before, and a description that we had
    replaced, where there is none now. What a human did since counts: his description stays, names that he took out
    stay out. The same bytes when there is no block of ours; None when nothing but ours was there, and nothing before.

    Raises:
        SidecarError: it cannot be edited without risk; leave it as it is then.
    """
    with refused():
        packet, earlier = Packet(present), Packet(before)
        check_version(packet)
        check_version(earlier)
        if not is_marked(packet):
            return present
        start, edits, choice = packet.serialise(), Edits(), read_choice(packet)
        for target, record, marks in _TEXTS:
            _put_text(packet, earlier, edits, target, record, marks)
        _put_names(packet, earlier, edits, choice)
        for name in _MARKS:
            set_mark(packet, name, earlier.text(MYVLM, name))
        set_record(packet, "Concepts", earlier.items(MYVLM, "Concepts"))
        note_declined(packet, choice if is_marked(earlier) else Choice())
        if packet.serialise() == start:
            return present
        packet.remove_empty_blocks()
        data = packet.serialise()
        after = Packet(data)
        edits.check(Packet(start), after)
    return None if before is None and is_empty(after) else data


def _put_text(packet: Packet, earlier: Packet, edits: Edits, target: Name, record: str, marks: tuple[str, ...]) -> None:
    """A description as it was: ours of an earlier run, or the one that we replaced. A human's newer one stays."""
    current, old = packet.default_text(*target), earlier.overwritten_text(*target)
    mine = _is_known(packet, current, marks)
    had = packet.text(MYVLM, record)
    if not mine and current is not None:
        return
    if mine:
        wanted = old if old.strip() or is_marked(earlier) else had
    else:
        replaced = had is not None and caption_hash(had) == caption_hash(old)
        wanted = old if replaced or _is_known(earlier, old, marks) else None
    if (wanted or "").strip() == (current or ""):
        return
    edits.texts.add(target)
    done = (
        packet.set_default_text(*target, wanted) if wanted and wanted.strip() else packet.remove_default_text(*target)
    )
    if not done:
        raise SidecarError(f"{target[1]} has an unusual form")


def _is_known(packet: Packet, text: str | None, marks: tuple[str, ...]) -> bool:
    return any(is_known(text, packet.text(MYVLM, mark)) for mark in marks)


def _put_names(packet: Packet, earlier: Packet, edits: Edits, choice: Choice) -> None:
    for target, record in RECORDS.items():
        there = {term_key(p) for p in earlier.items(*target)}
        own = [m for m in earlier.items(MYVLM, record) if term_key(m) in there and choice.allows(name_of(m, target))]
        set_terms(packet, edits, target, own, Choice())
    regions, size = own_regions(earlier), read_dimensions(earlier)
    if not (regions or packet.items(MYVLM, "Regions")):
        return
    edits.regions = True
    if regions and size is not None:
        add_regions(packet, [r for r in regions if choice.allows(r.name)], (round(size[0]), round(size[1])))
    else:
        remove_regions(packet)
