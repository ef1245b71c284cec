"""Read what the sidecars of a photo say, for the index."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.core.types import Kind
from engine.library.index import IndexedName, IndexedPhoto
from engine.library.text import fold_name
from engine.photos.metadata.taken import first_date, place_of_xmp
from engine.sidecars.json_sidecar import PhotoRecord, read_record
from engine.sidecars.locate import JSON_ENDING
from engine.sidecars.merge.ownership import DESCRIPTION, HIERARCHY, PEOPLE, SUBJECT, TAGS, has_hash
from engine.sidecars.merge.removed_names import read_rules
from engine.sidecars.merge.terms import SEPARATORS, folded_name
from engine.sidecars.rdf.forms import EXIF, MYVLM, PHOTOSHOP
from engine.sidecars.rdf.packet import Packet
from engine.sidecars.read import naming_file, read_sidecar
from engine.sidecars.regions.named import read_regions

if TYPE_CHECKING:
    from engine.photos.metadata.exif import Exif

MYVLM_AUTHOR, HUMAN_AUTHOR = "myvlm", "human"
_EXPOSED = ((EXIF, "DateTimeOriginal"), (PHOTOSHOP, "DateCreated"))
"""Properties of XMP with the date of the exposure; dates of scanning or editing are left to the photo's own."""
_KINDS = {"Face": Kind.PERSON, "Pet": Kind.PET}
"""Kinds by the types of MWG regions."""


def read_indexed(photo: Path, sidecars: Sequence[Path], stamp: str) -> IndexedPhoto:
    """Read the sidecars of a photo. The photo's own metadata are read only if there is no JSON sidecar.

    Raises:
        SidecarError: one of them cannot be read.
    """
    record = next((r for p in sidecars if p.name.endswith(JSON_ENDING) and (r := read_record(p)) is not None), None)
    xmp = next((p for p in sidecars if not p.name.endswith(JSON_ENDING)), None)
    packet = _read_packet(xmp) if xmp else None
    if xmp is None:
        caption, author, names = _of_record(record), MYVLM_AUTHOR, _distinct(_names_of_record(record, None))
    else:
        with naming_file(xmp):
            caption, author = _caption(packet, record)
            names = _distinct((*_names_of_record(record, packet), *_names_of_packet(packet)))
    taken, place = _taken_and_place(photo, record, packet)
    content_hash = record.facts.content_hash if record else ""
    author = author if caption else ""
    return IndexedPhoto(photo, caption, author, names, taken, place, content_hash, tuple(sidecars), stamp)


def _read_packet(xmp: Path) -> Packet | None:
    data = read_sidecar(xmp)
    with naming_file(xmp):
        return None if data is None else Packet(data)


def _of_record(record: PhotoRecord | None) -> str:
    return (record.caption if record else None) or ""


def _caption(packet: Packet | None, record: PhotoRecord | None) -> tuple[str, str]:
    """Return the description of a sidecar and who wrote it; without one, the caption that myvlm will put back."""
    description = packet.default_text(*DESCRIPTION) if packet else None
    if packet is None or description is None:
        return _of_record(record), MYVLM_AUTHOR
    is_ours = has_hash(description, packet.text(MYVLM, "CaptionHash"))
    return description, MYVLM_AUTHOR if is_ours else HUMAN_AUTHOR


def _names_of_record(record: PhotoRecord | None, packet: Packet | None) -> Iterator[IndexedName]:
    """Yield the concepts that were recognised, without those whose names the user removed from the XMP sidecar."""
    if record is not None and record.matches:
        removed = read_rules(packet).removed if packet else {}
        for match in record.matches:
            if folded_name(match.name) not in removed:
                yield IndexedName(match.name, str(match.kind), match.concept_id)


def _names_of_packet(packet: Packet | None) -> Iterator[IndexedName]:
    """Yield people, named regions, keywords, and the parts of keywords with a path."""
    if packet is None:
        return
    yield from (IndexedName(name, str(Kind.PERSON)) for name in packet.items(*PEOPLE))
    yield from (IndexedName(r.name, str(_KINDS.get(r.type, ""))) for r in read_regions(packet, ours=False))
    yield from map(IndexedName, packet.items(*SUBJECT))
    for target in (HIERARCHY, TAGS):
        yield from (IndexedName(part) for term in packet.items(*target) for part in term.split(SEPARATORS[target]))


def _distinct(names: Sequence[IndexedName] | Iterator[IndexedName]) -> tuple[IndexedName, ...]:
    """Return each name once, in its first form; that of a concept comes first."""
    known: dict[str, IndexedName] = {}
    for name in names:
        if key := fold_name(name.name):
            known.setdefault(key, name)
    return tuple(known.values())


def _taken_and_place(
    photo: Path, record: PhotoRecord | None, packet: Packet | None
) -> tuple[str | None, tuple[float, float] | None]:
    """Return when and where a photo was taken, as its XMP sidecar says, where people correct it; else as it says."""
    taken, place = _noted(packet) if packet else (None, None)
    facts = record.facts if record is not None else _facts_of(photo)
    if taken is None or (facts.taken or "").startswith(taken):  # the photo may know the time of day, too
        taken = facts.taken
    return taken, place or facts.place


def _noted(packet: Packet) -> tuple[str | None, tuple[float, float] | None]:
    """Return the date of the exposure and the place in an XMP sidecar, where digiKam and Lightroom write them."""
    taken = first_date((packet.text(*name) or "", "") for name in _EXPOSED)
    latitude, longitude = (packet.text(EXIF, name) or "" for name in ("GPSLatitude", "GPSLongitude"))
    return taken, place_of_xmp(latitude, longitude)


def _facts_of(photo: Path) -> "Exif":
    from engine.photos.metadata.exif import read_file

    return read_file(photo)
