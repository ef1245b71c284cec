"""Handle photos that no VLM describes: they get names, and keep an earlier caption unless it is known to be wrong."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from engine.captioning.requested_concepts import choose_requested
from engine.captioning.staleness import CacheKeys, names_only_settings
from engine.core.errors import NoVlmError, PhotoError, SidecarError
from engine.core.types import Match, PhotoFacts
from engine.photos.decode import load_photo
from engine.photos.discovery import FoundFile
from engine.photos.metadata.exif import read_software
from engine.session import DRAWN_BY, Session
from engine.sidecars.json_sidecar import PhotoRecord, read_record
from engine.sidecars.locate import Namer, Naming
from engine.sidecars.read import read_sidecar
from engine.sidecars.xmp import folded_name, written_names
from engine.vlms.registry import NO_VLM, knows_drawings_only
from engine.vlms.wording import find_names, replace_names

UNKNOWN_WORLD = "no VLM on this machine knows such photos"
"""Why a VLM that knows drawings only says nothing about a photo that was not drawn."""
HOW_TO_GET_A_VLM = "To get a VLM for real photos: myvlm models."


def names_only_account(
    digests: CacheKeys, facts: PhotoFacts, matches: tuple[Match, ...], recognition: str
) -> PhotoRecord:
    """Make the account of a photo that no VLM describes: its matches, and no caption."""
    key = digests.key(facts.content_hash, matches, described=False)
    return PhotoRecord(facts, None, matches, NO_VLM, "", key, recognition, names_only_settings())


def caption_holds(known: PhotoRecord, facts: PhotoFacts, matches: Iterable[Match], software: str) -> bool:
    """Whether a photo may keep its recorded caption where no VLM can write another one.

    It may if a VLM wrote it that knows such photos, the picture is the same, and every concept that it names is still
    recognised. software: the EXIF `Software` of the photo.
    """
    if known.caption is None or known.facts.content_hash != facts.content_hash:
        return False
    if knows_drawings_only(known.vlm) and not software.startswith(DRAWN_BY):
        return False
    there = {m.concept_id for m in matches}
    gone = {m.name for m in known.matches if m.concept_id not in there}
    return not any(name in gone for _, _, name in find_names(known.caption, [m.name for m in known.matches]))


def with_new_names(known: PhotoRecord, matches: Iterable[Match]) -> str | None:
    """Return a recorded caption with the new names of concepts that were renamed since."""
    now = {m.concept_id: m.name for m in matches}
    renamed = {m.name: now[m.concept_id] for m in known.matches if now.get(m.concept_id, m.name) != m.name}
    return known.caption if known.caption is None else replace_names(known.caption, renamed)


def check_drawn(
    session: Session, photos: Iterable[Path | FoundFile], way_out: str = "Without --vlm, caption writes names only."
) -> list[Path | FoundFile]:
    """Check that the chosen VLM knows all photos, and return them as a list. Unreadable files pass: reading them fails.

    Raises:
        NoVlmError: one was not drawn by the storybook, whose drawings are all that the VLM knows.
    """
    given = list(photos)
    for item in given:
        path = item if isinstance(item, Path) else item.path
        is_photo = isinstance(item, Path) or item.kind == "photo"
        if is_photo and not session.can_describe(read_software(path)) and _can_be_read(path):
            raise NoVlmError(
                f"{path}: {session.vlm_config.name} only knows pictures drawn by myvlm, and this is not one of them",
                hint=f"{way_out} {HOW_TO_GET_A_VLM}".strip(),
            )
    return given


def _recorded(namer: Namer, found: FoundFile) -> PhotoRecord | None:
    """Read a photo's JSON sidecar; None also where it cannot be read, which captioning reports."""
    if found.kind != "photo":
        return None
    try:
        return read_record(namer.find(found.path).json)
    except SidecarError:
        return None


def _can_be_read(path: Path) -> bool:
    try:
        load_photo(path)
    except PhotoError:
        return False
    return True


def names_to_lose(
    session: Session, photos: Iterable[FoundFile], names: tuple[str, ...], naming: Naming
) -> Counter[str]:
    """Count, for each name that a run with `names` alone removes, the photos that lose it; key "" counts the photos.

    Without `names`, captions lose names and keywords stay, so XMP sidecars are not read.
    """
    asked = choose_requested(session, names).asked
    ids, keys = {c.id for c in asked}, {folded_name(c.name) for c in asked}
    namer, lost = Namer(naming), Counter[str]()
    for found in photos:
        document = _recorded(namer, found)
        own = {m.name for m in document.matches if m.concept_id not in ids} if document else set()
        if names:
            own |= {n for n in _written(namer, found) if folded_name(n) not in keys}
        lost.update(own)
        lost[""] += bool(own)
    return lost


def _written(namer: Namer, found: FoundFile) -> set[str]:
    """Return the names that earlier runs wrote into the XMP sidecars of a photo and its companions."""
    names: set[str] = set()
    for path in (found.path, *found.companions) if found.kind == "photo" else ():
        try:
            data = read_sidecar(namer.find(path).xmp)
            names |= set(written_names(data)) if data is not None else set()
        except SidecarError:  # captioning will say so
            continue
    return names
