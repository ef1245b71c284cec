"""Forms of named regions in XMP: those of the Metadata Working Group (MWG) and of Microsoft.

MWG, "Guidelines for Handling Image Metadata" 2.0, image regions: centre and size as fractions of the stored picture,
before EXIF orientation. Microsoft's MP:RegionInfo is read in the same frame, as digiKam does.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.sidecars.rdf.forms import Field, array_items, field_text, fields, q

if TYPE_CHECKING:
    from lxml import etree

MWG_RS = "http://www.metadataworkinggroup.com/schemas/regions/"
ST_AREA = "http://ns.adobe.com/xmp/sType/Area#"
ST_DIM = "http://ns.adobe.com/xap/1.0/sType/Dimensions#"
MP = "http://ns.microsoft.com/photo/1.2/"
MPRI = "http://ns.microsoft.com/photo/1.2/t/RegionInfo#"
MPREG = "http://ns.microsoft.com/photo/1.2/t/Region#"

REGIONS, REGION_LIST, DIMENSIONS = (q(MWG_RS, n) for n in ("Regions", "RegionList", "AppliedToDimensions"))
AREA, NAME, TYPE = (q(MWG_RS, n) for n in ("Area", "Name", "Type"))
_SLACK = 1e-4
"""How far a side may exceed 1: programs round."""
_SAME_NUMBER = 2e-6
"""Largest difference of two numbers that are written with six decimals and are equal."""


@dataclass(frozen=True)
class NamedRegion:
    """A named area in the frame of the stored picture, before EXIF orientation.

    x, y: its centre. w, h: its size. All are fractions of the picture's sides, 0..1.
    """

    name: str
    x: float
    y: float
    w: float
    h: float
    type: str = "Face"


def mwg_region(item: "etree._Element", size: tuple[float, float] | None) -> NamedRegion | None:
    """Read an entry of the region list; None if it is unnamed, damaged, no rectangle, or in pixels of an unknown size.

    size: width and height that entries in pixels refer to.
    """
    entry = fields(item)
    area = entry.get(AREA)
    if area is None or isinstance(area, str):
        return None
    parts = fields(area)
    x, y, w, h = (_number(field_text(parts.get(q(ST_AREA, n)))) for n in "xywh")
    if x is None or y is None or w is None or h is None:
        return None
    if field_text(parts.get(q(ST_AREA, "unit"))).lower() == "pixel":
        if size is None:
            return None
        x, y, w, h = x / size[0], y / size[1], w / size[0], h / size[1]
    kind = field_text(entry.get(TYPE)) or "Face"
    return checked(NamedRegion(field_text(entry.get(NAME)), x, y, w, h, kind))


def microsoft_regions(element: "etree._Element") -> list[NamedRegion]:
    """Read the regions of an MP:RegionInfo: "x, y, w, h" from the top left, as fractions of the stored picture."""
    regions = []
    for item in array_items(fields(element).get(q(MPRI, "Regions"))):
        entry = fields(item)
        numbers = [_number(n) for n in field_text(entry.get(q(MPREG, "Rectangle"))).split(",")]
        if len(numbers) != 4 or None in numbers:
            continue
        x, y, w, h = (n or 0.0 for n in numbers)
        name = field_text(entry.get(q(MPREG, "PersonDisplayName")))
        region = checked(NamedRegion(name, x + w / 2, y + h / 2, w, h))
        regions += [region] if region else []
    return regions


def checked(region: NamedRegion) -> NamedRegion | None:
    """Return a region if it has a name and a size, and its centre is in the picture; else None."""
    inside = 0.0 <= region.x <= 1.0 and 0.0 <= region.y <= 1.0
    sized = 0.0 < region.w <= 1.0 + _SLACK and 0.0 < region.h <= 1.0 + _SLACK
    return region if region.name and inside and sized else None


def applied_dimensions(top: dict[str, Field]) -> tuple[float, float] | None:
    """Return width and height of the picture that regions were drawn on, from the fields of mwg-rs:Regions."""
    size = top.get(DIMENSIONS)
    if size is None or isinstance(size, str):
        return None
    parts = fields(size)
    w, h = (_number(field_text(parts.get(q(ST_DIM, n)))) for n in "wh")
    unit = field_text(parts.get(q(ST_DIM, "unit"))).lower()
    return (w, h) if w and h and w > 0 and h > 0 and unit in ("", "pixel") else None


def record_of(region: NamedRegion) -> str:
    """Return the record by which a region that myvlm wrote is found again: "name x y w h"."""
    return f"{region.name} {region.x:.6f} {region.y:.6f} {region.w:.6f} {region.h:.6f}"


def parse_record(record: str) -> NamedRegion | None:
    """Read a record "name x y w h"; None if it records no region."""
    parts = record.rsplit(" ", 4)
    numbers = [n for p in parts[1:] if (n := _number(p)) is not None]
    if len(numbers) != 4:
        return None
    x, y, w, h = numbers
    return NamedRegion(parts[0], x, y, w, h)


def same_numbers(a: NamedRegion, b: NamedRegion) -> bool:
    """Return whether two regions have the same name and, up to rounding, the same area."""
    pairs = ((a.x, b.x), (a.y, b.y), (a.w, b.w), (a.h, b.h))
    return a.name == b.name and all(abs(p - r) <= _SAME_NUMBER for p, r in pairs)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def region_overlap(a: NamedRegion, b: NamedRegion) -> float:
    """Return the intersection over union of two areas, 0.0..1.0."""
    w = min(a.x + a.w / 2, b.x + b.w / 2) - max(a.x - a.w / 2, b.x - b.w / 2)
    h = min(a.y + a.h / 2, b.y + b.h / 2) - max(a.y - a.h / 2, b.y - b.h / 2)
    shared = max(0.0, w) * max(0.0, h)
    return shared / (a.w * a.h + b.w * b.h - shared)
