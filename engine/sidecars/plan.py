"""From what was found out about a photo to what its sidecars should hold."""

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
from engine.sidecars.xmp import Merge, Policy, SidecarContent, merge_content, wants_embedded

_BRANCH = {Kind.PERSON: "People", Kind.PET: "Pets", Kind.THING: "Things"}


class RegionChoice(StrEnum):
    """Whose regions go into sidecars. Immich and digiKam take a pet's region for a person's, so pets are a choice."""

    NONE = "none"
    PEOPLE = "people"
    ALL = "all"  # people and pets


@dataclass(frozen=True)
class SidecarOptions:
    """How sidecars are written: what they are called, how far a merge may go, whose regions they get."""

    policy: Policy = Policy()
    regions: RegionChoice = RegionChoice.NONE


@dataclass(frozen=True)
class UnrequestedConcepts:
    """Enrolled concepts that were not looked for: what sidecars say of them stays."""

    names: frozenset[str]
    ids: frozenset[str]

    @classmethod
    def of(cls, enrolled: Iterable[Concept], asked: Iterable[Concept]) -> "UnrequestedConcepts":
        """Those of the enrolled that nobody asked for."""
        looked_for = {c.id for c in asked}
        left = [c for c in enrolled if c.id not in looked_for]
        return cls(frozenset(c.name for c in left), frozenset(c.id for c in left))


@dataclass(frozen=True)
class Finding:
    """A photo with what is to be written of it. `embedded` is None when the photo was not decoded this time."""

    photo: Path
    account: PhotoRecord
    run: str
    others: UnrequestedConcepts
    embedded: Embedded | None = None


def plan_sidecars(finding: Finding, paths: SidecarPaths, manner: SidecarOptions) -> SidecarEdit:
    """The two files of a photo: XMP first, JSON when that worked."""
    words = _words(finding, manner.regions)
    xmp = _merging(finding, words, paths, manner.policy)
    rendered = render_record(finding.account)

    def json(existing: bytes | None) -> Merge:
        known = parse_record(existing) if existing is not None else None
        now = parse_record(rendered)
        if known is not None and now is not None and _unscored(known, now) == _unscored(now, now):
            return Merge(None)  # somebody was enrolled who is not in this photo, or a head learned from a decision
        return Merge(rendered)

    new = paths.make_folder
    return SidecarEdit(finding.photo, (FileEdit(paths.xmp, xmp, new), FileEdit(paths.json, json, new)))


def _unscored(account: PhotoRecord, now: PhotoRecord) -> PhotoRecord:
    """An account but for what may change without a word about the photo changing."""
    matches = tuple(replace(m, score=0.0, threshold=0.0) for m in account.matches)
    return replace(account, recognition=now.recognition, matches=matches)


def plan_companions(
    finding: Finding, companions: Iterable[Path], namer: Namer, manner: SidecarOptions
) -> list[SidecarEdit]:
    """The same words for the RAW files that a photo was developed from; boxes are the photo's own and are left out."""
    account = replace(finding.account, same_as=finding.photo.name)
    plans = []
    for raw in companions:
        own = Finding(raw, account, finding.run, finding.others)
        plans.append(plan_sidecars(own, namer.find(raw), replace(manner, regions=RegionChoice.NONE)))
    return plans


def _merging(finding: Finding, words: SidecarContent, paths: SidecarPaths, policy: Policy) -> Plan:
    def plan(existing: bytes | None) -> Merge:
        start = existing if existing is not None else _source(paths)
        embedded = finding.embedded
        if embedded is None and (start is None or wants_embedded(start)):
            embedded = _look_again(finding.photo)
        merge = merge_content(start, words, datetime.now().astimezone(), embedded=embedded, policy=policy)
        return replace(merge, data=start) if existing is None and merge.data is None else merge

    return plan


def _source(paths: SidecarPaths) -> bytes | None:
    """The sidecar of another place or name that a new one starts from."""
    return read_sidecar(paths.source) if paths.source is not None else None


def _look_again(photo: Path) -> Embedded:
    try:
        return read_embedded(read_photo(photo))
    except PhotoError as err:
        raise SidecarError(str(err), hint=err.hint) from err


def _words(finding: Finding, regions: RegionChoice) -> SidecarContent:
    account, matches, facts = finding.account, finding.account.matches, finding.account.facts
    return SidecarContent(
        caption=account.caption,
        names=tuple(m.name for m in matches),
        people=tuple(m.name for m in matches if m.kind is Kind.PERSON),
        hierarchy=tuple(f"{_BRANCH[m.kind]}|{m.name}" for m in matches),
        concepts=tuple(f"{m.concept_id}@{m.version}" for m in matches),
        vlm=f"{account.vlm}@{account.revision}" if account.caption is not None else None,
        settings=account.settings,
        run=finding.run,
        regions=None if regions is RegionChoice.NONE else _regions(matches, facts, regions),
        dimensions=stored_size(facts.orientation, facts.width, facts.height),
        unasked=finding.others.names,
        unasked_ids=finding.others.ids,
    )


def _regions(matches: Iterable[Match], facts: PhotoFacts, whose: RegionChoice) -> tuple[NamedRegion, ...]:
    kinds = {Kind.PERSON: "Face"} | ({Kind.PET: "Pet"} if whose is RegionChoice.ALL else {})
    return tuple(_region(m, kinds[m.kind], facts) for m in matches if m.kind in kinds and m.source != "body")


def _region(match: Match, type: str, facts: PhotoFacts) -> NamedRegion:
    upright = Box(*map(float, match.box.rounded())).clipped(facts.width, facts.height)
    stored = to_stored(upright, facts.orientation, facts.width, facts.height)
    width, height = stored_size(facts.orientation, facts.width, facts.height)
    x, y = (stored.x0 + stored.x1) / 2 / width, (stored.y0 + stored.y1) / 2 / height
    return NamedRegion(match.name, x, y, (stored.x1 - stored.x0) / width, (stored.y1 - stored.y0) / height, type)
