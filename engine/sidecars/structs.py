"""XMP structures, in every form that RDF allows them: read, and appended with the indentation of what is around."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

from engine.sidecars.namespaces import RDF, XML, q
from engine.sidecars.packet import Packet

if TYPE_CHECKING:
    from lxml import etree

_ARRAYS = (q(RDF, "Bag"), q(RDF, "Seq"), q(RDF, "Alt"))
_DESCRIPTION, _LI = q(RDF, "Description"), q(RDF, "li")
_INDENT = "  "
Field: TypeAlias = "etree._Element | str"
Token = tuple[object, ...]


def properties(packet: Packet, name: str) -> "Iterator[etree._Element]":
    """All elements of a property (`{uri}name`) in a packet; legal XMP has one at most."""
    for block in packet.blocks():
        yield from block.findall(name)


def fields(element: "etree._Element") -> dict[str, Field]:
    """A structure's fields, by `{uri}name`: elements or the texts of attributes.

    XMP Specification Part 1, 7.9: fields stand directly in the element (rdf:parseType="Resource"), are its
    attributes, or stand in an rdf:Description within it, there again as elements or attributes.
    """
    found: dict[str, Field] = {}
    for holder in (element, *element.findall(_DESCRIPTION)):
        for key, value in holder.attrib.items():
            if not key.startswith((f"{{{RDF}}}", f"{{{XML}}}")):
                found.setdefault(key, value)
        for child in holder:
            if isinstance(child.tag, str) and not child.tag.startswith(f"{{{RDF}}}"):
                found.setdefault(child.tag, child)
    return found


def field_text(field: "Field | None") -> str:
    """A simple field's text; of an array (a language alternative, say) the first item that has some; "" for none."""
    if field is None or isinstance(field, str):
        return (field or "").strip()
    items = array_items(field)
    texts = ("".join(e.itertext()).strip() for e in items or [field])
    return next((t for t in texts if t), "")


def array_of(field: "Field | None") -> "etree._Element | None":
    """The rdf:Bag, Seq or Alt of a field, or None when it holds no array."""
    if field is None or isinstance(field, str):
        return None
    return next((e for e in field if e.tag in _ARRAYS), None)


def array_items(field: "Field | None") -> "list[etree._Element]":
    """The items of an array field."""
    array = array_of(field)
    return [] if array is None else array.findall(_LI)


def holder_of(element: "etree._Element") -> "etree._Element | None":
    """Where a further field of a structure goes, or None when the element has a form that can take none."""
    inner = element.findall(_DESCRIPTION)
    if inner:
        return inner[0]
    if element.get(q(RDF, "parseType")) == "Resource":
        return element
    return None


def append(parent: "etree._Element", name: str, nsmap: dict[str, str] | None = None) -> "etree._Element":
    """Add a last child on a line of its own; text beside elements, which no legal XMP has, stays."""
    before = parent[-1] if len(parent) else None
    element = parent.makeelement(name, nsmap=nsmap)
    parent.append(element)
    depth = sum(1 for _ in element.iterancestors())
    if before is None:
        parent.text = (parent.text or "").strip() + "\n" + _INDENT * depth
    else:
        before.tail = (before.tail or "").strip() + "\n" + _INDENT * depth
    element.tail = "\n" + _INDENT * (depth - 1)
    return element


def detach(element: "etree._Element") -> None:
    """Take an element out with its line; what stood around it stays."""
    parent, before, stray = element.getparent(), element.getprevious(), (element.tail or "").strip()
    if parent is None:
        return
    around = (before.tail if before is not None else parent.text) or ""
    if element.getnext() is None:
        around = around.strip() + (stray if before is None else element.tail or "")
    else:
        around += stray
    if before is not None:
        before.tail = around
    else:
        parent.text = around or None
    parent.remove(element)


def canonical(node: "etree._Element") -> Token:
    """A node with all that is in it as plain values; indentation and prefixes do not count."""
    if not isinstance(node.tag, str):
        return (node.tag.__name__, node.text)
    parts: list[object] = [_said(node.text, alone=not len(node))]
    for child in node:
        parts += [canonical(child), _said(child.tail, alone=False)]
    return (node.tag, tuple(sorted(node.attrib.items())), *parts)


def _said(text: str | None, *, alone: bool) -> str:
    return (text or "") if alone else (text or "").strip()
