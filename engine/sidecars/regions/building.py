"""Build the parts of mwg-rs:Regions that myvlm adds: its entries, and the elements around them that are missing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.core.errors import SidecarError
from engine.core.notes import NoteCode
from engine.sidecars.rdf.forms import (
    LI,
    MYVLM,
    PARSE_TYPE,
    RDF,
    append,
    array_items,
    array_of,
    detach,
    field_text,
    fields,
    holder_of,
    q,
)
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
"""The Bag that records the regions that myvlm wrote, "name x y w h" with six decimals, and what it made around them."""
CREATED, FILLED = "created", "dimensions"
"""Records of what myvlm made around its regions: the whole property; its AppliedToDimensions."""
_SAME_SHAPE = 0.01
"""Largest relative difference of two aspect ratios that count as one shape."""


def list_entries(properties: "Sequence[etree._Element]") -> "list[etree._Element]":
    """Return the items of the region lists in elements mwg-rs:Regions."""
    return [e for element in properties for e in array_items(fields(element).get(REGION_LIST))]


def find_problem(
    properties: "Sequence[etree._Element]", size: tuple[int, int], records: Sequence[str], *, alone: bool
) -> tuple[NoteCode, tuple[str, ...]] | None:
    """Return why no region can be added to the existing property, as a code with its values; None if it can.

    Sizes of the same shape are the same picture, scaled: fractions of it keep their place. Another shape is another
    crop, or a rotated picture: the new regions would be in another frame than the existing entries.

    size: width and height of the stored picture. alone: no entry of another program remains.
    """
    if not properties:
        return None
    top = fields(properties[0])
    entries = top.get(REGION_LIST)
    if (array_of(entries) if entries is not None else holder_of(properties[0])) is None:
        return NoteCode.REGIONS_UNUSUAL, ()
    dimensions = applied_dimensions(top)
    if DIMENSIONS not in top:
        in_pixels = any(_unit(e) == "pixel" for e in array_items(entries))
        return (NoteCode.REGIONS_IN_PIXELS, ()) if in_pixels else None
    if dimensions is None or (alone and {CREATED, FILLED} & set(records)):
        return None
    width, height = dimensions
    if abs(width * size[1] / (height * size[0]) - 1) <= _SAME_SHAPE:
        return None
    return NoteCode.REGIONS_OTHER_SIZE, (f"{width:g}", f"{height:g}", str(size[0]), str(size[1]))


def _unit(entry: "etree._Element") -> str:
    area = fields(entry).get(AREA)
    return "" if area is None or isinstance(area, str) else field_text(fields(area).get(q(ST_AREA, "unit"))).lower()


def write_regions(
    packet: Packet,
    properties: "Sequence[etree._Element]",
    new: Sequence[NamedRegion],
    size: tuple[int, int],
    flags: list[str],
) -> list[str]:
    """Add entries, and the missing elements around them; return the flags of what myvlm made around them.

    properties: the elements mwg-rs:Regions, at most one. size: width and height of the stored picture. flags: `CREATED`
    or `FILLED`, as recorded so far.
    """
    if properties:
        element = properties[0]
    else:
        element = _create_property(packet)
        flags = [CREATED]
    top = fields(element)
    holder = holder_of(element)
    if DIMENSIONS not in top and holder is not None:
        _set_size(append(holder, DIMENSIONS, {"stDim": ST_DIM}), size)
        flags = flags or [FILLED]
    elif flags and applied_dimensions(top) != tuple(map(float, size)) and len(list_entries([element])) == 0:
        _set_size(top[DIMENSIONS], size)
    entries = top.get(REGION_LIST)
    array = array_of(entries)
    if array is None:
        if holder is None:
            raise SidecarError("mwg-rs:Regions has an unusual form")
        array = append(append(holder, REGION_LIST), q(RDF, "Bag"))
    for region in new:
        _append_entry(array, region)
    return flags


def _create_property(packet: Packet) -> "etree._Element":
    if not packet.blocks():
        packet.add_items(*RECORD, [CREATED])  # makes a block
    element = append(packet.blocks()[0], REGIONS, {"mwg-rs": MWG_RS})
    element.set(PARSE_TYPE, "Resource")
    return element


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


def remove_frame(properties: "Sequence[etree._Element]", flags: list[str]) -> None:
    """Remove what myvlm made around its regions, unless entries of other programs need it now.

    Call it when no region of myvlm is left.
    """
    if properties and CREATED in flags and not list_entries(properties):
        detach(properties[0])
    elif properties and FILLED in flags and not any(_unit(e) == "pixel" for e in list_entries(properties)):
        size = fields(properties[0]).get(DIMENSIONS)
        if size is not None and not isinstance(size, str):
            detach(size)
