"""How sidecars stand: up to date, stale, dropped by another program, or edited by a human. No model is loaded."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from engine.errors import ConceptError, PhotoError, SidecarError
from engine.photos.decode import read_photo
from engine.photos.discovery import Found
from engine.pipeline.batches import read_ahead
from engine.pipeline.describe import split_trained
from engine.pipeline.freshness import Digests, digests
from engine.pipeline.recognition import recognise_known
from engine.pipeline.session import Session
from engine.sidecars.json_sidecar import Document, parse_document
from engine.sidecars.naming import Namer, Naming, SidecarPaths
from engine.sidecars.xmp import Standing, read_standing
from engine.types import Concept


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


def stand(
    session: Session, photos: Iterable[Found], *, names: tuple[str, ...] | None, naming: Naming
) -> Iterator[PhotoStanding]:
    """Look at each photo's sidecars, in order. `names` are the concepts as for captioning; videos are left out.

    Raises:
        EngineError: a concept is unknown or untrained.
    """
    concepts = tuple(split_trained(session, names)[0])
    now = digests(session, concepts)
    namer = Namer(naming)
    stills = (f for f in photos if f.kind == "photo")
    for group in read_ahead(stills, lambda f: _look(session, f, concepts, now, namer), ahead=8):
        yield from group


def _look(
    session: Session, found: Found, concepts: tuple[Concept, ...], now: Digests, namer: Namer
) -> list[PhotoStanding]:
    try:
        content_hash = read_photo(found.path).content_hash
    except PhotoError as err:
        return [PhotoStanding(found.path, State.FAILED, str(err))]
    return [_stand(session, p, content_hash, concepts, now, namer) for p in (found.path, *found.companions)]


def _stand(
    session: Session, photo: Path, content_hash: str, concepts: tuple[Concept, ...], now: Digests, namer: Namer
) -> PhotoStanding:
    try:
        paths = namer.find(photo)
        xmp, document = _standing(paths), _document(paths)
    except SidecarError as err:
        return PhotoStanding(photo, State.FAILED, str(err))
    if xmp is None or not xmp.marked:
        if document is None:
            return PhotoStanding(photo, State.NEW, "never captioned")
        gone = "the XMP sidecar is gone" if xmp is None else "the XMP sidecar is not the one myvlm wrote"
        return PhotoStanding(photo, State.DROPPED, gone, document.caption, paths.xmp)

    def told(state: State, reason: str) -> PhotoStanding:
        return PhotoStanding(photo, state, reason, document.caption if document else None, paths.xmp, xmp.run)

    if document is None:
        return told(State.STALE, "the JSON sidecar is gone or damaged")
    stale = _stale(session, document, content_hash, concepts, now)
    if stale:
        return told(State.STALE, stale)
    if xmp.caption == "dropped" or xmp.dropped:
        return told(State.DROPPED, f"another program dropped {', '.join(xmp.dropped)}")
    if xmp.caption == "human":
        return told(State.EDITED, "the description is a human's and stays")
    return told(State.CURRENT, "up to date")


def _stale(session: Session, document: Document, content_hash: str, concepts: tuple[Concept, ...], now: Digests) -> str:
    if document.facts.content_hash != content_hash:
        return "the photo changed"
    if document.settings != now.settings:
        return "captioned by another VLM or with other prompts"
    if document.recognition == now.recognition:
        return "" if document.key == now.key(content_hash, document.matches) else "what a concept is called changed"
    try:
        matches = recognise_known(session, content_hash, concepts)
    except ConceptError as err:
        return str(err)
    if matches is None:
        return "concepts changed, and who is in the photo was not looked up again yet"
    if document.key == now.key(content_hash, matches):
        return ""
    return "concepts changed: somebody else is recognised now"


def _standing(paths: SidecarPaths) -> Standing | None:
    try:
        return read_standing(paths.xmp.read_bytes())
    except FileNotFoundError:
        return None
    except (SidecarError, OSError) as err:
        raise SidecarError(f"{paths.xmp}: {err}") from err


def _document(paths: SidecarPaths) -> Document | None:
    try:
        return parse_document(paths.json.read_bytes())
    except OSError:
        return None
