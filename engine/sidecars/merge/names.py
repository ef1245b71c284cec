"""Write the names of the recognised concepts: keywords, people, tags with a path, regions."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.core.notes import Note, NoteCode
from engine.sidecars.merge.content import Policy, SidecarContent
from engine.sidecars.merge.hierarchy import tag_paths
from engine.sidecars.merge.new_sidecar import embedded_keywords
from engine.sidecars.merge.ownership import HIERARCHY, PEOPLE, RECORDS, SUBJECT, TAGS, Edits, set_record
from engine.sidecars.merge.terms import NameRules, set_terms
from engine.sidecars.rdf.namespaces import MYVLM
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
        paths = tag_paths(packet, target, content.hierarchy, rules, begin=begin)
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
