"""Tell the status of sidecars: up to date, stale, dropped by another program, or edited by the user. Loads no model."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from engine.captioning.context import CaptionForms
from engine.captioning.names_only import caption_holds
from engine.captioning.photo_status import PhotoStatus, SidecarState, StatusRequest, UnchangedStatus
from engine.captioning.requested_concepts import choose_requested
from engine.captioning.staleness import (
    CacheKeys,
    compute_cache_keys,
    find_known_matches,
    names_only_settings,
)
from engine.captioning.unchanged import Look
from engine.core.batches import read_ahead
from engine.core.errors import PhotoError, SidecarError
from engine.photos.discovery import FoundFile
from engine.photos.metadata.exif import exif_of
from engine.photos.photo_file import PhotoFile, UnreadPhoto
from engine.recognition.gallery import Gallery, build_gallery
from engine.session import Session
from engine.sidecars.json_sidecar import PhotoRecord, read_record
from engine.sidecars.locate import Namer, SidecarPaths
from engine.sidecars.read import naming_file, read_sidecar
from engine.sidecars.removed_names import load_removed_names
from engine.sidecars.xmp import DescriptionStatus, XmpStatus, read_xmp_status
from engine.store.known_contents import KnownContents
from engine.vision.cached_extractor import CachedExtractor
from engine.vlms.in_use import VlmInUse

_TOGETHER = 256
"""Photos whose statuses are kept in one transaction."""
__all__ = ["PhotoStatus", "SidecarState", "StatusRequest", "check_status"]


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


def check_status(
    session: Session,
    photos: Iterable[FoundFile],
    request: StatusRequest,
    unchanged: UnchangedStatus | None = None,
    key: Callable[[], str] = str,
) -> Iterator[PhotoStatus]:
    """Read the status of each photo's sidecars, in order; videos are left out.

    unchanged: what is known of photos that look as they did, and where the rest is kept, if `key` returns its key once
    the store has been read.

    Raises:
        EngineError: a concept is unknown, or cannot be recognised.
    """
    run = _prepare(session, request)
    if unchanged is not None and key() != unchanged.key:
        unchanged = None
    waiting: list[tuple[Look, list[PhotoStatus]]] = []

    def keep() -> None:
        if unchanged is not None and waiting and key() == unchanged.key:  # no concept was forgotten meanwhile
            unchanged.keep_statuses(waiting)
        waiting.clear()

    looked_at = (_LookedAt.by(unchanged, file) for file in photos if file.kind == "photo")
    try:
        for seen, statuses in read_ahead(looked_at, lambda seen: (seen, seen.statuses(run)), ahead=8):
            if seen.look is not None:
                waiting.append((seen.look, statuses))
            if len(waiting) >= _TOGETHER:
                keep()
            yield from statuses
    finally:
        run.contents.flush()
        keep()
        if unchanged is not None:
            unchanged.finish()


def _prepare(session: Session, request: StatusRequest) -> _StatusRun:
    """Assemble what all photos share."""
    store, config, vlm = session.store, session.recogniser_config, session.vlm_in_use
    concepts = choose_requested(store, config, session.recognition, vlm, request.names)
    gallery = build_gallery(
        concepts.enrolled,
        concepts.requested,
        calibrations=store.calibrations,
        decisions=store.decisions.all(),
        library=request.library,
    )
    forms, contents = request.forms, session.contents(verify=request.verify)
    keys = compute_cache_keys(store, config, vlm, concepts, gallery, form=forms.form)
    return _StatusRun(gallery, keys, vlm, session.extractor, Namer(request.naming), forms, contents)


@dataclass(frozen=True)
class _LookedAt:
    """A photo with either its known statuses, or how it looks before it is read."""

    file: FoundFile
    known: list[PhotoStatus] | None
    look: Look | None

    @classmethod
    def by(cls, unchanged: UnchangedStatus | None, file: FoundFile) -> "_LookedAt":
        known = unchanged.statuses(file) if unchanged else None
        return cls(file, known, unchanged.look(file) if unchanged and known is None else None)

    def statuses(self, run: _StatusRun) -> list[PhotoStatus]:
        """Return the statuses of the photo and its companions."""
        return _read_statuses(run, self.file) if self.known is None else self.known


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
