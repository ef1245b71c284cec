"""What myvlm wrote into a sidecar: a caption is known by its hash, names by records. Everything else is foreign.

See docs/sidecars.md, "Ownership".
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.core.errors import SidecarError
from engine.core.files import sha256_of
from engine.sidecars.rdf.foreign import Share, foreign
from engine.sidecars.rdf.forms import DC, DIGIKAM, IPTC_EXT, LIGHTROOM, MYVLM, TIFF, XMP, q
from engine.sidecars.rdf.packet import Packet
from engine.sidecars.regions.named import regions_kept

SCHEMA_VERSION = 2
Name = tuple[str, str]
"""A property: namespace and local name."""
DESCRIPTION, TIFF_DESCRIPTION, METADATA_DATE = (DC, "description"), (TIFF, "ImageDescription"), (XMP, "MetadataDate")
SUBJECT, PEOPLE = (DC, "subject"), (IPTC_EXT, "PersonInImage")
HIERARCHY, TAGS = (LIGHTROOM, "hierarchicalSubject"), (DIGIKAM, "TagsList")
REGIONS: Name = ("http://www.metadataworkinggroup.com/schemas/regions/", "Regions")
RECORDS = {SUBJECT: "Subjects", PEOPLE: "People", HIERARCHY: "Hierarchy", TAGS: "Tags"}
"""Our property that records the terms that myvlm added, for each array."""
OURS = (
    *("SchemaVersion", "VLM", "Settings", "Concepts", "Run", "Regions", *RECORDS.values()),
    *("CaptionHash", "MirrorHash", "HadDescription", "HadImageDescription", "Declined", "DeclinedBeside"),
)
"""All properties in myvlm's namespace. The hashes are of the dc:description and tiff:ImageDescription that it wrote.
The texts are those that it replaced: automatic ones, or the user's if replacing was requested. For `Declined` see
`removed_names`."""
OUR_TAGS = frozenset(q(MYVLM, name) for name in OURS)
LABELS = {
    DESCRIPTION: "dc:description",
    TIFF_DESCRIPTION: "tiff:ImageDescription",
    SUBJECT: "dc:subject",
    HIERARCHY: "lr:hierarchicalSubject",
    TAGS: "digiKam:TagsList",
    PEOPLE: "Iptc4xmpExt:PersonInImage",
    REGIONS: "mwg-rs:Regions",
}


@dataclass
class Edits:
    """What an edit changed, filled while it is made, to check that nothing else changed.

    texts: language alternatives whose default text was set or removed. added, removed: terms of arrays. regions:
    whether the regions were changed.
    """

    texts: set[Name] = field(default_factory=set)
    added: dict[Name, Counter[str]] = field(default_factory=dict)
    removed: dict[Name, Counter[str]] = field(default_factory=dict)
    regions: bool = False

    def share_before(self) -> Share:
        """Return the part of the document that the edit may remove."""
        return self._share(self.removed)

    def share_after(self) -> Share:
        """Return the part of the document that the edit may have added."""
        return self._share(self.added)

    def _share(self, items: dict[Name, Counter[str]]) -> Share:
        whole = {*OUR_TAGS, q(*METADATA_DATE), *([q(*REGIONS)] if self.regions else [])}
        arrays = {q(*n): items.get(n, Counter()) for n in (*self.added, *self.removed)}
        return Share(frozenset(whole), frozenset(q(*n) for n in self.texts), arrays)

    def check(self, before: Packet, after: Packet) -> None:
        """Check that the foreign parts of a document are the same before and after the edit.

        Raises:
            SidecarError: they differ.
        """
        is_kept = foreign(before, self.share_before()) == foreign(after, self.share_after())
        if not is_kept or (self.regions and not regions_kept(before, after)):
            raise SidecarError("the edit would change another program's metadata")


def check_version(packet: Packet) -> None:
    """Refuse a sidecar of a later version, whose records this version might not update.

    Raises:
        SidecarError: its schema is newer.
    """
    version = packet.text(MYVLM, "SchemaVersion") or ""
    if version.isdecimal() and int(version) > SCHEMA_VERSION:
        raise SidecarError("a newer version of myvlm wrote this sidecar", hint="Update myvlm.")


def is_marked(packet: Packet) -> bool:
    """Return whether the packet has any property of myvlm."""
    return packet.has_any(OUR_TAGS)


def caption_hash(caption: str) -> str:
    """Return the hash by which a caption is found again, also after a program changed its Unicode form or spaces."""
    return sha256_of(" ".join(unicodedata.normalize("NFC", caption).split()).encode())[:32]


def has_hash(text: str | None, known_hash: str | None) -> bool:
    """Return whether a text has a recorded hash; earlier versions hashed the text without normalising it."""
    if text is None or known_hash is None:
        return False
    return known_hash in (caption_hash(text), sha256_of(text.encode())[:32])


def is_rewritten(packet: Packet) -> bool:
    """Return whether another program dropped our caption, and so rewrote the sidecar from its own database.

    darktable writes dc:subject and lr:hierarchicalSubject from its database, which lacks our names; our caption is lost
    as well. If there is a description, whoever wrote it, the user removed whatever else is missing.
    """
    return packet.text(MYVLM, "CaptionHash") is not None and packet.default_text(*DESCRIPTION) is None


def set_record(packet: Packet, record: str, values: Sequence[str]) -> None:
    """Record what myvlm wrote; an empty record is an absent property."""
    packet.replace_items(MYVLM, record, values)


def set_mark(packet: Packet, name: str, value: str | None) -> None:
    """Set a simple property in myvlm's namespace; None removes it."""
    packet.replace_text(MYVLM, name, value)
