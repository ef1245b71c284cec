"""Read simple properties of an XMP packet, for facts about a photo, and assemble Extended XMP.

`engine.sidecars.rdf` edits whole packets. Extended XMP is the part of a JPEG's XMP that does not fit into one segment.
XMP Specification Part 3 (2020), 1.1.3.1: each APP1 segment has a GUID (the MD5 of the whole packet in capital
hexadecimal digits), the length of the whole packet, the offset of its part in it, and the part. The main packet names
the GUID in xmpNote:HasExtendedXMP; parts with other GUIDs are left over from earlier versions of the photo.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_PADDING = b"\0 \r\n\t"
_LARGEST_PACKET = 32 * 2**20
_NO_WORDS = re.compile(rb"(?:\xef\xbb\xbf)?(?:[\0 \r\n\t]|<\?xpacket [^>]*\?>)*+")
EXTENDED_MARK = b"http://ns.adobe.com/xmp/extension/\0"
LARGEST_EXTENDED = 64 * 2**20
"""Largest size in bytes of all parts. The largest values in use are depth maps and second pictures of about 10 MB."""
_HEAD = 40
_PAYLOAD = re.compile(rb"[A-Za-z0-9+/=]{65536,}")
"""Base64 of pictures and sounds (GDepth:Data, GImage:Data); programs use them only in the photo file."""


def is_blank(packet: bytes) -> bool:
    """Return whether a packet holds only padding and the marks around it, by which cameras reserve room for XMP."""
    if packet[:2] in (b"\xff\xfe", b"\xfe\xff"):
        packet = packet[2:].replace(b"\0", b"")
    return _NO_WORDS.fullmatch(packet) is not None


def read_properties(packet: bytes, names: Iterable[str]) -> dict[str, str]:
    """Read the texts of properties, `{namespace}name`, in any form of RDF; {} if the packet is damaged."""
    from lxml import etree

    data = packet.strip(_PADDING) if packet[:2] not in (b"\xff\xfe", b"\xfe\xff") else packet.rstrip(_PADDING)
    if len(data) > _LARGEST_PACKET or b"<!DOCTYPE" in data[:65536] or is_blank(data):
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


@dataclass(frozen=True)
class ExtendedPart:
    """Content of one segment. size: length of the whole packet. offset: of `data` in it."""

    guid: str
    size: int
    offset: int
    data: bytes


@dataclass(frozen=True)
class ExtendedPacket:
    """An extended packet as XML without payloads. fault: why it cannot be used, "" if it can."""

    guid: str
    data: bytes = b""
    fault: str = ""


def read_part(content: bytes) -> ExtendedPart | None:
    """Read a part from the content of an APP1 segment; None if the segment is another one or is cut short."""
    head = content[len(EXTENDED_MARK) : len(EXTENDED_MARK) + _HEAD]
    if not content.startswith(EXTENDED_MARK) or len(head) < _HEAD:
        return None
    size, offset = int.from_bytes(head[32:36], "big"), int.from_bytes(head[36:40], "big")
    return ExtendedPart(head[:32].decode("latin-1").upper(), size, offset, content[len(EXTENDED_MARK) + _HEAD :])


def assemble(parts: Iterable[ExtendedPart]) -> tuple[ExtendedPacket, ...]:
    """Assemble parts in any order to extended packets, one for each GUID, in the order of their first parts."""
    by_guid: dict[str, list[ExtendedPart]] = {}
    for part in parts:
        by_guid.setdefault(part.guid, []).append(part)
    return tuple(_assemble_one(guid, group) for guid, group in by_guid.items())


def _assemble_one(guid: str, parts: list[ExtendedPart]) -> ExtendedPacket:
    size = parts[0].size
    if size > LARGEST_EXTENDED or sum(len(p.data) for p in parts) > LARGEST_EXTENDED:
        return ExtendedPacket(guid, fault=f"it is larger than {LARGEST_EXTENDED >> 20} MiB")
    data = _joined(parts)
    if len(data) != size or any(p.size != size for p in parts):
        return ExtendedPacket(guid, fault="a part of it is missing or there twice")
    if hashlib.md5(data, usedforsecurity=False).hexdigest().upper() != guid:
        return ExtendedPacket(guid, fault="its checksum is another")
    return ExtendedPacket(guid, _PAYLOAD.sub(b"", data))


def _joined(parts: list[ExtendedPart]) -> bytes:
    """Join the parts; b"" unless each begins where the one before ends. Equal copies count once."""
    joined = bytearray()
    for part in sorted({(p.offset, p.data) for p in parts}):
        if part[0] != len(joined):
            return b""
        joined += part[1]
    return bytes(joined)
