"""Named areas of a photo in its XMP: others' are read and kept, ours are marked, brought up to date and removed."""

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.sidecars.namespaces import MYVLM, RDF, q
from engine.sidecars.packet import Packet
from engine.sidecars.region_forms import (
    AREA,
    DIMENSIONS,
    MP,
    MWG_RS,
    NAME,
    REGION_LIST,
    REGIONS,
    ST_AREA,
    ST_DIM,
    TYPE,
    NamedRegion,
    applied_dimensions,
    checked,
    microsoft_regions,
    mwg_region,
    parse_record,
    region_key,
    region_overlap,
)
from engine.sidecars.structs import (
    Token,
    append,
    array_items,
    array_of,
    canonical,
    detach,
    field_text,
    fields,
    holder_of,
    properties,
)

if TYPE_CHECKING:
    from lxml import etree

_PARSE_TYPE = q(RDF, "parseType")
LIMIT = 9
"""With ten regions or more darktable stops saving the sidecar, silently (darktable#17880; exiv2: 9 fine, 10 fail)."""
RECORD = (MYVLM, "Regions")
"""Where our own regions are marked: a Bag of "name x y w h" with six decimals, and of what we made around them."""
_CREATED, _FILLED = "created", "dimensions"
"""Marks beside those: the whole property is ours; its AppliedToDimensions is."""
_SAME_NUMBER, _SAME_AREA, _SAME_SHAPE = 2e-6, 0.5, 0.01


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
    for element in properties(packet, REGIONS):
        top = fields(element)
        items = [item for item in array_items(top.get(REGION_LIST)) if not _is_ours(item, marks)]
        entries += [mwg_region(item, applied_dimensions(top)) for item in items]
    for element in properties(packet, q(MP, "RegionInfo")):
        entries += microsoft_regions(element)
    found: list[NamedRegion] = []
    for region in entries:
        if region and not any(_same_entry(region, known) for known in found):
            found.append(region)
    return tuple(found)


def _same_entry(a: NamedRegion, b: NamedRegion) -> bool:
    return region_key(a.name) == region_key(b.name) and region_overlap(a, b) > _SAME_AREA


def read_dimensions(packet: Packet) -> tuple[float, float] | None:
    """The size of the stored picture that the MWG regions were drawn on (AppliedToDimensions), or None."""
    found = next(properties(packet, REGIONS), None)
    return None if found is None else applied_dimensions(fields(found))


def regions_kept(before: Packet, after: Packet) -> bool:
    """Whether an edit left all of other programs' in mwg-rs:Regions: for the check before a sidecar is written."""
    marks = {*before.items(*RECORD), *after.items(*RECORD)}
    return _foreign(before, marks) == _foreign(after, marks)


def _foreign(packet: Packet, marks: Collection[str]) -> list[Token]:
    """The region properties without what the marks say is ours, and without empty lists."""
    tokens = []
    for element in map(copy.deepcopy, properties(packet, REGIONS)):
        for entry in _entries([element]):
            if _is_ours(entry, marks):
                detach(entry)
        top = fields(element)
        size, listed = top.get(DIMENSIONS), top.get(REGION_LIST)
        if size is not None and not isinstance(size, str) and {_CREATED, _FILLED} & set(marks):
            detach(size)
        array = array_of(listed)
        if array is not None and not len(array) and listed is not None and not isinstance(listed, str):
            detach(listed)
        if len(element) or set(element.attrib) - {_PARSE_TYPE} or (element.text or "").strip():
            element.tail = None
            tokens.append(canonical(element))
    return tokens


def _is_ours(entry: "etree._Element", marks: Collection[str]) -> bool:
    region = mwg_region(entry, None)
    return region is not None and any(_same_numbers(region, own) for m in marks if (own := parse_record(m)))


def _same_numbers(a: NamedRegion, b: NamedRegion) -> bool:
    pairs = ((a.x, b.x), (a.y, b.y), (a.w, b.w), (a.h, b.h))
    return a.name == b.name and all(abs(p - r) <= _SAME_NUMBER for p, r in pairs)


def record_of(region: NamedRegion) -> str:
    """The mark by which a region of ours is known again."""
    return f"{region.name} {region.x:.6f} {region.y:.6f} {region.w:.6f} {region.h:.6f}"


@dataclass(frozen=True)
class _Plan:
    """What is to become of the entries: by key of their names, those wanted, kept and new; those to take out."""

    wanted: dict[str, NamedRegion]
    entries: int
    gone: "tuple[etree._Element, ...]"
    kept: frozenset[str]
    declined: frozenset[str]
    fresh: tuple[NamedRegion, ...]


def add_regions(packet: Packet, regions: Sequence[NamedRegion], dimensions: tuple[int, int]) -> AddedRegions:
    """Bring our regions up to date: these and no others; `dimensions` are the stored picture's width and height.

    Entries of other programs stay as they are. Not written: a region without a name or an area, one whose name
    somebody else's entry has (a human tagged it), one of ours that a human took out, and what would be the tenth.
    """
    marks = packet.items(*RECORD)
    found = list(properties(packet, REGIONS))
    if len(found) > 1:
        return AddedRegions((), ("regions not written: mwg-rs:Regions is there more than once",))
    plan = _plan(found, marks, regions)
    fresh, notes = _that_fit(plan, found, marks, dimensions)
    for entry in plan.gone:
        detach(entry)
    flags = [m for m in marks if m in (_CREATED, _FILLED)]
    if fresh:
        flags = _write(packet, found, fresh, dimensions, flags)
    elif not plan.kept:
        flags = _tidy(found, flags)
    written = tuple(r for key, r in plan.wanted.items() if key in plan.kept or r in fresh)
    records = [record_of(r) for r in written]
    out = plan.declined & set(plan.wanted)
    records += [m for m in marks if (own := parse_record(m)) and region_key(own.name) in out]
    _set_record(packet, marks, [*flags, *records] if records else [])
    return AddedRegions(written, notes)


def _plan(found: "Sequence[etree._Element]", marks: Sequence[str], regions: Sequence[NamedRegion]) -> _Plan:
    wanted: dict[str, NamedRegion] = {}
    for region in map(_rounded, regions):
        if checked(region):
            wanted.setdefault(region_key(region.name), region)
    entries = _entries(found)
    mine = [e for e in entries if _is_ours(e, marks)]
    gone = tuple(e for e in mine if not _still_wanted(e, wanted))
    others = {region_key(_name(e)) for e in entries if e not in mine}
    kept = frozenset(region_key(_name(e)) for e in mine if e not in gone)
    here = {region_key(_name(e)) for e in mine}
    marked = {region_key(r.name) for m in marks if (r := parse_record(m))}
    declined = frozenset(marked - here) if entries else frozenset()  # all gone: another program dropped the property
    fresh = tuple(r for key, r in wanted.items() if key not in others | kept | declined)
    return _Plan(wanted, len(entries), gone, kept, declined, fresh)


def _that_fit(
    plan: _Plan, found: "Sequence[etree._Element]", marks: Sequence[str], size: tuple[int, int]
) -> tuple[tuple[NamedRegion, ...], tuple[str, ...]]:
    """The new regions that can be written, and why the others cannot."""
    left = plan.entries - len(plan.gone)
    problem = _problem(found, size, marks, alone=left == 0) if plan.fresh else ""
    room = 0 if problem else max(0, LIMIT - left)
    if len(plan.fresh) <= room:
        return plan.fresh, ()
    names = ", ".join(r.name for r in plan.fresh[room:])
    reason = problem or f"a photo takes {LIMIT} (darktable stops saving with more)"
    return plan.fresh[:room], (f"no region written for {names}: {reason}",)


def remove_regions(packet: Packet, names: Collection[str] | None = None) -> tuple[str, ...]:
    """Take out our own regions of some names (None: all of ours); returns the names of those that were there."""
    marks = packet.items(*RECORD)
    keys = None if names is None else {region_key(n) for n in names}
    found = list(properties(packet, REGIONS))
    removed = []
    for entry in [e for e in _entries(found) if _is_ours(e, marks)]:
        if keys is None or region_key(_name(entry)) in keys:
            removed.append(_name(entry))
            detach(entry)
    records = [m for m in marks if (r := parse_record(m)) and keys is not None and region_key(r.name) not in keys]
    flags = [m for m in marks if m in (_CREATED, _FILLED)]
    if not records:
        _tidy(found, flags)
    _set_record(packet, marks, [*flags, *records] if records else [])
    return tuple(removed)


def _rounded(r: NamedRegion) -> NamedRegion:
    return NamedRegion(r.name.strip(), round(r.x, 6), round(r.y, 6), round(r.w, 6), round(r.h, 6), r.type)


def _entries(found: "Sequence[etree._Element]") -> "list[etree._Element]":
    return [e for element in found for e in array_items(fields(element).get(REGION_LIST))]


def _name(entry: "etree._Element") -> str:
    return field_text(fields(entry).get(NAME))


def _still_wanted(entry: "etree._Element", wanted: dict[str, NamedRegion]) -> bool:
    region = mwg_region(entry, None)
    same = wanted.get(region_key(region.name)) if region else None
    return bool(region and same and _same_numbers(region, same) and region.type == same.type)


def _problem(found: "Sequence[etree._Element]", size: tuple[int, int], marks: Sequence[str], *, alone: bool) -> str:
    """Why nothing can be added to the property that is there, "" when it can.

    Sizes of one shape are the same picture, scaled: parts of it stay where they are. Another shape is another crop or a
    picture lying on its side; ours would be told in a frame that the entries beside them are not in.
    """
    if not found:
        return ""
    top = fields(found[0])
    entries = top.get(REGION_LIST)
    if (array_of(entries) if entries is not None else holder_of(found[0])) is None:
        return "mwg-rs:Regions has an unusual form"
    known = applied_dimensions(top)
    if DIMENSIONS not in top:
        pixels = any(_unit(e) == "pixel" for e in array_items(entries))
        return "the regions that are there are in pixels of an unknown size" if pixels else ""
    if known is None or (alone and {_CREATED, _FILLED} & set(marks)):
        return ""
    if abs(known[0] * size[1] / (known[1] * size[0]) - 1) <= _SAME_SHAPE:
        return ""
    return f"the regions that are there belong to a picture of {known[0]:g} x {known[1]:g}, not {size[0]} x {size[1]}"


def _unit(entry: "etree._Element") -> str:
    area = fields(entry).get(AREA)
    return "" if area is None or isinstance(area, str) else field_text(fields(area).get(q(ST_AREA, "unit"))).lower()


def _write(
    packet: Packet,
    found: "Sequence[etree._Element]",
    fresh: Sequence[NamedRegion],
    size: tuple[int, int],
    flags: list[str],
) -> list[str]:
    """Append entries, and around them what is not there yet; returns the marks of what is ours around them."""
    if found:
        element = found[0]
    else:
        if not packet.blocks():
            packet.add_items(*RECORD, [_CREATED])  # makes a block
        element = append(packet.blocks()[0], REGIONS, {"mwg-rs": MWG_RS})
        element.set(_PARSE_TYPE, "Resource")
        flags = [_CREATED]
    top = fields(element)
    holder = holder_of(element)
    if DIMENSIONS not in top and holder is not None:
        _set_size(append(holder, DIMENSIONS, {"stDim": ST_DIM}), size)
        flags = flags or [_FILLED]
    elif flags and applied_dimensions(top) != tuple(map(float, size)) and len(_entries([element])) == 0:
        _set_size(top[DIMENSIONS], size)
    entries = top.get(REGION_LIST)
    array = array_of(entries)
    if array is None:
        array = append(append(holder, REGION_LIST), q(RDF, "Bag"))
    for region in fresh:
        _append_entry(array, region)
    return flags


def _set_size(element: "etree._Element | str", size: tuple[int, int]) -> None:
    if isinstance(element, str):
        return
    for name, value in (("w", str(size[0])), ("h", str(size[1])), ("unit", "pixel")):
        element.set(q(ST_DIM, name), value)


def _append_entry(array: "etree._Element", region: NamedRegion) -> None:
    entry = append(array, q(RDF, "li"), {"stArea": ST_AREA})
    entry.set(_PARSE_TYPE, "Resource")
    area = append(entry, AREA)
    for name in "xywh":
        area.set(q(ST_AREA, name), f"{getattr(region, name):.6f}")
    area.set(q(ST_AREA, "unit"), "normalized")
    append(entry, NAME).text = region.name
    append(entry, TYPE).text = region.type


def _tidy(found: "Sequence[etree._Element]", flags: list[str]) -> list[str]:
    """When none of ours is left: take what we made around them, unless somebody's entries need it now."""
    if found and _CREATED in flags and not _entries(found):
        detach(found[0])
    elif found and _FILLED in flags and not any(_unit(e) == "pixel" for e in _entries(found)):
        size = fields(found[0]).get(DIMENSIONS)
        if size is not None and not isinstance(size, str):
            detach(size)
    return []


def _set_record(packet: Packet, marks: Sequence[str], records: Sequence[str]) -> None:
    if list(marks) != list(records):
        packet.remove(*RECORD)
        if records:
            packet.add_items(*RECORD, list(records))
