"""How sidecars stand: up to date, stale, dropped by another program, or edited by a human. No model is loaded."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from engine.captioning.names_only import caption_holds
from engine.captioning.requested_concepts import choose_requested
from engine.captioning.staleness import (
    CacheKeys,
    compute_cache_keys,
    known_matches,
    names_only_settings,
)
from engine.core.batches import read_ahead
from engine.core.errors import PhotoError, SidecarError
from engine.photos.decode import PhotoFile, read_photo
from engine.photos.discovery import FoundFile
from engine.photos.metadata.exif import exif_of
from engine.recognition.gallery import Gallery, load_gallery
from engine.session import Session
from engine.sidecars.json_sidecar import PhotoRecord, read_record
from engine.sidecars.locate import Namer, Naming, SidecarPaths
from engine.sidecars.read import naming_file, read_sidecar
from engine.sidecars.removed_names import load_removed_names
from engine.sidecars.xmp import DescriptionStatus, XmpStatus, read_xmp_status


class SidecarState(StrEnum):
    """Where a photo's sidecars stand."""

    NEW = "new"  # never captioned
    CURRENT = "current"  # up to date
    STALE = "stale"  # photo, concepts, VLM or prompts changed since
    DROPPED = "dropped"  # another program dropped what myvlm wrote; the next run puts it back
    EDITED = "edited"  # the description is a human's; it stays, and names are kept up to date
    FAILED = "failed"  # photo or sidecar cannot be read


@dataclass(frozen=True)
class PhotoStatus:
    """One photo's state, with why; `run` is the run that wrote its XMP sidecar."""

    path: Path
    state: SidecarState
    reason: str = ""
    caption: str | None = None
    sidecar: Path | None = None
    run: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Look:
    session: Session
    enrolled: Gallery
    now: CacheKeys
    namer: Namer


def read_status(
    session: Session,
    photos: Iterable[FoundFile],
    *,
    names: tuple[str, ...] | None,
    naming: Naming,
    library: Path | None = None,
) -> Iterator[PhotoStatus]:
    """Look at each photo's sidecars, in order. `names` are the concepts as for captioning, `library` is the folder
    whose calibration to use; videos are left out.

    Raises:
        EngineError: a concept is unknown, or cannot be recognised.
    """
    concepts = choose_requested(session, names).asked
    enrolled = load_gallery(session.store, session.recogniser_config, session.recognition, concepts, library)
    look = _Look(session, enrolled, compute_cache_keys(session, concepts, enrolled), Namer(naming))
    stills = (f for f in photos if f.kind == "photo")
    for group in read_ahead(stills, lambda f: _look(look, f), ahead=8):
        yield from group


def _look(look: _Look, found: FoundFile) -> list[PhotoStatus]:
    try:
        file = read_photo(found.path)
    except PhotoError as err:
        return [PhotoStatus(found.path, SidecarState.FAILED, str(err))]
    past = look.now.rulings.notes(found.path, file.content_hash)
    standings = [_stand(look, p, file) for p in (found.path, *found.companions)]
    return [replace(standings[0], notes=past), *standings[1:]]


def _stand(look: _Look, photo: Path, file: PhotoFile) -> PhotoStatus:
    try:
        paths = look.namer.find(photo)
        xmp, document = _standing(paths), read_record(paths.json)
    except SidecarError as err:
        return PhotoStatus(photo, SidecarState.FAILED, str(err))
    if (xmp is None or not xmp.marked) and not (document and document.is_empty):
        if document is None:
            return PhotoStatus(photo, SidecarState.NEW, "never captioned")
        gone = "the XMP sidecar is gone" if xmp is None else "the XMP sidecar is not the one myvlm wrote"
        return PhotoStatus(photo, SidecarState.DROPPED, gone, document.caption, paths.xmp)

    def told(state: SidecarState, reason: str) -> PhotoStatus:
        caption, run = document.caption if document else None, xmp.run if xmp else ""
        return PhotoStatus(photo, state, reason, caption, paths.xmp if xmp else None, run)

    if document is None:
        return told(SidecarState.STALE, "the JSON sidecar is gone or damaged")
    stale = _stale(look, document, file, load_removed_names(paths.xmp))
    if stale:
        return told(SidecarState.STALE, stale)
    if xmp is None or not xmp.marked:
        return told(SidecarState.CURRENT, "up to date: nobody was recognised, and no VLM describes it")
    if xmp.caption is DescriptionStatus.DROPPED or xmp.dropped:
        return told(SidecarState.DROPPED, f"another program dropped {', '.join(xmp.dropped)}")
    if xmp.caption is DescriptionStatus.HUMAN:
        return told(SidecarState.EDITED, "the description was edited since, and stays")
    kept = xmp.caption is DescriptionStatus.KEPT and document.caption is not None
    return told(SidecarState.CURRENT, "up to date; the description that was there stays" if kept else "up to date")


def _stale(look: "_Look", document: PhotoRecord, file: PhotoFile, declined: frozenset[str]) -> str:
    """Why the next run would write a photo's sidecars again; "" when it would not."""
    if document.facts.content_hash != file.content_hash:
        return "the photo changed"
    session, now = look.session, look.now
    software = exif_of(file.blocks).software if session.vlm_config.world or not session.has_vlm else ""
    described = session.can_describe(software)
    if described and document.settings != now.settings:
        names_only = document.settings == names_only_settings()
        return "no caption yet, only names" if names_only else "captioned by another VLM or with other prompts"
    found = known_matches(session, now, look.enrolled, document, file.content_hash, declined, after_forgetting=True)
    if found is None:
        return "concepts changed, and this photo has not been checked again"
    matches = found.matches
    if document.caption is not None and not described:
        if not caption_holds(document, document.facts, matches, software):
            return "no VLM on this machine can describe it, and the caption that it has does not hold"
        names = [{(m.concept_id, m.name) for m in own} for own in (matches, document.matches)]
        return "" if names[0] == names[1] else "concepts changed: who is recognised, or what they are called"
    if document.key == now.key(file.content_hash, matches, described=described):
        return ""
    same = {m.concept_id for m in matches} == {m.concept_id for m in document.matches}
    return "a concept was trained again or renamed" if same else "concepts changed: different names are recognised"


def _standing(paths: SidecarPaths) -> XmpStatus | None:
    data = read_sidecar(paths.xmp)
    with naming_file(paths.xmp):
        return None if data is None else read_xmp_status(data)
