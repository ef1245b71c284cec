"""How sidecars stand: up to date, stale, dropped by another program, or edited by a human. No model is loaded."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from engine.errors import PhotoError, SidecarError
from engine.photos.decode import PhotoFile, read_photo
from engine.photos.discovery import Found
from engine.photos.exif import read_exif
from engine.pipeline.batches import read_ahead
from engine.pipeline.chosen import choose_concepts
from engine.pipeline.freshness import Digests, digests, known_matches, names_only_settings, read_names_taken_out
from engine.pipeline.names_only import caption_holds
from engine.pipeline.recognition import Enrolled, load_enrolled
from engine.pipeline.session import Session
from engine.sidecars.json_sidecar import Document, read_document
from engine.sidecars.naming import Namer, Naming, SidecarPaths
from engine.sidecars.reading import naming_file, read_sidecar
from engine.sidecars.xmp import Standing, read_standing


class State(StrEnum):
    """Where a photo's sidecars stand."""

    NEW = "new"  # never captioned
    CURRENT = "current"  # up to date
    STALE = "stale"  # photo, concepts, VLM or prompts changed since
    DROPPED = "dropped"  # another program dropped what myvlm wrote; the next run puts it back
    EDITED = "edited"  # the description is a human's; it stays, and names are kept up to date
    FAILED = "failed"  # photo or sidecar cannot be read


@dataclass(frozen=True)
class PhotoStanding:
    """One photo's state, with why; `run` is the run that wrote its XMP sidecar."""

    path: Path
    state: State
    reason: str = ""
    caption: str | None = None
    sidecar: Path | None = None
    run: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Look:
    session: Session
    enrolled: Enrolled
    now: Digests
    namer: Namer


def stand(
    session: Session,
    photos: Iterable[Found],
    *,
    names: tuple[str, ...] | None,
    naming: Naming,
    library: Path | None = None,
) -> Iterator[PhotoStanding]:
    """Look at each photo's sidecars, in order. `names` are the concepts as for captioning, `library` is the folder
    whose calibration to use; videos are left out.

    Raises:
        EngineError: a concept is unknown, or cannot be recognised.
    """
    concepts = choose_concepts(session, names).asked
    enrolled = load_enrolled(session, concepts, library)
    look = _Look(session, enrolled, digests(session, concepts, enrolled), Namer(naming))
    stills = (f for f in photos if f.kind == "photo")
    for group in read_ahead(stills, lambda f: _look(look, f), ahead=8):
        yield from group


def _look(look: _Look, found: Found) -> list[PhotoStanding]:
    try:
        file = read_photo(found.path)
    except PhotoError as err:
        return [PhotoStanding(found.path, State.FAILED, str(err))]
    past = look.now.rulings.notes(found.path, file.content_hash)
    standings = [_stand(look, p, file) for p in (found.path, *found.companions)]
    return [replace(standings[0], notes=past), *standings[1:]]


def _stand(look: _Look, photo: Path, file: PhotoFile) -> PhotoStanding:
    try:
        paths = look.namer.find(photo)
        xmp, document = _standing(paths), read_document(paths.json)
    except SidecarError as err:
        return PhotoStanding(photo, State.FAILED, str(err))
    if (xmp is None or not xmp.marked) and not (document and document.is_empty):
        if document is None:
            return PhotoStanding(photo, State.NEW, "never captioned")
        gone = "the XMP sidecar is gone" if xmp is None else "the XMP sidecar is not the one myvlm wrote"
        return PhotoStanding(photo, State.DROPPED, gone, document.caption, paths.xmp)

    def told(state: State, reason: str) -> PhotoStanding:
        caption, run = document.caption if document else None, xmp.run if xmp else ""
        return PhotoStanding(photo, state, reason, caption, paths.xmp if xmp else None, run)

    if document is None:
        return told(State.STALE, "the JSON sidecar is gone or damaged")
    stale = _stale(look, document, file, read_names_taken_out(paths.xmp))
    if stale:
        return told(State.STALE, stale)
    if xmp is None or not xmp.marked:
        return told(State.CURRENT, "up to date: nobody was recognised, and no VLM describes it")
    if xmp.caption == "dropped" or xmp.dropped:
        return told(State.DROPPED, f"another program dropped {', '.join(xmp.dropped)}")
    if xmp.caption == "human":
        return told(State.EDITED, "the description was edited since, and stays")
    kept = xmp.caption == "kept" and document.caption is not None
    return told(State.CURRENT, "up to date; the description that was there stays" if kept else "up to date")


def _stale(look: "_Look", document: Document, file: PhotoFile, declined: frozenset[str]) -> str:
    """Why the next run would write a photo's sidecars again; "" when it would not."""
    if document.facts.content_hash != file.content_hash:
        return "the photo changed"
    session, now = look.session, look.now
    software = read_exif(file.data).software if session.vlm_config.world or not session.has_vlm else ""
    described = session.can_describe(software)
    if described and document.settings != now.settings:
        names_only = document.settings == names_only_settings()
        return "no caption yet, only names" if names_only else "captioned by another VLM or with other prompts"
    found = known_matches(session, now, look.enrolled, document, file.content_hash, declined, after_forgetting=True)
    if found is None:
        return "concepts changed, and this photo has not been checked again"
    matches = found.names
    if document.caption is not None and not described:
        if not caption_holds(document, document.facts, matches, software):
            return "no VLM on this machine can describe it, and the caption that it has does not hold"
        names = [{(m.concept_id, m.name) for m in own} for own in (matches, document.matches)]
        return "" if names[0] == names[1] else "concepts changed: who is recognised, or what they are called"
    if document.key == now.key(file.content_hash, matches, described=described):
        return ""
    same = {m.concept_id for m in matches} == {m.concept_id for m in document.matches}
    return "a concept was trained again or renamed" if same else "concepts changed: different names are recognised"


def _standing(paths: SidecarPaths) -> Standing | None:
    data = read_sidecar(paths.xmp)
    with naming_file(paths.xmp):
        return None if data is None else read_standing(data)
