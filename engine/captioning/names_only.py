"""Handle photos that no VLM describes: they get names, and keep an earlier caption unless it is known to be wrong."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from engine.captioning.staleness import CacheKeys, names_only_settings
from engine.core.errors import NoVlmError, PhotoError, SidecarError
from engine.core.types import Concept, Match, PhotoFacts
from engine.photos.decode import load_photo
from engine.photos.discovery import FoundFile
from engine.photos.metadata.exif import read_software
from engine.sidecars.json_sidecar import PhotoRecord, read_record
from engine.sidecars.locate import Namer, Naming
from engine.sidecars.read import read_sidecar
from engine.sidecars.xmp import folded_name, written_names
from engine.vlms.in_use import DRAWN_BY, VlmInUse
from engine.vlms.registry import NO_VLM, knows_drawings_only
from engine.vlms.wording import find_names, replace_names

GET_A_VLM_FOR_PHOTOS = "To get a VLM for real photos, run: myvlm setup"


def make_names_only_record(
    keys: CacheKeys, facts: PhotoFacts, matches: tuple[Match, ...], recognition: str
) -> PhotoRecord:
    """Make the record of a photo that no VLM describes: its matches, and no caption."""
    key = keys.caption_key(facts.content_hash, matches, described=False)
    return PhotoRecord(facts, None, matches, NO_VLM, "", key, recognition, names_only_settings())


def caption_holds(record: PhotoRecord, facts: PhotoFacts, matches: Iterable[Match], software: str) -> bool:
    """Whether a photo may keep its recorded caption where no VLM can write another one.

    It may if a VLM wrote it that knows such photos, the picture is the same, and every concept that it names is still
    recognised. software: the EXIF `Software` of the photo.
    """
    if record.caption is None or record.facts.content_hash != facts.content_hash:
        return False
    if knows_drawings_only(record.vlm) and not software.startswith(DRAWN_BY):
        return False
    recognised = {m.concept_id for m in matches}
    gone = {m.name for m in record.matches if m.concept_id not in recognised}
    return not any(name in gone for _, _, name in find_names(record.caption, [m.name for m in record.matches]))


def rename_in_caption(record: PhotoRecord, matches: Iterable[Match]) -> str | None:
    """Return a recorded caption with the present names of concepts that were renamed since."""
    names = {m.concept_id: m.name for m in matches}
    renamed = {m.name: names[m.concept_id] for m in record.matches if names.get(m.concept_id, m.name) != m.name}
    return None if record.caption is None else replace_names(record.caption, renamed)


def check_drawn(
    vlm: VlmInUse, photos: Iterable[Path | FoundFile], way_out: str = "With --vlm none, caption writes names only."
) -> list[Path | FoundFile]:
    """Check that the VLM knows all photos, and return them as a list. Unreadable files pass: reading them fails.

    Raises:
        NoVlmError: one was not drawn by the storybook, whose drawings are all that the VLM knows.
    """
    files = list(photos)
    for item in files:
        path = item if isinstance(item, Path) else item.path
        is_photo = isinstance(item, Path) or item.kind == "photo"
        if is_photo and not vlm.can_describe(read_software(path)) and _can_be_read(path):
            raise NoVlmError(
                f"{path}: {vlm.config.name} only knows pictures drawn by myvlm, and this is not one of them",
                hint=f"{way_out} {GET_A_VLM_FOR_PHOTOS}".strip(),
            )
    return files


def _read_record(namer: Namer, file: FoundFile) -> PhotoRecord | None:
    """Read a photo's JSON sidecar; None also where it cannot be read, which captioning reports."""
    if file.kind != "photo":
        return None
    try:
        return read_record(namer.find(file.path).json)
    except SidecarError:
        return None


def _can_be_read(path: Path) -> bool:
    try:
        load_photo(path)
    except PhotoError:
        return False
    return True


def count_lost_names(
    concepts: Sequence[Concept], photos: Iterable[FoundFile], naming: Naming, *, read_xmp: bool
) -> Counter[str]:
    """Count, for each name that a run with only these concepts removes, the photos that lose it; key "" counts photos.

    read_xmp: whether keywords lose names, too, so that XMP sidecars have to be read; else only captions do.
    """
    ids, keys = {c.id for c in concepts}, {folded_name(c.name) for c in concepts}
    namer, lost = Namer(naming), Counter[str]()
    for file in photos:
        record = _read_record(namer, file)
        names = {m.name for m in record.matches if m.concept_id not in ids} if record else set()
        if read_xmp:
            names |= {n for n in _written_names(namer, file) if folded_name(n) not in keys}
        lost.update(names)
        lost[""] += bool(names)
    return lost


def _written_names(namer: Namer, file: FoundFile) -> set[str]:
    """Return the names that earlier runs wrote into the XMP sidecars of a photo and its companions."""
    names: set[str] = set()
    for path in (file.path, *file.companions) if file.kind == "photo" else ():
        try:
            data = read_sidecar(namer.find(path).xmp)
            names |= set(written_names(data)) if data is not None else set()
        except SidecarError:  # captioning will say so
            continue
    return names
