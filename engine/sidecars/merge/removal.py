"""Remove what myvlm wrote from a sidecar: everything, or what is about a concept that is to be forgotten."""

import re
from collections import Counter
from collections.abc import Callable

from engine.core.errors import SidecarError
from engine.sidecars.merge.ownership import (
    DESCRIPTION,
    METADATA_DATE,
    OUR_TAGS,
    OURS,
    RECORDS,
    TIFF_DESCRIPTION,
    Edits,
    Name,
    has_hash,
    set_mark,
    set_record,
)
from engine.sidecars.merge.removed_names import forget_removed
from engine.sidecars.merge.terms import name_of
from engine.sidecars.rdf.forms import ABOUT, BLOCK, MYVLM, attributes, folded, q
from engine.sidecars.rdf.packet import Packet
from engine.sidecars.rdf.parsing import refuse_unsafe_edits
from engine.sidecars.regions.named import remove_regions

TextFilter = Callable[[str], bool]
"""Decides whether a text is removed."""


def remove_content(
    existing: bytes, names: frozenset[str] | None = None, ids: frozenset[str] = frozenset()
) -> bytes | None:
    """Remove what myvlm wrote and is unchanged since: everything (`names` None), or only what is about these names.

    About names are keywords, tags and regions with them, a caption that mentions one, and records of them and of
    concepts with these `ids`. Texts that the caption replaced are restored.

    Returns the same bytes if nothing of myvlm is there, and None if nothing else was, so that the file may be deleted.

    Raises:
        SidecarError: the sidecar cannot be edited without risk; leave it as it is then.
    """
    with refuse_unsafe_edits():
        packet = Packet(existing)
        start = packet.serialise()
        edits = Edits(regions=bool(packet.items(MYVLM, "Regions")))
        remove_captions(packet, edits, None if names is None else _mentions(names))
        _remove_terms(packet, edits, names)
        if edits.regions:
            remove_regions(packet, names)
        _remove_records(packet, names, ids)
        data = packet.serialise()
        if data == start:
            return existing
        packet.remove_empty_blocks()
        data = packet.serialise()
        after = Packet(data)
        edits.check(Packet(start), after)
    return None if is_empty(after) else data


def _remove_records(packet: Packet, names: frozenset[str] | None, ids: frozenset[str]) -> None:
    """Remove all our records (`names` None), or those of removed names and of concepts."""
    if names is None:
        for name in OURS:
            packet.remove(MYVLM, name)
        return
    concepts = packet.items(MYVLM, "Concepts")
    forget_removed(packet, names)
    set_record(packet, "Concepts", [c for c in concepts if c.rsplit("@", 1)[0] not in ids])


def _mentions(names: frozenset[str]) -> TextFilter:
    """Return a filter for texts that mention one of these names as a word."""
    either = "|".join(re.escape(folded(n)) for n in sorted(names, key=len, reverse=True) if folded(n))
    pattern = re.compile(rf"(?<!\w)(?:{either})(?!\w)") if either else re.compile(r"(?!)")
    return lambda text: pattern.search(folded(text)) is not None


def remove_captions(packet: Packet, edits: Edits, is_removed: TextFilter | None = None) -> None:
    """Remove our caption and its copy in tiff:ImageDescription, and restore the texts that they replaced.

    A copy of a description that the user wrote stays as long as that description.

    is_removed: decides whether a text is removed; None removes whatever is ours.
    """
    is_removed = is_removed or (lambda _: True)
    current, caption_mark = packet.default_text(*DESCRIPTION), packet.text(MYVLM, "CaptionHash")
    is_ours = has_hash(current, caption_mark)
    copy, copy_mark = packet.default_text(*TIFF_DESCRIPTION), packet.text(MYVLM, "MirrorHash")
    is_copy = is_ours and has_hash(copy, caption_mark) and packet.can_set_default(*TIFF_DESCRIPTION)
    is_copy = is_copy or has_hash(copy, copy_mark)
    if current is not None and is_ours and is_removed(current):
        _restore(packet, edits, DESCRIPTION, "HadDescription")
        set_mark(packet, "CaptionHash", None)
    if copy is not None and is_copy and is_removed(copy):
        _restore(packet, edits, TIFF_DESCRIPTION, "HadImageDescription")
        set_mark(packet, "MirrorHash", None)
    for record in ("HadDescription", "HadImageDescription"):
        if is_removed(packet.text(MYVLM, record) or ""):
            set_mark(packet, record, None)


def _restore(packet: Packet, edits: Edits, target: Name, record: str) -> None:
    """Restore the text that was replaced, or remove ours; other languages stay."""
    edits.texts.add(target)
    text = packet.text(MYVLM, record)
    set_mark(packet, record, None)
    if not (packet.set_default_text(*target, text) if text else packet.remove_default_text(*target)):
        raise SidecarError(f"{target[1]} has an unusual form")


def _remove_terms(packet: Packet, edits: Edits, names: frozenset[str] | None) -> None:
    keys = None if names is None else {folded(n) for n in names}
    for target, record in RECORDS.items():
        recorded = packet.items(MYVLM, record)
        obsolete = [r for r in recorded if keys is None or folded(name_of(r, target)) in keys]
        if obsolete:
            edits.removed[target] = Counter(packet.remove_items(*target, obsolete))
            set_record(packet, record, [r for r in recorded if r not in obsolete])


def is_empty(packet: Packet) -> bool:
    """Return whether a document holds nothing but the date of its last change and our records."""
    document, ours = packet.document, {q(*METADATA_DATE), *OUR_TAGS}
    rest = [child for block in packet.blocks() for child in block if child.tag not in ours]
    keys = {key for block in packet.blocks() for key in attributes(block)} - ours - {ABOUT}
    others = len(document.rdf) - sum(b.tag == BLOCK for b in packet.blocks())
    around = 0 if document.root is document.rdf else len(document.root) - 1
    comments = [n for n in document.outside() if getattr(n, "target", None) != "xpacket"]
    return not (rest or keys or others or around or comments)
