"""Read the status of an XMP sidecar: what of myvlm's is in it, and what others changed or dropped."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from engine.sidecars.merge.ownership import (
    DESCRIPTION,
    LABELS,
    RECORDS,
    REGIONS,
    TIFF_DESCRIPTION,
    Name,
    check_version,
    has_hash,
    is_rewritten,
)
from engine.sidecars.rdf.forms import MYVLM, folded
from engine.sidecars.rdf.packet import Packet


class DescriptionStatus(StrEnum):
    """Where the description in a sidecar comes from."""

    OURS = "ours"  # the caption that myvlm wrote
    HUMAN = "human"  # the user changed the caption that myvlm wrote
    KEPT = "kept"  # it was there before, and myvlm wrote none
    DROPPED = "dropped"  # another program dropped the caption that myvlm wrote
    NONE = "none"


@dataclass(frozen=True)
class XmpStatus:
    """Status of an XMP sidecar.

    marked: myvlm wrote into it. caption: where its description comes from. dropped: labels of the properties that a
    merge will restore. run: id of the run that wrote it last. concepts: "id@version" of the concepts recorded in it.
    """

    marked: bool
    caption: DescriptionStatus
    dropped: tuple[str, ...] = ()
    run: str = ""
    concepts: tuple[str, ...] = ()


def read_xmp_status(data: bytes) -> XmpStatus:
    """Read the status of a sidecar from its bytes.

    Raises:
        SidecarError: it cannot be read, or a later version of myvlm wrote it.
    """
    packet = Packet(data)
    check_version(packet)
    dropped = [LABELS[n] for n in _dropped(packet)] if is_rewritten(packet) else []
    if packet.text(MYVLM, "MirrorHash") and packet.default_text(*TIFF_DESCRIPTION) is None:
        dropped.append(LABELS[TIFF_DESCRIPTION])
    marked = packet.text(MYVLM, "SchemaVersion") is not None
    concepts = tuple(packet.items(MYVLM, "Concepts"))
    return XmpStatus(marked, _description_status(packet), tuple(dropped), packet.text(MYVLM, "Run") or "", concepts)


def _description_status(packet: Packet) -> DescriptionStatus:
    current, known_hash = packet.default_text(*DESCRIPTION), packet.text(MYVLM, "CaptionHash")
    if current is None:
        return DescriptionStatus.DROPPED if known_hash else DescriptionStatus.NONE
    if has_hash(current, known_hash):
        return DescriptionStatus.OURS
    return DescriptionStatus.HUMAN if known_hash else DescriptionStatus.KEPT


def _dropped(packet: Packet) -> Iterator[Name]:
    """Yield the properties from which a program that rewrote the sidecar dropped something that myvlm wrote."""
    yield DESCRIPTION
    for target, record in RECORDS.items():
        present = {folded(p) for p in packet.items(*target)}
        if any(folded(m) not in present for m in packet.items(MYVLM, record)):
            yield target
    if packet.items(MYVLM, "Regions") and not packet.find_all(*REGIONS):
        yield REGIONS
