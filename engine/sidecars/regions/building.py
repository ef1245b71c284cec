"""The parts of mwg-rs:Regions that we make: our entries, and around them what is not there yet."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.sidecars.rdf.forms import (
    LI,
    PARSE_TYPE,
    append,
    array_items,
    array_of,
    detach,
    field_text,
    fields,
    holder_of,
)
from engine.sidecars.rdf.namespaces import MYVLM, RDF, q
from engine.sidecars.rdf.packet import Packet
from engine.sidecars.regions.forms import (
    AREA,
    DIMENSIONS,
    MWG_RS,
    NAME,
    REGION_LIST,
    REGIONS,
    ST_AREA,
    ST_DIM,
    TYPE,
    NamedRegion,
    applied_dimensions,
)

if TYPE_CHECKING:
    from lxml import etree

RECORD = (MYVLM, "Regions")
"""Where our own regions are marked: a Bag of "name x y w h" with six decimals, and of what we made around them."""
CREATED, FILLED = "created", "dimensions"
"""Marks beside those: the whole property is ours; its AppliedToDimensions is."""
_SAME_SHAPE = 0.01


def entries_of(found: "Sequence[etree._Element]") -> "list[etree._Element]":
    """The items of the region lists in some mwg-rs:Regions."""
    return [e for element in found for e in array_items(fields(element).get(REGION_LIST))]


def problem_of(found: "Sequence[etree._Element]", size: tuple[int, int], marks: Sequence[str], *, alone: bool) -> str:
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
    if known is None or (alone and {CREATED, FILLED} & set(marks)):
        return ""
    if abs(known[0] * size[1] / (known[1] * size[0]) - 1) <= _SAME_SHAPE:
        return ""
    return f"the regions that are there belong to a picture of {known[0]:g} x {known[1]:g}, not {size[0]} x {size[1]}"


def _unit(entry: "etree._Element") -> str:
    area = fields(entry).get(AREA)
    return "" if area is None or isinstance(area, str) else field_text(fields(area).get(q(ST_AREA, "unit"))).lower()


def write_regions(
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
            packet.add_items(*RECORD, [CREATED])  # makes a block
        element = append(packet.blocks()[0], REGIONS, {"mwg-rs": MWG_RS})
        element.set(PARSE_TYPE, "Resource")
        flags = [CREATED]
    top = fields(element)
    holder = holder_of(element)
    if DIMENSIONS not in top and holder is not None:
        _set_size(append(holder, DIMENSIONS, {"stDim": ST_DIM}), size)
        flags = flags or [FILLED]
    elif flags and applied_dimensions(top) != tuple(map(float, size)) and len(entries_of([element])) == 0:
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
    entry = append(array, LI, {"stArea": ST_AREA})
    entry.set(PARSE_TYPE, "Resource")
    area = append(entry, AREA)
    for name in "xywh":
        area.set(q(ST_AREA, name), f"{getattr(region, name):.6f}")
    area.set(q(ST_AREA, "unit"), "normalized")
    append(entry, NAME).text = region.name
    append(entry, TYPE).text = region.type


def tidy(found: "Sequence[etree._Element]", flags: list[str]) -> list[str]:
    """When none of ours is left: take what we made around them, unless somebody's entries need it now."""
    if found and CREATED in flags and not entries_of(found):
        detach(found[0])
    elif found and FILLED in flags and not any(_unit(e) == "pixel" for e in entries_of(found)):
        size = fields(found[0]).get(DIMENSIONS)
        if size is not None and not isinstance(size, str):
            detach(size)
    return []
