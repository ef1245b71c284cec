"""Write the caption into dc:description, and keep tiff:ImageDescription from hiding it.

See docs/sidecars.md, "Properties" and "Facts about other programs" (Immich reads tiff:ImageDescription first).
"""

from typing import TYPE_CHECKING

from engine.core.notes import Note, NoteCode
from engine.sidecars.merge.automatic import is_automatic
from engine.sidecars.merge.content import Policy
from engine.sidecars.merge.new_sidecar import find_user_description, has_automatic_description
from engine.sidecars.merge.ownership import (
    DESCRIPTION,
    TIFF_DESCRIPTION,
    Edits,
    Name,
    caption_hash,
    has_hash,
    set_mark,
)
from engine.sidecars.merge.removal import remove_captions
from engine.sidecars.rdf.forms import MYVLM
from engine.sidecars.rdf.packet import Packet

if TYPE_CHECKING:
    from engine.photos.metadata.embedded import Embedded


def set_descriptions(
    packet: Packet, edits: Edits, caption: str | None, embedded: "Embedded | None", policy: Policy, *, is_new: bool
) -> list[Note]:
    """Write the caption into both description properties, or remove an earlier one; return notes for the user.

    caption: None if there is none. embedded: None if the photo file was not read. is_new: the sidecar did not exist.
    """
    if caption is None:
        _drop_description(packet, edits)
        return []
    previous, is_unread = packet.text(MYVLM, "CaptionHash"), embedded is None and not is_new
    note = _set_description(packet, edits, caption, embedded, policy, is_unread=is_unread)
    _set_mirror(packet, edits, previous, embedded, policy)
    return [] if note is None else [Note(note)]


def _set_description(
    packet: Packet, edits: Edits, caption: str, embedded: "Embedded | None", policy: Policy, *, is_unread: bool
) -> NoteCode | None:
    """Write the caption if there is no description, or one that myvlm or a camera wrote; else return why not."""
    current, known_hash = packet.default_text(*DESCRIPTION), packet.text(MYVLM, "CaptionHash")
    is_ours = has_hash(current, known_hash)
    if not policy.replace_all:
        if current is not None and not is_ours and not is_automatic(current):
            return NoteCode.KEPT_DESCRIPTION
        if current is None and find_user_description(embedded, known_hash):
            set_mark(packet, "CaptionHash", None)
            return NoteCode.KEPT_EMBEDDED_DESCRIPTION
        if current is None and known_hash is None and is_unread:
            return NoteCode.DESCRIPTION_UNREAD
    new_hash = caption_hash(caption)
    if is_ours and has_hash(current, new_hash):
        set_mark(packet, "CaptionHash", new_hash)
        return None
    if not _replace(packet, edits, DESCRIPTION, caption, "HadDescription", is_ours=is_ours):
        return NoteCode.KEPT_UNUSUAL_DESCRIPTION
    set_mark(packet, "CaptionHash", new_hash)
    return None


def _drop_description(packet: Packet, edits: Edits) -> None:
    """Remove the caption that myvlm wrote, and its hash also if the caption is missing already."""
    remove_captions(packet, edits)
    if packet.default_text(*DESCRIPTION) is None:
        set_mark(packet, "CaptionHash", None)


def _set_mirror(
    packet: Packet, edits: Edits, previous: str | None, embedded: "Embedded | None", policy: Policy
) -> None:
    """Update tiff:ImageDescription, which Immich reads before dc:description and which a camera may have filled.

    A text that the user wrote there stays. A copy of our caption remains a copy of dc:description, also after the user
    changed that.

    previous: hash of the caption that myvlm wrote before this run.
    """
    current, known_hash = packet.default_text(*TIFF_DESCRIPTION), packet.text(MYVLM, "MirrorHash")
    description, written_hash = packet.default_text(*DESCRIPTION), packet.text(MYVLM, "CaptionHash")
    is_described_by_us = has_hash(description, written_hash)
    is_ours = has_hash(current, known_hash) or has_hash(current, previous)
    is_equal = not is_ours and is_described_by_us and has_hash(current, written_hash)
    if current is None:
        is_filled = has_automatic_description(embedded) if embedded is not None else known_hash is not None
        is_wanted = is_filled and (is_described_by_us or known_hash is not None)
    else:
        is_replaceable = is_described_by_us and (policy.replace_all or is_automatic(current))
        is_wanted = is_ours or is_equal or is_replaceable
    is_wanted = is_wanted and packet.can_set_default(*TIFF_DESCRIPTION)
    if not is_wanted or description is None:
        if is_wanted:
            edits.texts.add(TIFF_DESCRIPTION)
            packet.remove_default_text(*TIFF_DESCRIPTION)
        set_mark(packet, "MirrorHash", None)
        return
    if is_equal:
        set_mark(packet, "HadImageDescription", current)
    new_hash = caption_hash(description)
    if has_hash(current, new_hash) or _replace(
        packet, edits, TIFF_DESCRIPTION, description, "HadImageDescription", is_ours=is_ours
    ):
        set_mark(packet, "MirrorHash", new_hash)


def _replace(packet: Packet, edits: Edits, target: Name, text: str, record: str, *, is_ours: bool) -> bool:
    """Set a description and record the replaced text unless it was ours; return False if its form prevents it."""
    old = packet.overwritten_text(*target)
    if not packet.set_default_text(*target, text):
        return False
    edits.texts.add(target)
    if not is_ours and old.strip():
        set_mark(packet, record, old)
    return True
