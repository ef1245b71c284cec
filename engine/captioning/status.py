"""Tell the status of sidecars: up to date, stale, dropped by another program, or edited by the user. Loads no model."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from engine.captioning.context import CaptionForms
from engine.captioning.names_only import caption_holds
from engine.captioning.requested_concepts import choose_requested
from engine.captioning.staleness import (
    CacheKeys,
    compute_cache_keys,
    find_known_matches,
    names_only_settings,
)
from engine.core.batches import read_ahead
from engine.core.errors import PhotoError, SidecarError
from engine.photos.discovery import FoundFile
from engine.photos.metadata.exif import exif_of
from engine.photos.photo_file import PhotoFile, UnreadPhoto
from engine.recognition.gallery import Gallery, build_gallery
from engine.session import Session
from engine.sidecars.json_sidecar import PhotoRecord, read_record
from engine.sidecars.locate import Namer, Naming, SidecarPaths
from engine.sidecars.read import naming_file, read_sidecar
from engine.sidecars.removed_names import load_removed_names
from engine.sidecars.xmp import DescriptionStatus, XmpStatus, read_xmp_status
from engine.store.known_contents import KnownContents
from engine.vision.cached_extractor import CachedExtractor
from engine.vlms.in_use import VlmInUse


class SidecarState(StrEnum):
    """The state of a photo's sidecars."""

    NEW = "new"  # never captioned
    CURRENT = "current"  # up to date
    STALE = "stale"  # photo, concepts, VLM or prompts changed since
    DROPPED = "dropped"  # another program dropped what myvlm wrote; the next run puts it back
    EDITED = "edited"  # the user edited the description; it stays, and names are kept up to date
    FAILED = "failed"  # photo or sidecar cannot be read


@dataclass(frozen=True)
class PhotoStatus:
    """The state of one photo's sidecars, and the reason. run: the run that wrote its XMP sidecar."""

    path: Path
    state: SidecarState
    reason: str = ""
    caption: str | None = None
    sidecar: Path | None = None
    run: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _StatusRun:
    """What all photos share."""

    gallery: Gallery
    keys: CacheKeys
    vlm: VlmInUse
    extractor: CachedExtractor
    namer: Namer
    forms: CaptionForms
    contents: KnownContents


def read_status(
    session: Session,
    photos: Iterable[FoundFile],
    *,
    names: tuple[str, ...] | None,
    naming: Naming,
    library: Path | None = None,
    forms: CaptionForms | None = None,
    verify: bool = False,
) -> Iterator[PhotoStatus]:
    """Read the status of each photo's sidecars, in order; videos are left out.

    names: the requested concepts, as for captioning. library: the folder whose calibration to use. forms: of captions
    that are up to date; None for a sentence in English. verify: read also photos that look as they did.

    Raises:
        EngineError: a concept is unknown, or cannot be recognised.
    """
    store, config, vlm = session.store, session.recogniser_config, session.vlm_in_use
    concepts = choose_requested(store, config, session.recognition, vlm, names)
    gallery = build_gallery(
        concepts.enrolled,
        concepts.requested,
        calibrations=store.calibrations,
        decisions=store.decisions.all(),
        library=library,
    )
    forms = forms or CaptionForms()
    keys = compute_cache_keys(store, config, vlm, concepts, gallery, form=forms.form)
    run = _StatusRun(gallery, keys, vlm, session.extractor, Namer(naming), forms, session.contents(verify=verify))
    stills = (f for f in photos if f.kind == "photo")
    try:
        for group in read_ahead(stills, lambda f: _read_statuses(run, f), ahead=8):
            yield from group
    finally:
        run.contents.flush()


def _read_statuses(run: _StatusRun, photo: FoundFile) -> list[PhotoStatus]:
    """Read the status of a photo and of its raw companions."""
    try:
        file = run.contents.open(photo.path)
        statuses = [_status_of(run, p, file) for p in (photo.path, *photo.companions)]
    except PhotoError as err:
        return [PhotoStatus(photo.path, SidecarState.FAILED, str(err))]
    outdated = run.keys.labels.notes(photo.path, file.content_hash)
    return [replace(statuses[0], notes=outdated), *statuses[1:]]


def _status_of(run: _StatusRun, photo: Path, file: PhotoFile | UnreadPhoto) -> PhotoStatus:
    try:
        paths = run.namer.find(photo)
        xmp, record = _read_xmp(paths), read_record(paths.json)
    except SidecarError as err:
        return PhotoStatus(photo, SidecarState.FAILED, str(err))
    if (xmp is None or not xmp.marked) and not (record and record.is_empty):
        if record is None:
            return PhotoStatus(photo, SidecarState.NEW, "never captioned")
        gone = "the XMP sidecar is gone" if xmp is None else "the XMP sidecar is not the one myvlm wrote"
        return PhotoStatus(photo, SidecarState.DROPPED, gone, record.caption, paths.xmp)

    def status(state: SidecarState, reason: str) -> PhotoStatus:
        caption, run = record.caption if record else None, xmp.run if xmp else ""
        return PhotoStatus(photo, state, reason, caption, paths.xmp if xmp else None, run)

    if record is None:
        return status(SidecarState.STALE, "the JSON sidecar is gone or damaged")
    stale = _stale(run, record, file, load_removed_names(paths.xmp))
    if stale:
        return status(SidecarState.STALE, stale)
    if xmp is None or not xmp.marked:
        return status(SidecarState.CURRENT, "up to date: no concept was recognised, and no VLM describes it")
    if xmp.caption is DescriptionStatus.DROPPED or xmp.dropped:
        return status(SidecarState.DROPPED, f"another program dropped {', '.join(xmp.dropped)}")
    if xmp.caption is DescriptionStatus.HUMAN:
        return status(SidecarState.EDITED, "the description was edited since, and stays")
    kept = xmp.caption is DescriptionStatus.KEPT and record.caption is not None
    return status(SidecarState.CURRENT, "up to date; the description that was there stays" if kept else "up to date")


def _stale(run: _StatusRun, record: PhotoRecord, file: PhotoFile | UnreadPhoto, removed_names: frozenset[str]) -> str:
    """Return why the next run would write a photo's sidecars again; "" if it would not."""
    if record.facts.content_hash != file.content_hash:
        return "the photo changed"
    keys, vlm = run.keys, run.vlm
    asks_software = vlm.config.world or (not vlm.exists and record.caption is not None)
    software = exif_of(file.blocks).software if asks_software else ""
    described = vlm.can_describe(software)
    if described and record.settings != keys.settings:
        names_only = record.settings == names_only_settings()
        return "no caption yet, only names" if names_only else "captioned by another VLM or with other prompts"
    recognition = find_known_matches(
        keys, run.gallery, run.extractor, record, file.content_hash, removed_names, after_forgetting=True
    )
    if recognition is None:
        return "concepts changed, and this photo has not been checked again"
    matches = recognition.matches
    if record.caption is not None and not described:
        if not caption_holds(record, record.facts, matches, software):
            return "no VLM on this machine can describe it, and the caption that it has does not hold"
        now, before = ({(m.concept_id, m.name) for m in some} for some in (matches, record.matches))
        return "" if now == before else "concepts changed: who is recognised, or what they are called"
    context = _context(run, record, file) if described else ""
    if record.key == keys.caption_key(file.content_hash, matches, described=described, context=context):
        return ""
    same = {m.concept_id for m in matches} == {m.concept_id for m in record.matches}
    return "a concept was trained again or renamed" if same else "concepts changed: different names are recognised"


def _context(run: _StatusRun, record: PhotoRecord, file: PhotoFile | UnreadPhoto) -> str:
    """Return what the VLM is told of date and place, which may have been written into the photo since."""
    if not run.forms.context:
        return ""
    exif = exif_of(file.blocks)
    return run.forms.of(replace(record.facts, taken=exif.taken, place=exif.place)).context


def _read_xmp(paths: SidecarPaths) -> XmpStatus | None:
    data = read_sidecar(paths.xmp)
    with naming_file(paths.xmp):
        return None if data is None else read_xmp_status(data)
