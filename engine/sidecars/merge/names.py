"""Write the names of the recognised concepts: keywords, people, tags with a path, regions.

Tags with a path are lr:hierarchicalSubject ("People|Anna") and digiKam:TagsList ("People/Anna"). Programs that find one
of these properties ignore the keywords: Immich shows a TagsList and then nothing of dc:subject. Therefore a property
that myvlm begins also gets the user's keywords, and follows them as long as no other program writes into it.
"""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.core.notes import Note, NoteCode
from engine.sidecars.merge.content import Policy, SidecarContent
from engine.sidecars.merge.new_sidecar import embedded_keywords
from engine.sidecars.merge.ownership import HIERARCHY, PEOPLE, RECORDS, SUBJECT, TAGS, Edits, Name, set_record
from engine.sidecars.merge.terms import SEPARATORS, NameRules, folded_name, leaf, set_terms
from engine.sidecars.rdf.forms import MYVLM, term_key
from engine.sidecars.rdf.packet import Packet
from engine.sidecars.regions.named import add_regions, region_names, remove_regions

if TYPE_CHECKING:
    from engine.photos.metadata.embedded import Embedded


def set_names(
    packet: Packet,
    edits: Edits,
    content: SidecarContent,
    embedded: "Embedded | None",
    policy: Policy,
    rules: NameRules,
    *,
    is_new: bool,
) -> list[Note]:
    """Update all properties that hold names; return notes for the user."""
    notes = _set_keywords(packet, edits, content, embedded, rules, is_new=is_new)
    notes += set_terms(packet, edits, PEOPLE, content.people, rules)
    for target, begin in ((HIERARCHY, policy.hierarchy), (TAGS, is_new and embedded is not None)):
        paths = _tag_paths(packet, target, content.hierarchy, rules, begin=begin)
        if paths is not None:
            notes += set_terms(packet, edits, target, paths, rules)
    notes += _set_regions(packet, edits, content, rules)
    return notes


def _set_keywords(
    packet: Packet,
    edits: Edits,
    content: SidecarContent,
    embedded: "Embedded | None",
    rules: NameRules,
    *,
    is_new: bool,
) -> list[Note]:
    """Update dc:subject. If it is begun here, add the keywords in the photo file first, which it would hide."""
    had_names = packet.items(MYVLM, RECORDS[SUBJECT]) or rules.removed
    if not is_new and content.names and packet.find(*SUBJECT) is None and not had_names:
        if embedded is None:
            return [Note(NoteCode.KEYWORDS_UNREAD)]
        keywords = embedded_keywords(embedded)
        if keywords and packet.add_items(*SUBJECT, keywords):
            edits.added.setdefault(SUBJECT, Counter()).update(keywords)
    return set_terms(packet, edits, SUBJECT, content.names, rules)


def _tag_paths(
    packet: Packet, target: Name, hierarchy: Sequence[str], rules: NameRules, *, begin: bool
) -> list[str] | None:
    """Return the paths that myvlm should have in a property, None if the property is to be left alone.

    A tag that the user keeps elsewhere in the tree is not added again.

    hierarchy: paths with "|". begin: the property may be begun.
    """
    present, records = packet.items(*target), packet.items(MYVLM, RECORDS[target])
    if not (present or records or (begin and hierarchy)):
        return None

    def key(path: str) -> str:
        return folded_name(leaf(path, target))

    recorded = {term_key(r) for r in records}
    foreign = [p for p in present if term_key(p) not in recorded]
    held = recorded & {term_key(p) for p in present}
    foreign_names = {key(p) for p in foreign}
    paths = [_path(h.split("|"), target) for h in hierarchy]
    paths = [p for p in paths if key(p) not in foreign_names or term_key(p) in held]
    excluded = {key(p) for p in paths} | foreign_names | rules.removed.keys()
    keywords = [k for k in _user_keywords(packet, target) if key(k) not in excluded]
    if foreign or not (paths or any(key(r) in rules.unrequested for r in records)):
        keywords = [k for k in keywords if term_key(k) in recorded and foreign]
    return list(dict.fromkeys([*keywords, *paths]))


def _user_keywords(packet: Packet, target: Name) -> list[str]:
    """Return the user's keywords as paths: those with a path, then those that are in no path."""
    paths = []
    if target == TAGS:
        paths = [_path(p.split("|"), target) for p in _foreign(packet, HIERARCHY)]
    leaves = {leaf(p, target) for p in paths}
    flat = [_path([s], target) for s in _foreign(packet, SUBJECT)]
    return [*paths, *(f for f in flat if leaf(f, target) not in leaves)]


def _foreign(packet: Packet, target: Name) -> list[str]:
    """Return the terms of a property that myvlm did not write."""
    recorded = {term_key(r) for r in packet.items(MYVLM, RECORDS[target])}
    return [t for p in packet.items(*target) if (t := term_key(p)) and t not in recorded]


def _path(parts: Sequence[str], target: Name) -> str:
    """Join a path in the form of a property. A separator in a name cannot be escaped, so it becomes a hyphen."""
    separator = SEPARATORS[target]
    return separator.join(term_key(p).replace(separator, "-") for p in parts if p.strip())


def _set_regions(packet: Packet, edits: Edits, content: SidecarContent, rules: NameRules) -> Sequence[Note]:
    """Update the regions, or, if none are requested, remove those of names that the user removed."""
    recorded = region_names(packet)[0] if packet.find(MYVLM, "Regions") is not None else []
    if content.regions is not None and content.dimensions is not None:
        edits.regions = True
        keep = [n for n in recorded if rules.keeps(n)]
        return add_regions(packet, content.regions, content.dimensions, keep).notes
    refused = [n for n in recorded if not rules.allows(n)]
    if refused:
        edits.regions = True
        remove_regions(packet, refused)
    return ()


def record_concepts(packet: Packet, content: SidecarContent) -> None:
    """Record the recognised concepts in the order of the earlier record; unrequested ones stay in it."""
    before = packet.items(MYVLM, "Concepts")
    order = {concept_id(c): i for i, c in enumerate(before)}
    recognised = {concept_id(c) for c in content.concepts}
    kept = [c for c in before if concept_id(c) in content.unrequested_ids and concept_id(c) not in recognised]
    concepts = sorted((*content.concepts, *kept), key=lambda c: order.get(concept_id(c), len(order)))
    set_record(packet, "Concepts", concepts)


def concept_id(record: str) -> str:
    """Return the id in a record "id@version"."""
    return record.rsplit("@", 1)[0]
