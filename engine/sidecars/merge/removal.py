"""Taking our words out of a sidecar again: all of them, or those about somebody who is to be forgotten."""

import re
from collections import Counter
from collections.abc import Callable

from engine.core.errors import SidecarError
from engine.sidecars.merge.ownership import (
    DESCRIPTION,
    METADATA_DATE,
    OURS,
    RECORDS,
    TIFF_DESCRIPTION,
    Edits,
    Name,
    is_known,
    set_mark,
    set_record,
)
from engine.sidecars.merge.removed_names import forget_declined
from engine.sidecars.merge.terms import name_of
from engine.sidecars.rdf.forms import ABOUT, BLOCK, folded
from engine.sidecars.rdf.namespaces import MYVLM, q
from engine.sidecars.rdf.packet import Packet
from engine.sidecars.rdf.parsing import refused
from engine.sidecars.regions.named import remove_regions

Chosen = Callable[[str], bool]


def remove_words(
    existing: bytes, names: frozenset[str] | None = None, ids: frozenset[str] = frozenset()
) -> bytes | None:
    """Take out what we wrote and nobody changed: everything (`names` None), or only what is about some names.

    Of names: terms, tags and regions of ours, a caption of ours in which one is said, and what our block notes of
    them and of concepts with `ids`. Texts that we had replaced come back. The same bytes when nothing of ours is
    there; None when nothing but ours was, so that the file may be deleted.

    Raises:
        SidecarError: the sidecar cannot be edited without risk; leave it as it is then.
    """
    with refused():
        packet = Packet(existing)
        start = packet.serialise()
        edits = Edits(regions=bool(packet.items(MYVLM, "Regions")))
        said = None if names is None else _pattern(names)
        remove_captions(packet, edits, None if said is None else lambda t: bool(said.search(folded(t))))
        _remove_terms(packet, edits, names)
        if edits.regions:
            remove_regions(packet, names)
        if names is None:
            for name in OURS:
                packet.remove(MYVLM, name)
        else:
            concepts = packet.items(MYVLM, "Concepts")
            forget_declined(packet, names)
            set_record(packet, "Concepts", [c for c in concepts if c.rsplit("@", 1)[0] not in ids])
        data = packet.serialise()
        if data == start:
            return existing
        packet.remove_empty_blocks()
        data = packet.serialise()
        after = Packet(data)
        edits.check(Packet(start), after)
    return None if is_empty(after) else data


def _pattern(names: frozenset[str]) -> re.Pattern[str]:
    """A pattern that finds any of some names as words of a text (both folded)."""
    found = "|".join(re.escape(folded(n)) for n in sorted(names, key=len, reverse=True) if folded(n))
    return re.compile(rf"(?<!\w)(?:{found})(?!\w)") if found else re.compile(r"(?!)")


def remove_captions(packet: Packet, edits: Edits, chosen: Chosen | None = None) -> None:
    """Remove our caption and its mirror, and put back the texts that they replaced. A mirror of a human's description
    stays while that is there. `chosen` says of a text whether it goes; None removes whatever is ours.
    """
    chosen = chosen or (lambda _: True)
    current, known = packet.default_text(*DESCRIPTION), packet.text(MYVLM, "CaptionHash")
    mine = is_known(current, known)
    mirrored, mark = packet.default_text(*TIFF_DESCRIPTION), packet.text(MYVLM, "MirrorHash")
    copied = mine and is_known(mirrored, known) and packet.can_set_default(*TIFF_DESCRIPTION)
    copied = copied or is_known(mirrored, mark)
    if current is not None and mine and chosen(current):
        _restore(packet, edits, DESCRIPTION, "HadDescription")
        set_mark(packet, "CaptionHash", None)
    if mirrored is not None and copied and chosen(mirrored):
        _restore(packet, edits, TIFF_DESCRIPTION, "HadImageDescription")
        set_mark(packet, "MirrorHash", None)
    for record in ("HadDescription", "HadImageDescription"):
        if chosen(packet.text(MYVLM, record) or ""):
            set_mark(packet, record, None)


def _restore(packet: Packet, edits: Edits, target: Name, record: str) -> None:
    """Put back the text that we replaced, or remove ours; other languages stay."""
    edits.texts.add(target)
    text = packet.text(MYVLM, record)
    set_mark(packet, record, None)
    if not (packet.set_default_text(*target, text) if text else packet.remove_default_text(*target)):
        raise SidecarError(f"{target[1]} has an unusual form")


def _remove_terms(packet: Packet, edits: Edits, names: frozenset[str] | None) -> None:
    keys = None if names is None else {folded(n) for n in names}
    for target, record in RECORDS.items():
        mine = packet.items(MYVLM, record)
        gone = [m for m in mine if keys is None or folded(name_of(m, target)) in keys]
        if gone:
            edits.removed[target] = Counter(packet.remove_items(*target, gone))
            set_record(packet, record, [m for m in mine if m not in gone])


def is_empty(packet: Packet) -> bool:
    """Whether a document holds no property but the date of its last change, and no other thing either."""
    document, ours = packet.document, {q(*METADATA_DATE), *(q(MYVLM, n) for n in OURS)}
    rest = [child for block in packet.blocks() for child in block if child.tag not in ours]
    attributes = {key for block in packet.blocks() for key in block.attrib} - ours - {ABOUT}
    others = len(document.rdf) - sum(b.tag == BLOCK for b in packet.blocks())
    around = 0 if document.root is document.rdf else len(document.root) - 1
    comments = [n for n in document.outside() if getattr(n, "target", None) != "xpacket"]
    return not (rest or attributes or others or around or comments)
