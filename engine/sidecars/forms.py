"""The forms that XMP values take: plain, with qualifiers, in arrays, one for each language."""

import unicodedata

from lxml import etree

from engine.sidecars.namespaces import RDF, XML, q

ABOUT, LI, LANG, VALUE = q(RDF, "about"), q(RDF, "li"), q(XML, "lang"), q(RDF, "value")
ID = q(RDF, "ID")
ARRAYS = (q(RDF, "Bag"), q(RDF, "Seq"), q(RDF, "Alt"))


def term_key(text: str) -> str:
    """The form in which two spellings of a term are one: programs differ in Unicode form and outer white space."""
    return unicodedata.normalize("NFC", text).strip()


def plain_text(element: etree._Element) -> str:
    """The text of a value: its own, without comments; of one with qualifiers its rdf:value; else all that is in it."""
    children = list(element.iterchildren(tag=etree.Element))
    if not children:
        return element.get(VALUE) or "".join([element.text or "", *(c.tail or "" for c in element)])
    inner = next((c for c in children if c.tag == VALUE), None)
    if inner is not None:
        return plain_text(inner)
    return "".join(t for c in element.iter(etree.Element) for t in [c.text, c.get(VALUE)] if t)


def is_plain(element: etree._Element) -> bool:
    """Whether a value is text and nothing else, but for its language and comments."""
    return not any(True for _ in element.iterchildren(tag=etree.Element)) and set(element.attrib) <= {LANG}


def default_entry(array: etree._Element) -> etree._Element | None:
    """The item that programs take for a language alternative's text when no language was asked for."""
    entries = list(array.iterchildren(LI))
    marked = next((e for e in entries if (e.get(LANG) or "").lower() == "x-default"), None)
    if marked is not None:
        return marked
    return next((e for e in entries if e.get(LANG) is None), None)


def array_of(element: etree._Element) -> etree._Element | None:
    """A property's Bag, Seq or Alt, when that is all there is in it."""
    children = list(element.iterchildren(tag=etree.Element))
    return children[0] if len(children) == 1 and children[0].tag in ARRAYS else None


def is_blank(found: etree._Element | str) -> bool:
    """Whether a property says nothing: no text, attributes or children."""
    return isinstance(found, str) or not (len(found) or found.attrib)


def about(block: etree._Element) -> str:
    """What a block says it is about; an rdf:ID counts as another thing than "". `about` without prefix: RDF of 1999."""
    name = block.get(ID)
    return block.get(ABOUT) or block.get("about") or (f"#{name}" if name else "")
