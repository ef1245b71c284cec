"""How other programs write a sidecar anew, as far as it matters to ours (sidecars.md, fact 3)."""

import random

from lxml import etree

from tests.sidecars.xmp_oracles import RDF, SPACES

LI, ABOUT, PARSE_TYPE = f"{{{RDF}}}li", f"{{{RDF}}}about", f"{{{RDF}}}parseType"
DROPPED_BY_DARKTABLE = ("dc:description", "dc:subject", "lr:hierarchicalSubject")


def tag(name: str) -> str:
    prefix, local = name.split(":")
    return f"{{{SPACES[prefix]}}}{local}"


def darktable(data: bytes, *, subject: tuple[str, ...] = (), description: str = "", seed: int = 0) -> bytes:
    """Drops what it manages and fills it from its own database; what it does not know stays, under other prefixes."""
    properties = {k: v for k, v in read(data) if k not in {tag(n) for n in DROPPED_BY_DARKTABLE}}
    if subject:
        properties[tag("dc:subject")] = listed("Seq", subject)
    if description:
        properties[tag("dc:description")] = listed("Alt", (description,))
    properties["{http://darktable.sf.net/}xmp_version"] = "5"
    return write(properties, seed=seed, attributes=True)


def digikam(data: bytes, *, seed: int = 0) -> bytes:
    """Writes everything it found, each property as an element in one block."""
    return write(dict(read(data)), seed=seed, attributes=False)


def lightroom(data: bytes, *, seed: int = 0) -> bytes:
    """Writes simple properties as attributes."""
    return write(dict(read(data)), seed=seed, attributes=True)


def read(data: bytes):
    rdf = next(etree.fromstring(data).iter(f"{{{RDF}}}RDF"))
    for block in rdf:
        for key, value in block.attrib.items():
            if key != ABOUT:
                yield key, value
        for child in block:
            yield child.tag, child


def listed(kind: str, items: tuple[str, ...]):
    element = etree.Element("x")
    array = etree.SubElement(element, f"{{{RDF}}}{kind}")
    for item in items:
        entry = etree.SubElement(array, LI)
        entry.text = item
        if kind == "Alt":
            entry.set("{http://www.w3.org/XML/1998/namespace}lang", "x-default")
    return element


def write(properties: dict, *, seed: int, attributes: bool) -> bytes:
    rng = random.Random(seed)
    uris = {k[1 : k.index("}")] for k in properties}
    for value in properties.values():
        if not isinstance(value, str):
            uris |= {e.tag[1 : e.tag.index("}")] for e in value.iter(etree.Element) if "}" in e.tag}
    names = {f"ns{rng.randrange(10**6)}": u for u in sorted(uris - {str(RDF)})}
    root = etree.Element("{adobe:ns:meta/}xmpmeta", nsmap={"x": "adobe:ns:meta/"})
    rdf = etree.SubElement(root, f"{{{RDF}}}RDF", nsmap={"rdf": str(RDF)})
    block = etree.SubElement(rdf, f"{{{RDF}}}Description", nsmap=names)
    block.set(ABOUT, "")
    for key, value in properties.items():
        simple = value if isinstance(value, str) else None if len(value) or value.attrib else value.text or ""
        if simple is not None and attributes:
            block.set(key, simple)
            continue
        element = etree.SubElement(block, key)
        if isinstance(value, str):
            element.text = value
        else:
            copy(value, element)
    etree.indent(root, " ")
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + etree.tostring(root, encoding="utf-8")


def copy(source, target) -> None:
    target.text = source.text
    for key, value in source.attrib.items():
        target.set(key, value)
    for child in source:
        if isinstance(child.tag, str):
            copy(child, etree.SubElement(target, child.tag))
