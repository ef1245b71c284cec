"""Our words in an XMP sidecar: what is ours is marked, what is not ours is never touched."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from lxml import etree

from engine.errors import SidecarError
from engine.files import sha256_of, write_atomically
from engine.sidecars.namespaces import DC, IPTC_EXT, MYVLM, XMP
from engine.sidecars.packet import Packet

SCHEMA_VERSION = "1"
DESCRIPTION, SUBJECT, PEOPLE = (DC, "description"), (DC, "subject"), (IPTC_EXT, "PersonInImage")
_OURS = ("SchemaVersion", "VLM", "Settings", "Concepts", "CaptionHash", "Subjects", "People")
TOUCHED = frozenset({DESCRIPTION, SUBJECT, PEOPLE, (XMP, "MetadataDate"), *((MYVLM, n) for n in _OURS)})


@dataclass(frozen=True)
class Words:
    """What myvlm has to say about a photo."""

    caption: str
    names: tuple[str, ...]  # of all accepted concepts, for dc:subject
    people: tuple[str, ...]  # of the people among them, for Iptc4xmpExt:PersonInImage
    concepts: tuple[str, ...]  # "id@version" of each
    vlm: str  # "repo id@revision"
    settings: str  # digest of prompt and settings


@dataclass(frozen=True)
class Merge:
    """The outcome of a merge: the new bytes (None when nothing changes) and notes for the user."""

    data: bytes | None
    notes: tuple[str, ...] = ()


def xmp_path(photo: Path) -> Path:
    """Where a photo's sidecar is: `photo.jpg.xmp`."""
    return photo.with_name(photo.name + ".xmp")


def caption_hash(caption: str) -> str:
    """The mark by which a caption of ours is known again."""
    return sha256_of(caption.encode())[:32]


def merge_words(existing: bytes | None, words: Words, now: datetime) -> Merge:
    """Put our words into a sidecar's bytes (None starts a new one).

    A description whose hash is not in our own block was written by somebody else and stays. Terms are
    added, and only those we added are ever removed.

    Raises:
        SidecarError: the sidecar cannot be merged without risk; write nothing then.
    """
    packet = Packet(existing)
    before = packet.foreign(TOUCHED)
    notes = _set_description(packet, words.caption)
    notes += _set_terms(packet, SUBJECT, "Subjects", words.names)
    notes += _set_terms(packet, PEOPLE, "People", words.people)
    _set_own(packet, words)
    if existing is not None and packet.serialise() == Packet(existing).serialise():
        return Merge(None, tuple(notes))
    packet.set_text(XMP, "MetadataDate", now.isoformat(timespec="seconds"))
    data = packet.serialise()
    if Packet(data).foreign(TOUCHED) != before:
        raise SidecarError("merging would change somebody else's metadata")
    return Merge(data, tuple(notes))


def _set_description(packet: Packet, caption: str) -> list[str]:
    current = packet.default_text(*DESCRIPTION)
    known = packet.text(MYVLM, "CaptionHash")
    if current is not None and caption_hash(current) != known:
        return ["kept the description that was there"]
    if current != caption:
        packet.set_default_text(*DESCRIPTION, caption)
    packet.set_text(MYVLM, "CaptionHash", caption_hash(caption))
    return []


def _set_terms(packet: Packet, target: tuple[str, str], record: str, terms: tuple[str, ...]) -> list[str]:
    """Bring an array up to date: drop terms of ours that no longer hold, add those that are missing."""
    mine = packet.items(MYVLM, record)
    stale = set(mine) - set(terms)
    packet.remove_items(*target, stale)
    present = packet.items(*target)
    declined = set(mine) - set(present) if present else set()  # taken out by a human; a dropped property comes back
    fresh = [t for t in terms if t not in present and t not in declined]
    if fresh and not packet.add_items(*target, fresh):
        return [f"could not add {', '.join(fresh)}: {target[1]} has an unusual form"]
    ours = [t for t in terms if t in fresh or t in mine]
    if ours != mine:
        packet.remove(MYVLM, record)
        if ours:
            packet.add_items(MYVLM, record, ours)
    return []


def _set_own(packet: Packet, words: Words) -> None:
    values = {"SchemaVersion": SCHEMA_VERSION, "VLM": words.vlm, "Settings": words.settings}
    for name, value in values.items():
        if packet.text(MYVLM, name) != value:
            packet.set_text(MYVLM, name, value)
    if packet.items(MYVLM, "Concepts") != list(words.concepts):
        packet.remove(MYVLM, "Concepts")
        if words.concepts:
            packet.add_items(MYVLM, "Concepts", list(words.concepts))


def write_words(photo: Path, words: Words, now: datetime, *, embedded: bytes | None) -> tuple[Path, Merge]:
    """Merge our words into a photo's sidecar on disk; a new one starts from the photo's embedded packet,
    because most programs ignore embedded metadata once a sidecar exists.

    Raises:
        SidecarError: the sidecar cannot be read, merged or written; it is as it was.
    """
    path = xmp_path(photo)
    try:
        target = path.resolve()
        existing = target.read_bytes() if target.exists() else None
        merge = merge_words(_start(existing, embedded), words, now)
        if merge.data is None and existing is None:
            merge = Merge(_start(None, embedded), merge.notes)
        if merge.data is not None and merge.data != existing:
            if existing is not None and target.read_bytes() != existing:
                raise SidecarError("another program changed it meanwhile")
            write_atomically(target, merge.data)
    except SidecarError as err:
        raise SidecarError(f"{path}: {err}", hint="It was left as it is.") from err
    except OSError as err:
        raise SidecarError(f"{path}: {err.strerror or err}", hint="Is the folder writable?") from err
    except (etree.LxmlError, ValueError, RuntimeError) as err:
        raise SidecarError(f"{path}: {err}", hint="It was left as it is.") from err
    return path, merge


def _start(existing: bytes | None, embedded: bytes | None) -> bytes | None:
    """What a merge starts from; an embedded packet that nobody can read would be hidden by a new sidecar."""
    if existing is not None or embedded is None:
        return existing
    embedded = embedded.rstrip(b"\0 \r\n\t")
    try:
        Packet(embedded)
    except SidecarError as err:
        raise SidecarError(f"the photo's embedded metadata is damaged ({err}); a sidecar would hide it") from err
    return embedded


def is_current(photo: Path) -> bool:
    """Whether a photo's sidecar still has our block and a description, ours or a human's; false when
    another program dropped either, so that they are written again.
    """
    try:
        packet = Packet(xmp_path(photo).read_bytes())
    except (OSError, SidecarError):
        return False
    return packet.text(MYVLM, "SchemaVersion") is not None and packet.default_text(*DESCRIPTION) is not None
