"""Merge Extended XMP: one packet from the main packet of a photo and the Extended XMP that it names.

XMP Specification Part 3 (2020), 1.1.3.1: a reader adds the extended packet's properties to the main packet's and
removes xmpNote:HasExtendedXMP.
"""

from collections.abc import Sequence
from copy import deepcopy

from lxml import etree

from engine.core.errors import SidecarError
from engine.core.notes import Note, NoteCode
from engine.photos.metadata.xmp import ExtendedPacket
from engine.sidecars.rdf.forms import (
    ABOUT,
    ID,
    RDF,
    XML,
    XMP_NOTE,
    Field,
    about,
    array_items,
    array_of,
    attributes,
    is_plain,
    plain_text,
    term_key,
)
from engine.sidecars.rdf.packet import Packet

_EXTENDED = (XMP_NOTE, "HasExtendedXMP")
_SYNTAX = (f"{{{RDF}}}", f"{{{XML}}}")


def merge_extended(packet: Packet, parts: Sequence[ExtendedPacket]) -> tuple[Packet, tuple[Note, ...]]:
    """Add the properties of the Extended XMP that a packet names; return the packet and notes for the user.

    If the file has no Extended XMP at all, because an editor dropped it, nothing is left to add, and a note says so.

    Raises:
        SidecarError: the Extended XMP is incomplete, damaged, not in the file, or contradicts the main packet.
    """
    named = packet.text(*_EXTENDED)
    if named is None:
        return packet, ()
    packet.remove(*_EXTENDED)
    if not parts:
        return packet, (Note(NoteCode.NO_EXTENDED_XMP),)
    extended = next((p for p in parts if p.guid == named.strip().upper()), None)
    if extended is None:
        raise SidecarError("the photo's Extended XMP is not the one that its XMP names")
    if extended.fault:
        raise SidecarError(f"the photo's Extended XMP is damaged: {extended.fault}")
    try:
        _add_all(packet, Packet(extended.data.strip(b"\0 \r\n\t")))
        return Packet(packet.serialise()), ()
    except SidecarError as err:
        raise SidecarError(f"the photo's Extended XMP cannot be used: {err}") from err


def _add_all(packet: Packet, extended: Packet) -> None:
    """Add the blocks of an extended packet without properties that the main packet has as well, and without empty
    ones, whose payloads `photos.metadata.xmp` left out.
    """
    rdf = packet.document.rdf
    subject = next((a for b in packet.blocks() if (a := about(b))), "")
    for block in map(deepcopy, extended.blocks()):
        for key, text in attributes(block).items():
            if not key.startswith(_SYNTAX) and (not text.strip() or _has(packet, key, text)):
                del block.attrib[key]
        for child in list(block.iterchildren(tag=etree.Element)):
            if (is_plain(child) and not plain_text(child).strip()) or _has(packet, child.tag, child):
                block.remove(child)
        if not len(block) and all(key.startswith(_SYNTAX) for key in attributes(block)):
            continue
        block.attrib.pop(ID, "")
        block.set(ABOUT, subject)
        rdf.append(block)


def _has(packet: Packet, tag: str, value: Field) -> bool:
    """Return whether the main packet has the same property; new items of an array are added to it.

    Raises:
        SidecarError: its value is another.
    """
    uri, _, name = tag[1:].partition("}")
    present = packet.find(uri, name)
    if present is None:
        return False
    if _form(present) == _form(value):
        return True
    array, more = array_of(present), array_of(value)
    if array is not None and more is not None and array.tag == more.tag and all(map(_is_bare, array_items(value))):
        known = {term_key(t) for t in packet.items(uri, name)}
        new = dict.fromkeys(t for e in array_items(value) if term_key(t := plain_text(e)) not in known)
        if packet.add_items(uri, name, list(new)):
            return True
    raise SidecarError(f"it and the main part say different things of {name}")


def _is_bare(item: etree._Element) -> bool:
    return is_plain(item) and not item.attrib


def _form(value: Field) -> bytes:
    """Return bytes that are equal for equal properties."""
    if isinstance(value, str):
        return value.strip().encode()
    if is_plain(value) and not value.attrib:
        return plain_text(value).strip().encode()
    copied = deepcopy(value)
    copied.tail = None
    return etree.tostring(copied, method="c14n", exclusive=True)
