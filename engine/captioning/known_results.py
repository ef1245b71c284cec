"""Write results of unchanged photos as JSON into the store, and read them again."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.captioning.results import PhotoResult
from engine.core.boxes import Box
from engine.core.notes import Note, NoteCode, SkipReason
from engine.core.types import Kind, Match, PhotoFacts, Scale, Status
from engine.photos.discovery import FoundFile

if TYPE_CHECKING:
    from engine.recognition.displaced import DisplacedConcept


def encode_results(file: FoundFile, results: Sequence[PhotoResult]) -> str | None:
    """Return the results for a photo and its companions as JSON; None where they are not those of an unchanged photo.

    A photo that was skipped because there is nothing to write counts as unchanged.
    """
    if [r.path for r in results] != [file.path, *file.companions] or not all(map(_is_settled, results)):
        return None
    return json.dumps([_encode(r, file.path.parent) for r in results], separators=(",", ":"), default=float)


def decode_results(file: FoundFile, text: str, *, sidecars: bool) -> list[PhotoResult]:
    """Make the results that `encode_results` wrote. sidecars: whether they name the sidecar files."""
    paths = (file.path, *file.companions)
    return [_decode(d, p, sidecars=sidecars) for d, p in zip(json.loads(text), paths, strict=True)]


def _is_settled(result: PhotoResult) -> bool:
    """Whether the next run would report the same, if nothing changes."""
    if any(note.code is NoteCode.NOT_INDEXED for note in result.notes):
        return False
    unusual = (result.repaired, result.pictures, result.explanations, result.changes, result.removed)
    skipped = result.status is Status.SKIPPED and result.skip in (None, SkipReason.NOTHING_TO_WRITE)
    return (result.status is Status.UNCHANGED or skipped) and not any(unusual)


def _encode(r: PhotoResult, folder: Path) -> list[Any]:
    sidecars = [p.name if p.parent == folder else os.fspath(p) for p in r.sidecars]
    facts = r.facts and [
        *(r.facts.content_hash, r.facts.width, r.facts.height, r.facts.format),
        *(r.facts.orientation, r.facts.taken, r.facts.place),
    ]
    row = [r.status, r.caption, [_encode_match(m) for m in r.matches], facts, sidecars, r.reason, r.skip]
    notes = [[n.code, *n.values] for n in r.notes]
    displaced = [
        [d.concept_id, d.name, d.rival_id, d.rival, bool(d.named), d.score, _corners(d.box)] for d in r.displaced
    ]
    return [*row, notes, displaced] if notes or displaced else row


def _decode(row: list[Any], path: Path, *, sidecars: bool) -> PhotoResult:
    status, caption, matches, facts, files, reason, skip, *extras = row
    notes, displaced = extras or ((), ())
    return PhotoResult(
        path,
        Status(status),
        caption,
        tuple(map(_decode_match, matches)),
        _decode_facts(facts) if facts else None,
        tuple(path.parent / f for f in files) if sidecars else (),
        reason,
        SkipReason(skip) if skip else None,
        notes=tuple(Note(NoteCode(code), tuple(values)) for code, *values in notes),
        displaced=tuple(map(_decode_displaced, displaced)),
    )


def _encode_match(m: Match) -> list[Any]:
    return [m.concept_id, m.name, m.kind, m.version, m.score, m.threshold, _corners(m.box), m.source, m.scale]


def _decode_match(row: list[Any]) -> Match:
    concept_id, name, kind, version, score, threshold, box, source, scale = row
    scale = Scale(scale) if scale else None
    return Match(concept_id, name, Kind(kind), version, score, threshold, Box(*box), source, scale)


def _decode_facts(row: list[Any]) -> PhotoFacts:
    content_hash, width, height, form, orientation, taken, place = row
    return PhotoFacts(content_hash, width, height, form, orientation, taken, tuple(place) if place else None)


def _decode_displaced(row: list[Any]) -> "DisplacedConcept":
    from engine.recognition.displaced import DisplacedConcept

    concept_id, name, rival_id, rival, named, score, box = row
    return DisplacedConcept(concept_id, name, rival_id, rival, named, score, Box(*box))


def _corners(box: Box) -> list[float]:
    return [box.x0, box.y0, box.x1, box.y1]
