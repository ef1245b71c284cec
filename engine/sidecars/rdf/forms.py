"""Namespaces of XMP, and forms of its values: plain text, text with qualifiers, arrays, structures, alternatives.

Properties are matched by URI, never by prefix. Values are read in every form that RDF allows; added elements get the
indentation of their surroundings.
"""

import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import TypeAlias

from lxml import etree

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
X = "adobe:ns:meta/"
XML = "http://www.w3.org/XML/1998/namespace"
DC = "http://purl.org/dc/elements/1.1/"
XMP = "http://ns.adobe.com/xap/1.0/"
XMP_NOTE = "http://ns.adobe.com/xmp/note/"
TIFF = "http://ns.adobe.com/tiff/1.0/"
EXIF = "http://ns.adobe.com/exif/1.0/"
PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
LIGHTROOM = "http://ns.adobe.com/lightroom/1.0/"
DIGIKAM = "http://www.digikam.org/ns/1.0/"
IPTC_EXT = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
MYVLM = "urn:myvlm:xmp:1.0/"
"""Namespace of the properties in which myvlm keeps its records; no other program uses it."""

PREFIXES = {
    "rdf": RDF,
    "x": X,
    "dc": DC,
    "xmp": XMP,
    "tiff": TIFF,
    "lr": LIGHTROOM,
    "digiKam": DIGIKAM,
    "Iptc4xmpExt": IPTC_EXT,
    "myvlm": MYVLM,
}


@cache
def q(namespace: str, name: str) -> str:
    """Return the qualified name in the form of lxml, `{namespace}name`."""
    return f"{{{namespace}}}{name}"


ABOUT, LI, LANG, VALUE = q(RDF, "about"), q(RDF, "li"), q(XML, "lang"), q(RDF, "value")
ID, PARSE_TYPE, BLOCK = q(RDF, "ID"), q(RDF, "parseType"), q(RDF, "Description")
ARRAYS = (q(RDF, "Bag"), q(RDF, "Seq"), q(RDF, "Alt"))
_INDENT = "  "
Field: TypeAlias = etree._Element | str
"""A property or a field of a structure: its element, or the text of its attribute."""


@lru_cache(maxsize=4096)
def folded(text: str) -> str:
    """Fold a text so that two spellings of a name are equal: NFC, case folded, white space as single spaces."""
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).split())


@lru_cache(maxsize=4096)
def term_key(text: str) -> str:
    """Normalise a term so that it is found again after a program changed its Unicode form or outer white space."""
    return unicodedata.normalize("NFC", text).strip()


def attributes(element: etree._Element) -> dict[str, str]:
    """Return the attributes of an element by `{uri}name`."""
    return {str(key): str(value) for key, value in element.attrib.items()}


def plain_text(element: etree._Element) -> str:
    """Return the text of a value: its own without comments, its rdf:value if it has qualifiers, else all text in it."""
    children = list(element.iterchildren(tag=etree.Element))
    if not children:
        return element.get(VALUE) or "".join([element.text or "", *(c.tail or "" for c in element)])
    inner = next((c for c in children if c.tag == VALUE), None)
    if inner is not None:
        return plain_text(inner)
    return "".join(t for c in element.iter(etree.Element) for t in [c.text, c.get(VALUE)] if t)


def is_plain(element: etree._Element) -> bool:
    """Return whether a value is only text; a language and comments are allowed."""
    return not any(True for _ in element.iterchildren(tag=etree.Element)) and set(element.attrib) <= {LANG}


def default_entry(array: etree._Element) -> etree._Element | None:
    """Return the item that programs show of a language alternative if no language is requested."""
    entries = list(array.iterchildren(LI))
    marked = next((e for e in entries if (e.get(LANG) or "").lower() == "x-default"), None)
    if marked is not None:
        return marked
    return next((e for e in entries if e.get(LANG) is None), None)


def array_of(found: Field | None) -> etree._Element | None:
    """Return the Bag, Seq or Alt of a property or field if it is the only element in it."""
    if found is None or isinstance(found, str):
        return None
    children = list(found.iterchildren(tag=etree.Element))
    return children[0] if len(children) == 1 and children[0].tag in ARRAYS else None


def array_items(found: Field | None) -> list[etree._Element]:
    """Return the items of an array."""
    array = array_of(found)
    return [] if array is None else array.findall(LI)


def item_texts(found: Iterable[Field]) -> list[str]:
    """Return the texts of the items of arrays; a simple value that is not blank counts as one item."""
    texts: list[str] = []
    for value in found:
        array = array_of(value)
        if array is not None:
            texts += [plain_text(e) for e in array.iterchildren(LI)]
        else:
            texts += [t for t in [value if isinstance(value, str) else plain_text(value)] if t.strip()]
    return texts


def default_element(value: Field | None) -> etree._Element | None:
    """Return the element that holds the default text of a language alternative; None if there is none yet."""
    if value is None or isinstance(value, str):
        return None
    array = array_of(value)
    return value if array is None else default_entry(array)


def alternatives(value: Field) -> list[str]:
    """Return the texts of a language alternative, the default one first."""
    if isinstance(value, str):
        return [value]
    array = array_of(value)
    if array is None:
        return [plain_text(value)]
    first = default_entry(array)
    return [plain_text(e) for e in sorted(array.iterchildren(LI), key=lambda e: e is not first)]


def is_blank(found: Field) -> bool:
    """Return whether a property has neither children nor attributes."""
    return isinstance(found, str) or not (len(found) or found.attrib)


def about(block: etree._Element) -> str:
    """Return the subject of a block, "" for none; rdf:ID counts as "#ID". `about` without a prefix is RDF of 1999."""
    name = block.get(ID)
    return block.get(ABOUT) or block.get("about") or (f"#{name}" if name else "")


def subjects(blocks: Iterable[etree._Element]) -> list[str]:
    """Return the subjects of blocks, without those that have none."""
    return [subject for block in blocks if (subject := about(block))]


def fields(element: etree._Element) -> dict[str, Field]:
    """Return the fields of a structure by `{uri}name`: elements or the texts of attributes.

    XMP Specification Part 1, 7.9: fields are children of the element (rdf:parseType="Resource"), its attributes, or
    children or attributes of an rdf:Description in it.
    """
    found: dict[str, Field] = {}
    for holder in (element, *element.findall(BLOCK)):
        for key, value in attributes(holder).items():
            if not key.startswith((f"{{{RDF}}}", f"{{{XML}}}")):
                found.setdefault(key, value)
        for child in holder.iterchildren(tag=etree.Element):
            if not child.tag.startswith(f"{{{RDF}}}"):
                found.setdefault(child.tag, child)
    return found


def field_text(found: Field | None) -> str:
    """Return the text of a simple field, or the first text of an array; "" if there is none."""
    if found is None or isinstance(found, str):
        return (found or "").strip()
    texts = ("".join(map(str, e.itertext())).strip() for e in array_items(found) or [found])
    return next((t for t in texts if t), "")


def holder_of(element: etree._Element) -> etree._Element | None:
    """Return the element that takes a further field of a structure, or None if its form can take none."""
    inner = element.find(BLOCK)
    return inner if inner is not None else element if element.get(PARSE_TYPE) == "Resource" else None


def append(
    parent: etree._Element, name: str, nsmap: dict[str, str] | None = None, *, first: bool = False
) -> etree._Element:
    """Add a last (or the first) child on its own line; text beside elements, which only illegal XMP has, stays."""
    element = etree.SubElement(parent, name, nsmap=nsmap)
    if first and len(parent) > 1:
        element.tail = parent.text
        parent.insert(0, element)
        return element
    depth, before = sum(1 for _ in element.iterancestors()), element.getprevious()
    indent = "\n" + _INDENT * depth
    if before is None:
        parent.text = (parent.text or "") if (parent.text or "").strip() else indent
    elif not (before.tail or "").strip():
        before.tail = indent
    element.tail = "\n" + _INDENT * (depth - 1)
    return element


def append_items(array: etree._Element, texts: Iterable[str]) -> None:
    """Add items to an array, each on its own line."""
    for text in texts:
        append(array, LI).text = text


def detach(element: etree._Element) -> None:
    """Remove an element with its line; text beside it, which only illegal XMP has, stays."""
    parent, before, tail = element.getparent(), element.getprevious(), element.tail or ""
    if parent is None:
        return
    if tail.strip() or element.getnext() is None:
        if before is not None and before.tail and before.tail.strip():
            before.tail += tail if tail.strip() else ""
        elif before is not None:
            before.tail = tail
        elif tail.strip():
            parent.text = (parent.text or "") + tail
        elif not (parent.text or "").strip():
            parent.text = None
    parent.remove(element)
