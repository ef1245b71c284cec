"""Read, update and remove named regions in XMP.

Regions of other programs are read and kept; those that myvlm writes are recorded, so that it can change them later.
"""

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.core.notes import Note, NoteCode
from engine.sidecars.rdf.foreign import Token, canonical
from engine.sidecars.rdf.forms import PARSE_TYPE, array_items, array_of, detach, field_text, fields, folded, q
from engine.sidecars.rdf.packet import Packet
from engine.sidecars.regions.building import (
    CREATED,
    FILLED,
    RECORD,
    find_problem,
    list_entries,
    remove_frame,
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
"""Most regions in a sidecar: with ten or more, darktable silently stops saving it (darktable#17880; exiv2 takes 9, not
10)."""
_SAME_AREA = 0.5
"""Intersection over union above which two regions of one name are the same."""


@dataclass(frozen=True)
class AddedRegions:
    """Result of `add_regions`. written: the requested regions that are in the packet now, new or unchanged."""

    written: tuple[NamedRegion, ...] = ()
    notes: tuple[Note, ...] = ()


def read_regions(packet: Packet, *, ours: bool = True) -> tuple[NamedRegion, ...]:
    """Return all named regions of a packet, MWG's before Microsoft's; a region in both forms counts once.

    Left out are unnamed and damaged regions, points, circles, and regions in pixels without the size they refer to;
    and, unless `ours`, those that myvlm wrote: a user's tag is worth more than a recognition.
    """
    entries: list[NamedRegion | None] = []
    records = () if ours else packet.items(*RECORD)
    for element in packet.elements(REGIONS):
        top = fields(element)
        items = [item for item in array_items(top.get(REGION_LIST)) if not _is_ours(item, records)]
        entries += [mwg_region(item, applied_dimensions(top)) for item in items]
    for element in packet.elements(q(MP, "RegionInfo")):
        entries += microsoft_regions(element)
    regions: list[NamedRegion] = []
    for region in entries:
        if region and not any(_same_entry(region, other) for other in regions):
            regions.append(region)
    return tuple(regions)


def _same_entry(a: NamedRegion, b: NamedRegion) -> bool:
    return folded(a.name) == folded(b.name) and region_overlap(a, b) > _SAME_AREA


def read_dimensions(packet: Packet) -> tuple[float, float] | None:
    """Return the size of the stored picture that the MWG regions were drawn on (AppliedToDimensions), or None."""
    element = next(iter(packet.elements(REGIONS)), None)
    return None if element is None else applied_dimensions(fields(element))


def regions_kept(before: Packet, after: Packet) -> bool:
    """Return whether an edit kept the regions of other programs; checked before a sidecar is written."""
    records = {*before.items(*RECORD), *after.items(*RECORD)}
    return _foreign(before, records) == _foreign(after, records)


def _foreign(packet: Packet, records: Collection[str]) -> list[Token]:
    """Return the region properties without what is recorded as written by myvlm, and without empty lists."""
    tokens = []
    for element in map(copy.deepcopy, packet.elements(REGIONS)):
        for entry in list_entries([element]):
            if _is_ours(entry, records):
                detach(entry)
        top = fields(element)
        size, array = top.get(DIMENSIONS), array_of(top.get(REGION_LIST))
        if size is not None and not isinstance(size, str) and {CREATED, FILLED} & set(records):
            detach(size)
        if array is not None and not len(array) and (holder := array.getparent()) is not None:
            detach(holder)
        if len(element) or set(element.attrib) - {PARSE_TYPE} or (element.text or "").strip():
            element.tail = None
            tokens.append(canonical(element))
    return tokens


def _is_ours(entry: "etree._Element", records: Collection[str]) -> bool:
    """Return whether myvlm wrote an entry, and it is unchanged since."""
    region = mwg_region(entry, None)
    return region is not None and _is_recorded(region, records)


def _is_recorded(region: NamedRegion, records: Collection[str]) -> bool:
    return any(same_numbers(region, written) for r in records if (written := parse_record(r)))


def written_regions(packet: Packet) -> tuple[NamedRegion, ...]:
    """Return the regions that myvlm wrote and that are unchanged since."""
    records = packet.items(*RECORD)
    regions = (mwg_region(e, None) for e in list_entries(packet.elements(REGIONS)))
    return tuple(r for r in regions if r is not None and _is_recorded(r, records))


def region_names(packet: Packet) -> tuple[list[str], list[str], list[str]]:
    """Return the names in our records, those of all entries, and those of the entries of other programs."""
    records, entries = packet.items(*RECORD), list_entries(packet.elements(REGIONS))
    recorded = [region.name for r in records if (region := parse_record(r))]
    return recorded, [_name(e) for e in entries], [_name(e) for e in entries if not _is_ours(e, records)]


@dataclass(frozen=True)
class _Plan:
    """Changes to the entries.

    wanted: regions to have, by folded name. entries: how many entries there are now. obsolete: entries to remove.
    kept: regions that are there as wanted, by folded name. new: regions to add.
    """

    wanted: dict[str, NamedRegion]
    entries: int
    obsolete: "tuple[etree._Element, ...]"
    kept: dict[str, NamedRegion]
    new: tuple[NamedRegion, ...]


def add_regions(
    packet: Packet, regions: Sequence[NamedRegion], dimensions: tuple[int, int], keep: Collection[str] = ()
) -> AddedRegions:
    """Update the regions of myvlm to exactly these; its regions of the names in `keep` stay as they are.

    dimensions: width and height of the stored picture. Entries of other programs stay as they are. Not written are
    regions without a name or an area, regions whose name an entry of another program has (the user tagged it), and
    regions beyond `LIMIT`.
    """
    records, properties = packet.items(*RECORD), packet.elements(REGIONS)
    if len(properties) > 1:
        return AddedRegions((), (Note(NoteCode.REGIONS_REPEATED),))
    plan = _plan(properties, records, regions, {folded(n) for n in keep})
    new, notes = _fit(plan, properties, records, dimensions)
    for entry in plan.obsolete:
        detach(entry)
    flags = [r for r in records if r in (CREATED, FILLED)]
    if new:
        flags = write_regions(packet, properties, new, dimensions, flags)
    elif not plan.kept:
        remove_frame(properties, flags)
        flags = []
    kept = [
        r for r in records if (region := parse_record(r)) and any(same_numbers(region, k) for k in plan.kept.values())
    ]
    _set_record(packet, records, flags, [*kept, *map(record_of, new)])
    return AddedRegions(tuple(r for key, r in plan.wanted.items() if key in plan.kept or r in new), notes)


def _plan(
    properties: "Sequence[etree._Element]",
    records: Sequence[str],
    regions: Sequence[NamedRegion],
    keep: Collection[str],
) -> _Plan:
    """Compare the regions to have with the entries that are there. keep: folded names."""
    wanted: dict[str, NamedRegion] = {}
    for region in map(_rounded, regions):
        if checked(region):
            wanted.setdefault(folded(region.name), region)
    entries = list_entries(properties)
    written = [(e, r) for e in entries if (r := mwg_region(e, None)) and _is_recorded(r, records)]
    written_entries = [e for e, _ in written]
    foreign_names = {folded(_name(e)) for e in entries if e not in written_entries}
    obsolete: list[etree._Element] = []
    kept: dict[str, NamedRegion] = {}
    for entry, region in written:
        key = folded(region.name)
        if _is_same(region, wanted.get(key)) or (key in keep and key not in wanted):
            kept[key] = region
        else:
            obsolete.append(entry)
    new = tuple(r for key, r in wanted.items() if key not in foreign_names and key not in kept)
    return _Plan(wanted, len(entries), tuple(obsolete), kept, new)


def _fit(
    plan: _Plan, properties: "Sequence[etree._Element]", records: Sequence[str], size: tuple[int, int]
) -> tuple[tuple[NamedRegion, ...], tuple[Note, ...]]:
    """Return the new regions that can be written, and a note that says why the others cannot."""
    left = plan.entries - len(plan.obsolete)
    problem = find_problem(properties, size, records, alone=left == 0) if plan.new else None
    room = 0 if problem else max(0, LIMIT - left)
    if len(plan.new) <= room:
        return plan.new, ()
    names = ", ".join(r.name for r in plan.new[room:])
    code, values = problem or (NoteCode.REGIONS_FULL, (str(LIMIT),))
    return plan.new[:room], (Note(code, (names, *values)),)


def remove_regions(packet: Packet, names: Collection[str] | None = None) -> tuple[str, ...]:
    """Remove the regions that myvlm wrote for these names (None: all that it wrote); return the removed names."""
    records = packet.items(*RECORD)
    keys = None if names is None else {folded(n) for n in names}
    properties = packet.elements(REGIONS)
    removed = []
    for entry in [e for e in list_entries(properties) if _is_ours(e, records)]:
        if keys is None or folded(_name(entry)) in keys:
            removed.append(_name(entry))
            detach(entry)
    kept = [r for r in records if (region := parse_record(r)) and keys is not None and folded(region.name) not in keys]
    flags = [r for r in records if r in (CREATED, FILLED)]
    if not kept:
        remove_frame(properties, flags)
    _set_record(packet, records, flags, kept)
    return tuple(removed)


def _rounded(r: NamedRegion) -> NamedRegion:
    return NamedRegion(r.name.strip(), round(r.x, 6), round(r.y, 6), round(r.w, 6), round(r.h, 6), r.type)


def _name(entry: "etree._Element") -> str:
    return field_text(fields(entry).get(NAME))


def _is_same(region: NamedRegion, wanted: NamedRegion | None) -> bool:
    return wanted is not None and same_numbers(region, wanted) and region.type == wanted.type


def _set_record(packet: Packet, old: Sequence[str], flags: Sequence[str], records: Sequence[str]) -> None:
    """Record what myvlm wrote; without regions, the flags of what it made around them are dropped, too."""
    values = [*flags, *records] if records else []
    packet.forget_index()
    if list(old) != values:
        packet.remove(*RECORD)
        if values:
            packet.add_items(*RECORD, values)
