"""Undo a run in a sidecar that was changed after it: remove what myvlm wrote, restore what it replaced."""

from engine.core.errors import SidecarError
from engine.sidecars.merge.ownership import (
    DESCRIPTION,
    RECORDS,
    TIFF_DESCRIPTION,
    Edits,
    Name,
    caption_hash,
    check_version,
    has_hash,
    is_marked,
    set_mark,
    set_record,
)
from engine.sidecars.merge.removal import is_empty
from engine.sidecars.merge.removed_names import read_rules, record_removed
from engine.sidecars.merge.terms import NameRules, name_of, set_terms
from engine.sidecars.rdf.forms import MYVLM, term_key
from engine.sidecars.rdf.packet import Packet
from engine.sidecars.rdf.parsing import refuse_unsafe_edits
from engine.sidecars.regions.named import add_regions, read_dimensions, remove_regions, written_regions

_TEXTS = (
    (DESCRIPTION, "HadDescription", ("CaptionHash",)),
    (TIFF_DESCRIPTION, "HadImageDescription", ("MirrorHash", "CaptionHash")),
)
"""Properties with the caption: where the replaced text is recorded, and the hashes that mark our text."""
_MARKS = (
    *("SchemaVersion", "VLM", "Settings", "Run"),
    *("CaptionHash", "MirrorHash", "HadDescription", "HadImageDescription"),
)


def restore(present: bytes, before: bytes | None) -> bytes | None:
    """Undo a run in the bytes of a sidecar that was changed since; `before` are those before the run (None: no file).

    What myvlm wrote is removed. Restored are what an earlier run had written into `before`, and a description that the
    run replaced, if there is none now. Changes of the user since then hold: a new description stays, removed names stay
    removed.

    Returns the same bytes if there is no record of myvlm, and None if nothing else is left and there was no file
    before.

    Raises:
        SidecarError: it cannot be edited without risk; leave it as it is then.
    """
    with refuse_unsafe_edits():
        packet, earlier = Packet(present), Packet(before)
        check_version(packet)
        check_version(earlier)
        if not is_marked(packet):
            return present
        start, edits, rules = packet.serialise(), Edits(), read_rules(packet)
        for target, record, marks in _TEXTS:
            _restore_text(packet, earlier, edits, target, record, marks)
        _restore_names(packet, earlier, edits, rules)
        for name in _MARKS:
            set_mark(packet, name, earlier.text(MYVLM, name))
        set_record(packet, "Concepts", earlier.items(MYVLM, "Concepts"))
        record_removed(packet, rules if is_marked(earlier) else NameRules())
        if packet.serialise() == start:
            return present
        packet.remove_empty_blocks()
        data = packet.serialise()
        after = Packet(data)
        edits.check(Packet(start), after)
    return None if before is None and is_empty(after) else data


def _restore_text(
    packet: Packet, earlier: Packet, edits: Edits, target: Name, record: str, marks: tuple[str, ...]
) -> None:
    """Restore a description: the caption of an earlier run, or the replaced text. A newer text of the user stays.

    Raises:
        SidecarError: the form of the property prevents it.
    """
    current, old = packet.default_text(*target), earlier.overwritten_text(*target)
    is_ours = _is_marked_text(packet, current, marks)
    replaced = packet.text(MYVLM, record)
    if not is_ours and current is not None:
        return
    if is_ours:
        wanted = old if old.strip() or is_marked(earlier) else replaced
    else:
        was_replaced = replaced is not None and caption_hash(replaced) == caption_hash(old)
        wanted = old if was_replaced or _is_marked_text(earlier, old, marks) else None
    if (wanted or "").strip() == (current or ""):
        return
    edits.texts.add(target)
    is_set = (
        packet.set_default_text(*target, wanted) if wanted and wanted.strip() else packet.remove_default_text(*target)
    )
    if not is_set:
        raise SidecarError(f"{target[1]} has an unusual form")


def _is_marked_text(packet: Packet, text: str | None, marks: tuple[str, ...]) -> bool:
    """Return whether myvlm wrote a text, by the hashes recorded in a packet."""
    return any(has_hash(text, packet.text(MYVLM, mark)) for mark in marks)


def _restore_names(packet: Packet, earlier: Packet, edits: Edits, rules: NameRules) -> None:
    """Restore the names and regions that an earlier run wrote, without those that the user removed since."""
    for target, record in RECORDS.items():
        present = {term_key(p) for p in earlier.items(*target)}
        records = [r for r in earlier.items(MYVLM, record) if term_key(r) in present]
        set_terms(packet, edits, target, [r for r in records if rules.allows(name_of(r, target))], NameRules())
    regions, size = written_regions(earlier), read_dimensions(earlier)
    if not (regions or packet.items(MYVLM, "Regions")):
        return
    edits.regions = True
    if regions and size is not None:
        add_regions(packet, [r for r in regions if rules.allows(r.name)], (round(size[0]), round(size[1])))
    else:
        remove_regions(packet)
