"""Named areas of a photo in its XMP: others' are read and kept, ours are marked, brought up to date and removed."""

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.sidecars.rdf.foreign import Token, canonical
from engine.sidecars.rdf.forms import PARSE_TYPE, array_items, array_of, detach, field_text, fields, folded
from engine.sidecars.rdf.namespaces import q
from engine.sidecars.rdf.packet import Packet
from engine.sidecars.regions.building import (
    CREATED,
    FILLED,
    RECORD,
    entries_of,
    problem_of,
    tidy,
    write_regions,
)
from engine.sidecars.regions.forms import (
    DIMENSIONS,
    MP,
    NAME,
    REGION_LIST,
    REGIONS,
    NamedRegion,
    applied_dimensions,
    checked,
    microsoft_regions,
    mwg_region,
    parse_record,
    record_of,
    region_overlap,
    same_numbers,
)

if TYPE_CHECKING:
    from lxml import etree

LIMIT = 9
"""With ten regions or more darktable stops saving the sidecar, silently (darktable#17880; exiv2: 9 fine, 10 fail)."""
_SAME_AREA = 0.5


@dataclass(frozen=True)
class AddedRegions:
    """What became of the regions that were to be written; all of `written` are in the packet now, new or kept."""

    written: tuple[NamedRegion, ...] = ()
    notes: tuple[str, ...] = ()


def read_regions(packet: Packet, *, ours: bool = True) -> tuple[NamedRegion, ...]:
    """All named areas of a packet, MWG's before Microsoft's; one that both forms hold counts once.

    Left out: unnamed and broken ones, points, circles, and pixel areas without the size they refer to; without `ours`
    those that myvlm wrote, too: what a human says is worth more than a guess.
    """
    entries: list[NamedRegion | None] = []
    marks = () if ours else packet.items(*RECORD)
    for element in packet.elements(REGIONS):
        top = fields(element)
        items = [item for item in array_items(top.get(REGION_LIST)) if not _is_ours(item, marks)]
        entries += [mwg_region(item, applied_dimensions(top)) for item in items]
    for element in packet.elements(q(MP, "RegionInfo")):
        entries += microsoft_regions(element)
    found: list[NamedRegion] = []
    for region in entries:
        if region and not any(_same_entry(region, known) for known in found):
            found.append(region)
    return tuple(found)


def _same_entry(a: NamedRegion, b: NamedRegion) -> bool:
    return folded(a.name) == folded(b.name) and region_overlap(a, b) > _SAME_AREA


def read_dimensions(packet: Packet) -> tuple[float, float] | None:
    """The size of the stored picture that the MWG regions were drawn on (AppliedToDimensions), or None."""
    found = next(iter(packet.elements(REGIONS)), None)
    return None if found is None else applied_dimensions(fields(found))


def regions_kept(before: Packet, after: Packet) -> bool:
    """Whether an edit left all of other programs' in mwg-rs:Regions: for the check before a sidecar is written."""
    marks = {*before.items(*RECORD), *after.items(*RECORD)}
    return _foreign(before, marks) == _foreign(after, marks)


def _foreign(packet: Packet, marks: Collection[str]) -> list[Token]:
    """The region properties without what the marks say is ours, and without empty lists."""
    tokens = []
    for element in map(copy.deepcopy, packet.elements(REGIONS)):
        for entry in entries_of([element]):
            if _is_ours(entry, marks):
                detach(entry)
        top = fields(element)
        size, array = top.get(DIMENSIONS), array_of(top.get(REGION_LIST))
        if size is not None and not isinstance(size, str) and {CREATED, FILLED} & set(marks):
            detach(size)
        if array is not None and not len(array):
            detach(array.getparent())
        if len(element) or set(element.attrib) - {PARSE_TYPE} or (element.text or "").strip():
            element.tail = None
            tokens.append(canonical(element))
    return tokens


def _is_ours(entry: "etree._Element", marks: Collection[str]) -> bool:
    region = mwg_region(entry, None)
    return region is not None and _is_marked(region, marks)


def _is_marked(region: NamedRegion, marks: Collection[str]) -> bool:
    return any(same_numbers(region, own) for m in marks if (own := parse_record(m)))


def own_regions(packet: Packet) -> tuple[NamedRegion, ...]:
    """Those that we wrote, and that are as we wrote them."""
    marks = packet.items(*RECORD)
    found = (mwg_region(e, None) for e in entries_of(packet.elements(REGIONS)))
    return tuple(r for r in found if r is not None and _is_marked(r, marks))


def region_names(packet: Packet) -> tuple[list[str], list[str], list[str]]:
    """The names that our marks tell of, those of all entries, and those of the entries that are not ours."""
    marks, entries = packet.items(*RECORD), entries_of(packet.elements(REGIONS))
    noted = [r.name for m in marks if (r := parse_record(m))]
    return noted, [_name(e) for e in entries], [_name(e) for e in entries if not _is_ours(e, marks)]


@dataclass(frozen=True)
class _Plan:
    """What is to become of the entries: by key of their names, those wanted, kept and new; those to take out."""

    wanted: dict[str, NamedRegion]
    entries: int
    gone: "tuple[etree._Element, ...]"
    kept: dict[str, NamedRegion]
    fresh: tuple[NamedRegion, ...]


def add_regions(
    packet: Packet, regions: Sequence[NamedRegion], dimensions: tuple[int, int], keep: Collection[str] = ()
) -> AddedRegions:
    """Bring our regions up to date: these and no others, but for those of the names in `keep`, which stay as they are;
    `dimensions` are the stored picture's width and height.

    Entries of other programs stay as they are. Not written: a region without a name or an area, one whose name
    somebody else's entry has (a human tagged it), and what would be the tenth.
    """
    marks, found = packet.items(*RECORD), packet.elements(REGIONS)
    if len(found) > 1:
        return AddedRegions((), ("regions not written: mwg-rs:Regions is there more than once",))
    plan = _plan(found, marks, regions, {folded(n) for n in keep})
    fresh, notes = _that_fit(plan, found, marks, dimensions)
    for entry in plan.gone:
        detach(entry)
    flags = [m for m in marks if m in (CREATED, FILLED)]
    if fresh:
        flags = write_regions(packet, found, fresh, dimensions, flags)
    elif not plan.kept:
        flags = tidy(found, flags)
    stay = [m for m in marks if (r := parse_record(m)) and any(same_numbers(r, k) for k in plan.kept.values())]
    _set_record(packet, marks, flags, [*stay, *map(record_of, fresh)])
    return AddedRegions(tuple(r for key, r in plan.wanted.items() if key in plan.kept or r in fresh), notes)


def _plan(
    found: "Sequence[etree._Element]", marks: Sequence[str], regions: Sequence[NamedRegion], keep: Collection[str]
) -> _Plan:
    wanted: dict[str, NamedRegion] = {}
    for region in map(_rounded, regions):
        if checked(region):
            wanted.setdefault(folded(region.name), region)
    entries = entries_of(found)
    mine = [(e, r) for e in entries if (r := mwg_region(e, None)) and _is_marked(r, marks)]
    own = [e for e, _ in mine]
    others = {folded(_name(e)) for e in entries if e not in own}
    gone, kept = [], {}
    for entry, region in mine:
        key = folded(region.name)
        if _is_same(region, wanted.get(key)) or (key in keep and key not in wanted):
            kept[key] = region
        else:
            gone.append(entry)
    fresh = tuple(r for key, r in wanted.items() if key not in others and key not in kept)
    return _Plan(wanted, len(entries), tuple(gone), kept, fresh)


def _that_fit(
    plan: _Plan, found: "Sequence[etree._Element]", marks: Sequence[str], size: tuple[int, int]
) -> tuple[tuple[NamedRegion, ...], tuple[str, ...]]:
    """The new regions that can be written, and why the others cannot."""
    left = plan.entries - len(plan.gone)
    problem = problem_of(found, size, marks, alone=left == 0) if plan.fresh else ""
    room = 0 if problem else max(0, LIMIT - left)
    if len(plan.fresh) <= room:
        return plan.fresh, ()
    names = ", ".join(r.name for r in plan.fresh[room:])
    reason = problem or f"a photo takes {LIMIT} (darktable stops saving with more)"
    return plan.fresh[:room], (f"no region written for {names}: {reason}",)


def remove_regions(packet: Packet, names: Collection[str] | None = None) -> tuple[str, ...]:
    """Take out our own regions of some names (None: all of ours); returns the names of those that were there."""
    marks = packet.items(*RECORD)
    keys = None if names is None else {folded(n) for n in names}
    found = packet.elements(REGIONS)
    removed = []
    for entry in [e for e in entries_of(found) if _is_ours(e, marks)]:
        if keys is None or folded(_name(entry)) in keys:
            removed.append(_name(entry))
            detach(entry)
    records = [m for m in marks if (r := parse_record(m)) and keys is not None and folded(r.name) not in keys]
    flags = [m for m in marks if m in (CREATED, FILLED)]
    if not records:
        tidy(found, flags)
    _set_record(packet, marks, flags, records)
    return tuple(removed)


def _rounded(r: NamedRegion) -> NamedRegion:
    return NamedRegion(r.name.strip(), round(r.x, 6), round(r.y, 6), round(r.w, 6), round(r.h, 6), r.type)


def _name(entry: "etree._Element") -> str:
    return field_text(fields(entry).get(NAME))


def _is_same(region: NamedRegion, wanted: NamedRegion | None) -> bool:
    return wanted is not None and same_numbers(region, wanted) and region.type == wanted.type


def _set_record(packet: Packet, marks: Sequence[str], flags: Sequence[str], records: Sequence[str]) -> None:
    """Note what is ours; with our last region go the marks of what we made around them."""
    values = [*flags, *records] if records else []
    packet.forget_index()
    if list(marks) != values:
        packet.remove(*RECORD)
        if values:
            packet.add_items(*RECORD, values)
