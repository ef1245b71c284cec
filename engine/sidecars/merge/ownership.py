"""What in a sidecar is ours: a caption by its hash, terms by our record of them. All else is somebody else's."""

import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from engine.core.errors import SidecarError
from engine.core.files import sha256_of
from engine.sidecars.rdf.foreign import Share, foreign
from engine.sidecars.rdf.forms import folded
from engine.sidecars.rdf.namespaces import DC, DIGIKAM, IPTC_EXT, LIGHTROOM, MYVLM, TIFF, XMP, q
from engine.sidecars.rdf.packet import Packet
from engine.sidecars.regions.named import regions_kept

SCHEMA_VERSION = 2
Name = tuple[str, str]
DESCRIPTION, TIFF_DESCRIPTION, METADATA_DATE = (DC, "description"), (TIFF, "ImageDescription"), (XMP, "MetadataDate")
SUBJECT, PEOPLE = (DC, "subject"), (IPTC_EXT, "PersonInImage")
HIERARCHY, TAGS = (LIGHTROOM, "hierarchicalSubject"), (DIGIKAM, "TagsList")
REGIONS: Name = ("http://www.metadataworkinggroup.com/schemas/regions/", "Regions")
RECORDS = {SUBJECT: "Subjects", PEOPLE: "People", HIERARCHY: "Hierarchy", TAGS: "Tags"}
"""Where the terms are noted that we added to a property."""
OURS = (
    *("SchemaVersion", "VLM", "Settings", "Concepts", "Run", "Regions", *RECORDS.values()),
    *("CaptionHash", "MirrorHash", "HadDescription", "HadImageDescription", "Declined", "DeclinedBeside"),
)
"""All of our own properties. The hashes are of the dc:description and tiff:ImageDescription that we wrote, the texts
those that were there and that we replaced: camera junk, or a human's by order. For the declined see declined.py."""
LABELS = {
    DESCRIPTION: "dc:description",
    TIFF_DESCRIPTION: "tiff:ImageDescription",
    SUBJECT: "dc:subject",
    HIERARCHY: "lr:hierarchicalSubject",
    TAGS: "digiKam:TagsList",
    PEOPLE: "Iptc4xmpExt:PersonInImage",
    REGIONS: "mwg-rs:Regions",
}


@dataclass(frozen=True)
class Standing:
    """How our words stand in a sidecar. `dropped` names the properties that a merge will put back; `caption` is "human"
    where somebody changed a description that we wrote, "kept" where we never wrote one because one was there.
    """

    marked: bool
    caption: Literal["ours", "human", "kept", "dropped", "none"]
    dropped: tuple[str, ...] = ()
    run: str = ""
    concepts: tuple[str, ...] = ()


@dataclass
class Edits:
    """What an edit put in and took out, for the check that nothing else changed; filled as it goes along."""

    texts: set[Name] = field(default_factory=set)
    added: dict[Name, Counter[str]] = field(default_factory=dict)
    removed: dict[Name, Counter[str]] = field(default_factory=dict)
    regions: bool = False

    def share_before(self) -> Share:
        """What was ours before the edit."""
        return self._share(self.removed)

    def share_after(self) -> Share:
        """What is ours after it."""
        return self._share(self.added)

    def _share(self, items: dict[Name, Counter[str]]) -> Share:
        whole = {METADATA_DATE, *((MYVLM, n) for n in OURS), *([REGIONS] if self.regions else [])}
        arrays = {q(*n): items.get(n, Counter()) for n in (*self.added, *self.removed)}
        return Share(frozenset(q(*n) for n in whole), frozenset(q(*n) for n in self.texts), arrays)

    def check(self, before: Packet, after: Packet) -> None:
        """Compare what is not ours.

        Raises:
            SidecarError: it differs.
        """
        kept = foreign(before, self.share_before()) == foreign(after, self.share_after())
        if not kept or (self.regions and not regions_kept(before, after)):
            raise SidecarError("the edit would change somebody else's metadata")


def check_version(packet: Packet) -> None:
    """Refuse what a later version wrote: it may keep records that this one would not keep up to date.

    Raises:
        SidecarError: the block is of a newer schema.
    """
    version = packet.text(MYVLM, "SchemaVersion") or ""
    if version.isdecimal() and int(version) > SCHEMA_VERSION:
        raise SidecarError("a newer version of myvlm wrote this sidecar", hint="Update myvlm.")


def is_marked(packet: Packet) -> bool:
    """Whether a block of ours is there."""
    return any(packet.find(MYVLM, name) is not None for name in OURS)


def caption_hash(caption: str) -> str:
    """The mark by which a caption of ours is known again, also after a program changed its Unicode form or spaces."""
    return sha256_of(" ".join(unicodedata.normalize("NFC", caption).split()).encode())[:32]


def is_known(text: str | None, mark: str | None) -> bool:
    """Whether a text is the one that a mark was made of."""
    return text is not None and mark is not None and mark in (caption_hash(text), sha256_of(text.encode())[:32])


def is_rewritten(packet: Packet) -> bool:
    """Whether another program dropped our caption, and so wrote what it manages anew, from its own database.

    darktable fills dc:subject and lr:hierarchicalSubject from there, where ours are not; with them goes our caption.
    Where there is a description, whoever wrote it, a human took out whatever else is missing.
    """
    return packet.text(MYVLM, "CaptionHash") is not None and packet.default_text(*DESCRIPTION) is None


def read_standing(data: bytes) -> Standing:
    """How our words stand in a sidecar.

    Raises:
        SidecarError: it cannot be read, or a later version wrote it.
    """
    packet = Packet(data)
    check_version(packet)
    known = packet.text(MYVLM, "CaptionHash")
    current = packet.default_text(*DESCRIPTION)
    caption: Literal["ours", "human", "kept", "dropped", "none"] = "dropped" if known else "none"
    if current is not None:
        caption = "ours" if is_known(current, known) else "human" if known else "kept"
    dropped = [LABELS[n] for n in _dropped(packet)] if is_rewritten(packet) else []
    if packet.text(MYVLM, "MirrorHash") and packet.default_text(*TIFF_DESCRIPTION) is None:
        dropped.append(LABELS[TIFF_DESCRIPTION])
    marked = packet.text(MYVLM, "SchemaVersion") is not None
    concepts = tuple(packet.items(MYVLM, "Concepts"))
    return Standing(marked, caption, tuple(dropped), packet.text(MYVLM, "Run") or "", concepts)


def _dropped(packet: Packet) -> Iterator[Name]:
    """The properties of which a program that wrote the sidecar anew left out something of ours."""
    yield DESCRIPTION
    for target, record in RECORDS.items():
        here = {folded(p) for p in packet.items(*target)}
        if any(folded(m) not in here for m in packet.items(MYVLM, record)):
            yield target
    if packet.items(MYVLM, "Regions") and not packet.find_all(*REGIONS):
        yield REGIONS


def set_record(packet: Packet, record: str, values: Sequence[str]) -> None:
    """Note what we wrote, in our own block; nothing is noted as an absent property."""
    if packet.items(MYVLM, record) != list(values):
        packet.remove(MYVLM, record)
        if values:
            packet.add_items(MYVLM, record, values)


def set_mark(packet: Packet, name: str, value: str | None) -> None:
    """Set a simple property of our block; None removes it."""
    if packet.text(MYVLM, name) != value:
        if value is None:
            packet.remove(MYVLM, name)
        elif not packet.set_text(MYVLM, name, value):
            packet.remove(MYVLM, name)
            packet.set_text(MYVLM, name, value)
