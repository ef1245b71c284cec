"""A small library of photos with sidecars, which nothing decodes."""

import os
from datetime import datetime
from pathlib import Path

from engine.core.boxes import Box
from engine.core.types import Kind, Match, PhotoFacts
from engine.sidecars.json_sidecar import PhotoRecord, render_record
from engine.sidecars.merge.content import SidecarContent
from engine.sidecars.rdf.packet import Packet
from engine.sidecars.xmp import merge_content

KIEL, HAMBURG = (54.32, 10.14), (53.55, 9.99)
BOX = Box(1, 1, 9, 9)


def match(name: str, kind: Kind = Kind.PET, concept_id: str = "") -> Match:
    return Match(concept_id or f"id{name}", name, kind, 1, 3.0, 1.0, BOX, "detector")


def put(path: Path, caption=None, *matches: Match, taken=None, place=None, by_hand=b"") -> Path:
    """A photo (which is never read) with the sidecars that captioning writes. by_hand: an XMP sidecar before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"no picture")
    facts = PhotoFacts(os.fsencode(path.name).hex(), 10, 10, "JPEG", 1, taken, place)
    record = PhotoRecord(facts, caption, matches, "vlm", "1", "key")
    path.with_name(path.name + ".myvlm.json").write_bytes(render_record(record))
    names = tuple(m.name for m in matches)
    people = tuple(m.name for m in matches if m.kind is Kind.PERSON)
    content = SidecarContent(caption, names, people, (), tuple(f"{m.concept_id}@1" for m in matches), "vlm@1", "s")
    merged = merge_content(by_hand or None, content, datetime(2026, 1, 1).astimezone())
    if merged.data is not None:
        path.with_name(path.name + ".xmp").write_bytes(merged.data)
    return path


def edit(photo: Path, change) -> None:
    """What another program does to the XMP sidecar of a photo."""
    sidecar = photo.with_name(photo.name + ".xmp")
    packet = Packet(sidecar.read_bytes() if sidecar.exists() else None)
    change(packet)
    sidecar.write_bytes(packet.serialise())


def make_library(folder: Path) -> Path:
    """Five photos with sidecars, and one without."""
    rex, anna = match("Rex"), match("Anna", Kind.PERSON)
    put(folder / "2023" / "a.jpg", "Rex runs on the beach.", rex, taken="2023-07-01T10:00:00", place=KIEL)
    put(folder / "2024" / "b.jpg", "Rex and Anna in the snow.", rex, anna, taken="2024-01-05T09:00:00", place=HAMBURG)
    put(folder / "2024" / "c.jpg", "A café at the beach.", taken="2024-12-31T23:30:00+02:00")
    put(folder / "2024" / "d.jpg", None, match("Big Mug", Kind.THING))
    put(folder / "2025" / "e.jpg", "砂浜で犬が走っている。", match("René", Kind.PERSON), taken="2025-01-01T00:00:00")
    (folder / "new.jpg").write_bytes(b"no picture")
    return folder
