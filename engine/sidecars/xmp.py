"""Merge names and captions into an XMP sidecar, from bytes to bytes; what other programs and the user wrote stays.

Everything that myvlm writes is recorded in its own namespace, so that later runs can change and remove it. The parts
are in `engine.sidecars.merge`.
"""

from datetime import datetime
from typing import TYPE_CHECKING

from engine.core.errors import SidecarError
from engine.core.notes import Note
from engine.sidecars.merge.content import (
    DEFAULT_POLICY,
    Change,
    Merge,
    Policy,
    SidecarContent,
    compare,
    readable_values,
)
from engine.sidecars.merge.description import set_descriptions
from engine.sidecars.merge.names import record_concepts, set_names
from engine.sidecars.merge.new_sidecar import start_packet
from engine.sidecars.merge.ownership import (
    DESCRIPTION,
    METADATA_DATE,
    RECORDS,
    SCHEMA_VERSION,
    SUBJECT,
    Edits,
    check_version,
    is_marked,
    set_mark,
)
from engine.sidecars.merge.removal import remove_content
from engine.sidecars.merge.removed_names import read_removed_names, read_rules, record_removed, settle_records
from engine.sidecars.merge.restore import restore
from engine.sidecars.merge.status import DescriptionStatus, XmpStatus, read_xmp_status
from engine.sidecars.merge.terms import folded_name
from engine.sidecars.rdf.forms import MYVLM
from engine.sidecars.rdf.packet import Packet
from engine.sidecars.rdf.parsing import refuse_unsafe_edits

if TYPE_CHECKING:
    from engine.photos.metadata.embedded import Embedded

__all__ = [
    "Change",
    "DescriptionStatus",
    "Merge",
    "Policy",
    "SidecarContent",
    "XmpStatus",
    "folded_name",
    "merge_content",
    "needs_embedded",
    "read_removed_names",
    "read_xmp_status",
    "remove_content",
    "restore",
    "written_names",
]


def merge_content(
    existing: bytes | None,
    content: SidecarContent,
    now: datetime,
    *,
    embedded: "Embedded | None" = None,
    policy: Policy = DEFAULT_POLICY,
) -> Merge:
    """Merge content into the bytes of a sidecar; None starts a new one from the metadata in the photo file.

    A description whose hash is not recorded was written by the user or another program, and stays. Names are added, and
    only names that myvlm added are ever removed; names that the user removed stay removed.

    embedded: the metadata in the photo file. None with an existing sidecar: the file was not read this time, so neither
    a description nor keywords are begun, because they might hide those in the file (see `needs_embedded`); what another
    program dropped is restored all the same.

    Raises:
        SidecarError: the sidecar cannot be merged without risk; write nothing then.
    """
    with refuse_unsafe_edits():
        if existing is None and content.is_empty:
            return Merge(None)
        packet, notes = start_packet(embedded) if existing is None else (Packet(existing), ())
        check_version(packet)
        if content.is_empty and not is_marked(packet):
            return Merge(None)
        start, before, edits = packet.serialise(), readable_values(packet), Edits()
        notes = (*notes, *_edit(packet, edits, content, embedded, policy, is_new=existing is None))
        if existing is not None and packet.serialise() == start:
            return Merge(None, notes)
        set_mark(packet, "Run", content.run or None)
        packet.set_text(*METADATA_DATE, now.isoformat(timespec="seconds"))
        data = packet.serialise()
        edits.check(Packet(start), Packet(data))
        after = readable_values(packet)
    return Merge(data, notes, compare(before, after))


def _edit(
    packet: Packet,
    edits: Edits,
    content: SidecarContent,
    embedded: "Embedded | None",
    policy: Policy,
    *,
    is_new: bool,
) -> list[Note]:
    """Update a packet; return notes for the user. edits: is filled with what was changed."""
    rules = read_rules(packet, content.unrequested)
    content = content.without_removed(rules)
    notes = set_descriptions(packet, edits, content.caption, embedded, policy, is_new=is_new)
    notes += set_names(packet, edits, content, embedded, policy, rules, is_new=is_new)
    settle_records(packet, edits)
    record_removed(packet, rules)
    set_mark(packet, "SchemaVersion", str(SCHEMA_VERSION))
    set_mark(packet, "VLM", content.vlm)
    set_mark(packet, "Settings", content.settings)
    record_concepts(packet, content)
    return notes


def written_names(data: bytes) -> tuple[str, ...]:
    """Return the names that myvlm wrote into the keywords of a sidecar.

    Raises:
        SidecarError: it cannot be read.
    """
    return tuple(Packet(data).items(MYVLM, RECORDS[SUBJECT]))


def needs_embedded(existing: bytes) -> bool:
    """Return whether a merge into a sidecar needs the metadata in the photo file, so that it does not hide them.

    It does if the sidecar has no description or no keywords. False if the sidecar cannot be read: merging will refuse
    it.
    """
    try:
        packet = Packet(existing)
    except SidecarError:
        return False
    return packet.default_text(*DESCRIPTION) is None or packet.find(*SUBJECT) is None
