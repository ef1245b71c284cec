"""Extended XMP: what of a JPEG's XMP did not fit into one segment, put together again.

XMP Specification Part 3 (2020), 1.1.3.1: each APP1 segment has a GUID, which is the MD5 of the whole in capital
hexadecimal digits, the length of the whole, the part's offset in it, and the part. The main packet names the GUID in
xmpNote:HasExtendedXMP; the parts of others are left over from earlier versions of the photo.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

MARK = b"http://ns.adobe.com/xmp/extension/\0"
LARGEST = 64 * 2**20
"""Bytes of all parts together. The largest things kept there are depth maps and second pictures, of about 10 MB."""
_HEAD = 40
_PAYLOAD = re.compile(rb"[A-Za-z0-9+/=]{65536,}")
"""Base64 of pictures and sounds (GDepth:Data, GImage:Data): they stay in the photo file, where alone they are used."""


@dataclass(frozen=True)
class ExtendedPart:
    """One segment's content: `size` is the length of the whole, `offset` where in it `data` belongs."""

    guid: str
    size: int
    offset: int
    data: bytes


@dataclass(frozen=True)
class ExtendedPacket:
    """An extended packet as XML without payloads; `fault` says why it cannot be used, "" when it can."""

    guid: str
    data: bytes = b""
    fault: str = ""


def read_part(content: bytes) -> ExtendedPart | None:
    """A part from an APP1 segment's content; None when the segment is another or cut short."""
    head = content[len(MARK) : len(MARK) + _HEAD]
    if not content.startswith(MARK) or len(head) < _HEAD:
        return None
    size, offset = int.from_bytes(head[32:36], "big"), int.from_bytes(head[36:40], "big")
    return ExtendedPart(head[:32].decode("latin-1").upper(), size, offset, content[len(MARK) + _HEAD :])


def assemble(parts: Iterable[ExtendedPart]) -> tuple[ExtendedPacket, ...]:
    """The extended packets that some parts, in any order, belong to; by GUID, in the order of their first parts."""
    by_guid: dict[str, list[ExtendedPart]] = {}
    for part in parts:
        by_guid.setdefault(part.guid, []).append(part)
    return tuple(_assembled(guid, own) for guid, own in by_guid.items())


def _assembled(guid: str, parts: list[ExtendedPart]) -> ExtendedPacket:
    size = parts[0].size
    if size > LARGEST or sum(len(p.data) for p in parts) > LARGEST:
        return ExtendedPacket(guid, fault=f"it is larger than {LARGEST >> 20} MiB")
    data = _joined(parts)
    if len(data) != size or any(p.size != size for p in parts):
        return ExtendedPacket(guid, fault="a part of it is missing or there twice")
    if hashlib.md5(data, usedforsecurity=False).hexdigest().upper() != guid:
        return ExtendedPacket(guid, fault="its checksum is another")
    return ExtendedPacket(guid, _PAYLOAD.sub(b"", data))


def _joined(parts: list[ExtendedPart]) -> bytes:
    """The parts one after the other, as far as each begins where the one before ends; equal copies count once."""
    joined = bytearray()
    for part in sorted({(p.offset, p.data) for p in parts}):
        if part[0] != len(joined):
            return b""
        joined += part[1]
    return bytes(joined)
