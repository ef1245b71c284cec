"""Plan the sidecars of a photo: from its record to the new bytes of each file."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from engine.core.boxes import Box, stored_size, to_stored
from engine.core.errors import PhotoError, SidecarError
from engine.core.types import Concept, Kind, Match, PhotoFacts
from engine.photos.decode import read_photo
from engine.photos.metadata.embedded import Embedded, read_embedded
from engine.sidecars.json_sidecar import PhotoRecord, parse_record, render_record
from engine.sidecars.locate import Namer, SidecarPaths
from engine.sidecars.read import read_sidecar
from engine.sidecars.regions.named import NamedRegion
from engine.sidecars.writer import FileEdit, Plan, SidecarEdit
from engine.sidecars.xmp import Merge, Policy, SidecarContent, merge_content, needs_embedded

BRANCHES = {Kind.PERSON: "People", Kind.PET: "Pets", Kind.THING: "Things"}
"""First part of the path of a tag."""


class RegionChoice(StrEnum):
    """Which regions go into sidecars. Immich and digiKam take the region of a pet for that of a person, so pets are
    an option.
    """

    NONE = "none"
    PEOPLE = "people"
    ALL = "all"  # people and pets


@dataclass(frozen=True)
class SidecarOptions:
    """Options for writing sidecars: how far a merge may go, and which regions are written."""

    policy: Policy = Policy()
    regions: RegionChoice = RegionChoice.NONE


@dataclass(frozen=True)
class UnrequestedConcepts:
    """Names and ids of enrolled concepts that this run does not look for: what sidecars say about them stays."""

    names: frozenset[str]
    ids: frozenset[str]

    @classmethod
    def of(cls, enrolled: Iterable[Concept], requested: Iterable[Concept]) -> "UnrequestedConcepts":
        """Return those of the enrolled concepts that are not requested."""
        requested_ids = {c.id for c in requested}
        rest = [c for c in enrolled if c.id not in requested_ids]
        return cls(frozenset(c.name for c in rest), frozenset(c.id for c in rest))


def plan_sidecars(
    photo: Path,
    record: PhotoRecord,
    paths: SidecarPaths,
    *,
    run: str,
    unrequested: UnrequestedConcepts,
    options: SidecarOptions,
    embedded: Embedded | None = None,
) -> SidecarEdit:
    """Plan the two sidecars of a photo: XMP first; JSON is written only if that succeeded.

    run: id of the run. embedded: the metadata in the photo file; None if the file was not read, in which case it is
    read when a merge needs it.
    """
    content = _make_content(record, run, unrequested, options.regions)
    xmp = _plan_xmp(photo, content, paths, options.policy, embedded)
    json = _plan_json(record)
    make_folder = paths.make_folder
    return SidecarEdit(photo, (FileEdit(paths.xmp, xmp, make_folder), FileEdit(paths.json, json, make_folder)))


def plan_companions(
    photo: Path,
    record: PhotoRecord,
    companions: Iterable[Path],
    namer: Namer,
    *,
    run: str,
    unrequested: UnrequestedConcepts,
    options: SidecarOptions,
) -> list[SidecarEdit]:
    """Plan the sidecars of the raw files that belong to a photo, with the same content but without regions."""
    record = replace(record, same_as=photo.name)
    options = replace(options, regions=RegionChoice.NONE)
    return [
        plan_sidecars(raw, record, namer.find(raw), run=run, unrequested=unrequested, options=options)
        for raw in companions
    ]


def _plan_json(record: PhotoRecord) -> Plan:
    """Plan the JSON sidecar; one that differs only in what has no effect on the photo is not written again."""
    rendered = render_record(record)

    def plan(existing: bytes | None) -> Merge:
        old = parse_record(existing) if existing is not None else None
        new = parse_record(rendered)
        if old is not None and new is not None and _without_scores(old, new) == _without_scores(new, new):
            return Merge(None)  # a concept was enrolled that is not in this photo, or a head changed by a decision
        return Merge(rendered)

    return plan


def _without_scores(record: PhotoRecord, new: PhotoRecord) -> PhotoRecord:
    """Return a record without what may change while everything said about the photo stays the same."""
    matches = tuple(replace(m, score=0.0, threshold=0.0) for m in record.matches)
    return replace(record, recognition=new.recognition, matches=matches)


def _plan_xmp(
    photo: Path, content: SidecarContent, paths: SidecarPaths, policy: Policy, embedded: Embedded | None
) -> Plan:
    def plan(existing: bytes | None) -> Merge:
        start = existing if existing is not None else _read_source(paths)
        metadata = embedded
        if metadata is None and (start is None or needs_embedded(start)):
            metadata = _read_metadata(photo)
        merge = merge_content(start, content, datetime.now().astimezone(), embedded=metadata, policy=policy)
        return replace(merge, data=start) if existing is None and merge.data is None else merge

    return plan


def _read_source(paths: SidecarPaths) -> bytes | None:
    """Read the sidecar in another place or under another name from which a new one starts."""
    return read_sidecar(paths.source) if paths.source is not None else None


def _read_metadata(photo: Path) -> Embedded:
    try:
        return read_embedded(read_photo(photo))
    except PhotoError as err:
        raise SidecarError(str(err), hint=err.hint) from err


def _make_content(
    record: PhotoRecord, run: str, unrequested: UnrequestedConcepts, regions: RegionChoice
) -> SidecarContent:
    matches, facts = record.matches, record.facts
    return SidecarContent(
        caption=record.caption,
        names=tuple(m.name for m in matches),
        people=tuple(m.name for m in matches if m.kind is Kind.PERSON),
        hierarchy=tuple(f"{BRANCHES[m.kind]}|{m.name}" for m in matches),
        concepts=tuple(f"{m.concept_id}@{m.version}" for m in matches),
        vlm=f"{record.vlm}@{record.revision}" if record.caption is not None else None,
        settings=record.settings,
        run=run,
        regions=None if regions is RegionChoice.NONE else _make_regions(matches, facts, regions),
        dimensions=stored_size(facts.orientation, facts.width, facts.height),
        unrequested=unrequested.names,
        unrequested_ids=unrequested.ids,
    )


def _make_regions(matches: Iterable[Match], facts: PhotoFacts, choice: RegionChoice) -> tuple[NamedRegion, ...]:
    """Make the regions of faces, and of pets if requested; a match by its body has no face."""
    types = {Kind.PERSON: "Face"} | ({Kind.PET: "Pet"} if choice is RegionChoice.ALL else {})
    return tuple(_make_region(m, types[m.kind], facts) for m in matches if m.kind in types and m.source != "body")


def _make_region(match: Match, type: str, facts: PhotoFacts) -> NamedRegion:
    """Convert a box of the upright photo to fractions of the stored picture."""
    upright = Box(*map(float, match.box.rounded())).clipped(facts.width, facts.height)
    stored = to_stored(upright, facts.orientation, facts.width, facts.height)
    width, height = stored_size(facts.orientation, facts.width, facts.height)
    x, y = (stored.x0 + stored.x1) / 2 / width, (stored.y0 + stored.y1) / 2 / height
    return NamedRegion(match.name, x, y, (stored.x1 - stored.x0) / width, (stored.y1 - stored.y0) / height, type)
