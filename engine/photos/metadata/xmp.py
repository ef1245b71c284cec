"""Read simple properties of an XMP packet, for facts about a photo; `engine.sidecars.rdf` edits whole packets."""

import re
from collections.abc import Iterable

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_PADDING = b"\0 \r\n\t"
_LARGEST = 32 * 2**20
_NO_WORDS = re.compile(rb"(?:\xef\xbb\xbf)?(?:[\0 \r\n\t]|<\?xpacket [^>]*\?>)*+")


def is_blank(packet: bytes) -> bool:
    """Return whether a packet holds only padding and the marks around it, by which cameras reserve room for XMP."""
    if packet[:2] in (b"\xff\xfe", b"\xfe\xff"):
        packet = packet[2:].replace(b"\0", b"")
    return _NO_WORDS.fullmatch(packet) is not None


def read_properties(packet: bytes, names: Iterable[str]) -> dict[str, str]:
    """Read the texts of properties, `{namespace}name`, in any form of RDF; {} if the packet is damaged."""
    from lxml import etree

    data = packet.strip(_PADDING) if packet[:2] not in (b"\xff\xfe", b"\xfe\xff") else packet.rstrip(_PADDING)
    if len(data) > _LARGEST or b"<!DOCTYPE" in data[:65536] or is_blank(data):
        return {}
    try:
        # No entities are defined for the parser, so it stops at any.
        root = etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True))
    except (etree.LxmlError, ValueError):
        return {}
    wanted, found = set(names), dict[str, str]()
    for block in root.iter(f"{_RDF}Description"):
        for name in wanted & set(block.attrib):
            found.setdefault(str(name), str(block.attrib[name]).strip())
        for child in block.iterchildren(tag=etree.Element):
            if child.tag in wanted:
                text = next((t.strip() for t in map(str, child.itertext()) if t.strip()), "")
                found.setdefault(str(child.tag), text)
    return {name: text for name, text in found.items() if text}
