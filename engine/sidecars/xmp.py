"""Our words in an XMP sidecar: what is ours is marked, what is not ours is never touched. Bytes in, bytes out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from engine.core.errors import SidecarError
from engine.sidecars.merge.hierarchy import tag_paths
from engine.sidecars.merge.junk import is_junk
from engine.sidecars.merge.ownership import (
    DESCRIPTION,
    HIERARCHY,
    LABELS,
    METADATA_DATE,
    PEOPLE,
    RECORDS,
    REGIONS,
    SCHEMA_VERSION,
    SUBJECT,
    TAGS,
    TIFF_DESCRIPTION,
    Edits,
    Name,
    Standing,
    caption_hash,
    check_version,
    is_known,
    is_marked,
    read_standing,
    set_mark,
    set_record,
)
from engine.sidecars.merge.removal import remove_captions, remove_words
from engine.sidecars.merge.removed_names import note_declined, read_choice, read_declined, settle_records
from engine.sidecars.merge.restore import take_back
from engine.sidecars.merge.seed import embedded_keywords, has_camera_junk, human_description, seed_packet
from engine.sidecars.merge.terms import Choice, name_key, set_terms
from engine.sidecars.rdf.namespaces import MYVLM
from engine.sidecars.rdf.packet import Packet
from engine.sidecars.rdf.parsing import refused
from engine.sidecars.regions.named import NamedRegion, add_regions, read_regions, region_names, remove_regions

if TYPE_CHECKING:
    from engine.photos.metadata.embedded import Embedded

__all__ = [
    "Change",
    "Merge",
    "Policy",
    "Standing",
    "SidecarContent",
    "caption_hash",
    "merge_content",
    "name_key",
    "own_names",
    "read_declined",
    "read_standing",
    "remove_words",
    "take_back",
    "wants_embedded",
]
_PLAIN = ("SchemaVersion", "VLM", "Settings", "Concepts")


@dataclass(frozen=True)
class SidecarContent:
    """What myvlm has to say about a photo. `caption` None: there is none, and one of ours that is there is removed;
    `vlm` None goes with it.

    Names of ours that are neither in here nor `unasked` are taken out: they were looked for in vain, or are gone.
    """

    caption: str | None
    names: tuple[str, ...]  # of all accepted concepts, for dc:subject
    people: tuple[str, ...]  # of the people among them, for Iptc4xmpExt:PersonInImage
    hierarchy: tuple[str, ...]  # "People|Anna" of each, for lr:hierarchicalSubject and digiKam:TagsList
    concepts: tuple[str, ...]  # "id@version" of each
    vlm: str | None  # "repo id@revision"
    settings: str  # digest of prompt and settings
    run: str = ""  # written only when something else changes
    regions: tuple[NamedRegion, ...] | None = None  # None: not asked for, those that are there stay
    dimensions: tuple[int, int] | None = None  # the stored picture's width and height, with regions
    unasked: frozenset[str] = frozenset()  # names that were not looked for this time: what we said of them stays
    unasked_ids: frozenset[str] = frozenset()  # of their concepts

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to say: neither a caption nor a name."""
        return self.caption is None and not self.names


@dataclass(frozen=True)
class Policy:
    """How far a merge may go: replace a human's description; begin an lr:hierarchicalSubject."""

    replace_all: bool = False
    hierarchy: bool = False


@dataclass(frozen=True)
class Change:
    """A property that a merge changes, with its values in readable form."""

    property: str
    before: str
    after: str


@dataclass(frozen=True)
class Merge:
    """The outcome of a merge: the new bytes (None when nothing changes), notes for the user, and what changes."""

    data: bytes | None
    notes: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()


def merge_content(
    existing: bytes | None,
    words: SidecarContent,
    now: datetime,
    *,
    embedded: "Embedded | None" = None,
    policy: Policy = Policy(),
) -> Merge:
    """Put our words into a sidecar's bytes; None starts a new one, from what the photo file says of itself.

    A description whose hash is not in our own block was written by somebody else and stays. Terms are added, and
    only those we added are ever removed; names that a human took out stay out. `embedded` None with an existing
    sidecar: the photo file was not read this time, and nothing that needs it is decided anew: neither a description
    nor keywords are begun, because they might hide the photo's own (see `wants_embedded`); what another program
    dropped of ours comes back all the same.

    Raises:
        SidecarError: the sidecar cannot be merged without risk; write nothing then.
    """
    with refused():
        if existing is None and words.is_empty:
            return Merge(None)
        packet, notes = seed_packet(embedded) if existing is None else (Packet(existing), ())
        check_version(packet)
        if words.is_empty and not is_marked(packet):
            return Merge(None)
        start, before, edits = packet.serialise(), _values(packet), Edits()
        notes = (*notes, *_edit(packet, edits, words, embedded, policy, new=existing is None))
        if existing is not None and packet.serialise() == start:
            return Merge(None, notes)
        set_mark(packet, "Run", words.run or None)
        packet.set_text(*METADATA_DATE, now.isoformat(timespec="seconds"))
        data = packet.serialise()
        edits.check(Packet(start), Packet(data))
        after = _values(packet)
    changes = tuple(Change(k, before.get(k, ""), after[k]) for k in after if before.get(k, "") != after[k])
    return Merge(data, notes, changes)


def own_names(data: bytes) -> tuple[str, ...]:
    """The names that we wrote into a sidecar's keywords.

    Raises:
        SidecarError: it cannot be read.
    """
    return tuple(Packet(data).items(MYVLM, RECORDS[SUBJECT]))


def wants_embedded(existing: bytes) -> bool:
    """Whether a merge into a sidecar needs what the photo file says of itself, to hide nothing of it: the sidecar has
    no description or no keywords. False for one that cannot be read, which a merge will refuse.
    """
    try:
        packet = Packet(existing)
    except SidecarError:
        return False
    return packet.default_text(*DESCRIPTION) is None or packet.find(*SUBJECT) is None


def _edit(
    packet: Packet, edits: Edits, words: SidecarContent, embedded: "Embedded | None", policy: Policy, *, new: bool
) -> list[str]:
    choice = read_choice(packet, words.unasked)
    words = _allowed(words, choice)
    if words.caption is None:
        _drop_description(packet, edits)
        notes = []
    else:
        had, blind = packet.text(MYVLM, "CaptionHash"), embedded is None and not new
        notes = _set_description(packet, edits, words.caption, embedded, policy, blind=blind)
        _set_mirror(packet, edits, had, embedded, policy)
    notes += _set_subject(packet, edits, words, embedded, choice, new=new)
    notes += set_terms(packet, edits, PEOPLE, words.people, choice)
    for target, begin in ((HIERARCHY, policy.hierarchy), (TAGS, new and embedded is not None)):
        paths = tag_paths(packet, target, words.hierarchy, choice, begin=begin)
        if paths is not None:
            notes += set_terms(packet, edits, target, paths, choice)
    notes += _set_regions(packet, edits, words, choice)
    settle_records(packet, edits)
    note_declined(packet, choice)
    set_mark(packet, "SchemaVersion", str(SCHEMA_VERSION))
    set_mark(packet, "VLM", words.vlm)
    set_mark(packet, "Settings", words.settings)
    _set_concepts(packet, words)
    return notes


def _allowed(words: SidecarContent, choice: Choice) -> SidecarContent:
    """The words without the names that a human took out."""
    if not choice.declined:
        return words
    return replace(
        words,
        names=tuple(n for n in words.names if choice.allows(n)),
        people=tuple(n for n in words.people if choice.allows(n)),
        hierarchy=tuple(h for h in words.hierarchy if choice.allows(h.rsplit("|", 1)[-1])),
        regions=None if words.regions is None else tuple(r for r in words.regions if choice.allows(r.name)),
    )


def _set_subject(
    packet: Packet, edits: Edits, words: SidecarContent, embedded: "Embedded | None", choice: Choice, *, new: bool
) -> list[str]:
    """Before we begin a dc:subject in a sidecar that has none: put in the photo's own keywords, which it would hide."""
    ours = packet.items(MYVLM, RECORDS[SUBJECT]) or choice.declined
    if not new and words.names and packet.find(*SUBJECT) is None and not ours:
        if embedded is None:
            return ["added no keywords: the photo file, which may have some, was not read"]
        keywords = embedded_keywords(embedded)
        if keywords and packet.add_items(*SUBJECT, keywords):
            edits.added.setdefault(SUBJECT, Counter()).update(keywords)
    return set_terms(packet, edits, SUBJECT, words.names, choice)


def _set_regions(packet: Packet, edits: Edits, words: SidecarContent, choice: Choice) -> Sequence[str]:
    noted = region_names(packet)[0] if packet.find(MYVLM, "Regions") is not None else []
    if words.regions is not None and words.dimensions is not None:
        edits.regions = True
        return add_regions(packet, words.regions, words.dimensions, [n for n in noted if choice.stays(n)]).notes
    out = [n for n in noted if not choice.allows(n)]
    if out:
        edits.regions = True
        remove_regions(packet, out)
    return ()


def _set_concepts(packet: Packet, words: SidecarContent) -> None:
    """Note who was recognised, in the order in which it was noted before; of those not asked for what is there."""
    before = packet.items(MYVLM, "Concepts")
    order = {_id(c): i for i, c in enumerate(before)}
    now = {_id(c) for c in words.concepts}
    kept = [c for c in before if _id(c) in words.unasked_ids and _id(c) not in now]
    set_record(packet, "Concepts", sorted((*words.concepts, *kept), key=lambda c: order.get(_id(c), len(order))))


def _id(concept: str) -> str:
    return concept.rsplit("@", 1)[0]


def _set_description(
    packet: Packet, edits: Edits, caption: str, embedded: "Embedded | None", policy: Policy, *, blind: bool
) -> list[str]:
    """Write the caption where there is no description, one of ours, or a camera's."""
    current, known = packet.default_text(*DESCRIPTION), packet.text(MYVLM, "CaptionHash")
    mine = is_known(current, known)
    if current is not None and not mine and not is_junk(current) and not policy.replace_all:
        return ["kept the description that was there"]
    if current is None and not policy.replace_all and human_description(embedded, known):
        set_mark(packet, "CaptionHash", None)
        return ["kept the description in the photo file"]
    if current is None and known is None and blind and not policy.replace_all:
        return ["wrote no description: the photo file, which may have one, was not read"]
    mark = caption_hash(caption)
    if mine and is_known(current, mark):
        set_mark(packet, "CaptionHash", mark)
        return []
    if not _replace(packet, edits, DESCRIPTION, caption, "HadDescription", mine=mine):
        return ["kept the description that was there: it has an unusual form"]
    set_mark(packet, "CaptionHash", mark)
    return []


def _drop_description(packet: Packet, edits: Edits) -> None:
    """Remove our description. The mark of one that is gone already goes, too: nothing is missing any more."""
    remove_captions(packet, edits)
    if packet.default_text(*DESCRIPTION) is None:
        set_mark(packet, "CaptionHash", None)


def _set_mirror(packet: Packet, edits: Edits, had: str | None, embedded: "Embedded | None", policy: Policy) -> None:
    """Keep tiff:ImageDescription from hiding the description: Immich reads it first, and it may be a camera's.

    A human's text there stays. One that mirrors our caption goes on to mirror the description, also a human's.
    """
    current, known = packet.default_text(*TIFF_DESCRIPTION), packet.text(MYVLM, "MirrorHash")
    described, mark = packet.default_text(*DESCRIPTION), packet.text(MYVLM, "CaptionHash")
    ours = is_known(described, mark)
    mine = is_known(current, known) or is_known(current, had)
    same = not mine and ours and is_known(current, mark)
    if current is None:
        junk = has_camera_junk(embedded) if embedded is not None else known is not None
        wanted = junk and (ours or known is not None)
    else:
        wanted = mine or same or (ours and (policy.replace_all or is_junk(current)))
    wanted = wanted and packet.can_set_default(*TIFF_DESCRIPTION)
    if not wanted or described is None:
        if wanted:
            edits.texts.add(TIFF_DESCRIPTION)
            packet.remove_default_text(*TIFF_DESCRIPTION)
        set_mark(packet, "MirrorHash", None)
        return
    if same:
        set_mark(packet, "HadImageDescription", current)
    mark = caption_hash(described)
    if is_known(current, mark) or _replace(
        packet, edits, TIFF_DESCRIPTION, described, "HadImageDescription", mine=mine
    ):
        set_mark(packet, "MirrorHash", mark)


def _replace(packet: Packet, edits: Edits, target: Name, text: str, record: str, *, mine: bool) -> bool:
    """Set a description; what was there, if it was not ours, is noted in our block. False: not possible."""
    old = packet.overwritten_text(*target)
    if not packet.set_default_text(*target, text):
        return False
    edits.texts.add(target)
    if not mine and old.strip():
        set_mark(packet, record, old)
    return True


def _values(packet: Packet) -> dict[str, str]:
    """The readable values of what a merge may change."""
    values = {LABELS[n]: packet.default_text(*n) or "" for n in (DESCRIPTION, TIFF_DESCRIPTION)}
    values |= {LABELS[n]: ", ".join(packet.items(*n)) for n in RECORDS}
    values[LABELS[REGIONS]] = _named(read_regions(packet)) if packet.find(*REGIONS) is not None else ""
    return values | {f"myvlm:{n}": ", ".join(packet.items(MYVLM, n)) for n in _PLAIN}


def _named(regions: Sequence[NamedRegion]) -> str:
    return ", ".join(f"{r.name} ({r.type})" for r in regions)
