"""Locating a concept: the box of the region in which it was recognised, or the VLM's own."""

import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PIL import Image, UnidentifiedImageError

from engine.captioning.explain_pictures import Pictures
from engine.captioning.names_only import HOW_TO_GET_A_VLM, UNKNOWN_WORLD, check_drawn
from engine.core.batches import in_batches
from engine.core.boxes import Box
from engine.core.errors import EngineError, NotTrainedError, NoVlmError, PhotoError, UsageError
from engine.core.files import read_bytes, write_atomically
from engine.core.types import Concept, Match, Status
from engine.photos.decode import Photo, load_photo
from engine.photos.drawing import draw_boxes
from engine.photos.photo_file import LARGEST_FILE
from engine.recognition.enrolled import check_recognisable
from engine.recognition.gallery import Gallery, load_gallery
from engine.recognition.recognise import recognise
from engine.session import Session
from engine.store.calibrations import common_folder
from engine.vision.cached_extractor import CachedExtractor

if TYPE_CHECKING:
    from engine.vlms.generate import PersonalisedConcept

Method = Literal["regions", "refer"]
_WITHOUT_REFER = "Leave out --method refer: recognition gives a box without a VLM."
_SOFTWARE, _MARK = 0x0131, "myvlm locate"
"""EXIF `Software` of our drawings: nothing else is ever replaced by one."""


@dataclass(frozen=True)
class LocateResult:
    """Where a concept is in one photo; `match` is None when it was not recognised or the photo failed, `box`
    also when the VLM named no place. `pictures` show what the concept attends to, and why it was
    recognised.
    """

    path: Path
    status: Status
    match: Match | None = None
    box: Box | None = None
    size: tuple[int, int] | None = None  # of the upright photo, pixels
    drawing: Path | None = None
    reason: str | None = None
    seconds: float = 0.0
    pictures: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def locate_concept(
    session: Session,
    name: str,
    paths: Sequence[Path],
    *,
    draw: Path | None = None,
    method: Method = "regions",
    explain: Path | None = None,
) -> Iterator[LocateResult]:
    """Locate a concept in photos, in order. With "refer" the VLM says where, in photos in which the concept
    was recognised. `draw` takes copies with the box drawn: a folder, or for a single photo a file; `explain`
    is a folder for pictures of what the concept attends to, and of why it was recognised. The photos themselves are
    never touched.

    Raises:
        ConceptError: the concept is unknown, or cannot be recognised with this recogniser.
        NotTrainedError: it was never trained for this VLM, and the VLM's own box is asked for.
        UsageError: `draw` names a file that is no drawing of ours, or the VLM does not answer with boxes.
        NoVlmError: the VLM's own box is asked for, and it knows the drawn world only: none of the photos was drawn, or
            the user chose it, and one was not.
    """
    if method == "refer":
        check_vlm(session, paths)
    concept = session.store.get(name)
    check_recognisable(session.store, session.recogniser_config, concept)
    enrolled = load_gallery(
        session.store, session.recogniser_config, session.recognition, [concept], common_folder(paths)
    )
    known = _known(session, concept, method) if method == "refer" or explain else {}
    pictures = Pictures(explain) if explain else None
    drawn: set[Path] = set()
    unknown = located_some = False
    for batch in in_batches(paths, _read, session.vlm_config.batch):
        located = _locate(session.extractor, enrolled, batch)
        if method == "refer" or pictures is not None:
            located = _refine(session, concept, known, batch, located, method, pictures, enrolled)
        for photo, location in zip(batch, located, strict=True):
            if draw and isinstance(photo, Photo) and location.box:
                target = _target(draw, photo.path, len(paths), drawn)
                drawn.add(target)
                location = _draw(photo, location, target)
            unknown |= location.reason == UNKNOWN_WORLD
            located_some |= location.box is not None
            yield location
    if unknown and not located_some:
        raise NoVlmError(f"nothing was located: {UNKNOWN_WORLD}", hint=f"{_WITHOUT_REFER} {HOW_TO_GET_A_VLM}")


def check_vlm(session: Session, paths: Sequence[Path]) -> None:
    """Make sure that there is a VLM, and that it knows all of the photos if the user chose it.

    Raises:
        UsageError: the user asked for none.
        NoVlmError: it knows the drawn world only, and a photo was not drawn.
    """
    if not session.has_vlm:
        raise UsageError("--vlm none has no box to give", hint=_WITHOUT_REFER)
    if session.vlm_config.world and session.choices.vlm:
        check_drawn(session, paths, way_out=_WITHOUT_REFER)


def _known(session: Session, concept: Concept, method: Method) -> "dict[str, PersonalisedConcept]":
    """The concept by its id as the VLM knows it; without it, pictures of attention are left out."""
    from engine.vlms import generate

    if method == "refer":
        generate.check_refers(session.vlm_config)
    elif not session.has_vlm:
        return {}
    try:
        vector = session.store.load_embedding(concept, session.vlm_id, session.vlm_revision).vector
    except NotTrainedError:
        if method == "refer":
            raise
        return {}
    return {concept.id: generate.PersonalisedConcept(concept, vector)}


def _refine(
    session: Session,
    concept: Concept,
    known: "dict[str, PersonalisedConcept]",
    batch: Sequence[Photo | LocateResult],
    located: Sequence[LocateResult],
    method: Method,
    pictures: Pictures | None,
    enrolled: Gallery,
) -> list[LocateResult]:
    """What the VLM adds for the photos with the concept: its own box, pictures of its attention."""
    began = time.monotonic()
    found = list(located)
    some = [(i, p) for i, p in enumerate(batch) if isinstance(p, Photo) and located[i].match]
    if not some:
        return found
    photos = [p for _, p in some]
    if method == "refer":
        for i, box, reason in _boxes(session, known[concept.id], some):
            status = Status.OK if box else Status.SKIPPED
            found[i] = replace(found[i], box=box, status=status, reason=reason)
    if pictures is not None:
        drawn = pictures.explain(session, photos, [[concept]] * len(photos), known, enrolled)
        for (i, _), own in zip(some, drawn, strict=True):
            found[i] = replace(found[i], pictures=own.pictures, notes=own.notes)
    share = (time.monotonic() - began) / len(some)
    for i, _ in some:
        found[i] = replace(found[i], seconds=found[i].seconds + share)
    return found


def _boxes(
    session: Session, known: "PersonalisedConcept", some: Sequence[tuple[int, Photo]]
) -> Iterator[tuple[int, Box | None, str | None]]:
    """The VLM's own boxes, in pixels of the photos, or the reason why there is none; each with its photo's number."""
    from engine.vlms import generate

    able = [(i, p) for i, p in some if session.can_describe(p.software)]
    boxes = generate.refer(session.vlm, [p.image for _, p in able], [known] * len(able)) if able else []
    for (i, photo), box in zip(able, boxes, strict=True):
        yield i, photo.in_photo(box) if box else None, None if box else "recognised, but not located by the VLM"
    yield from ((i, None, UNKNOWN_WORLD) for i, p in some if not session.can_describe(p.software))


def _read(path: Path) -> Photo | LocateResult:
    try:
        return load_photo(path)
    except PhotoError as err:
        return LocateResult(path, Status.FAILED, reason=str(err))


def _locate(extractor: CachedExtractor, enrolled: Gallery, batch: Sequence[Photo | LocateResult]) -> list[LocateResult]:
    began = time.monotonic()
    photos = [p for p in batch if isinstance(p, Photo)]
    matches = iter(recognise(extractor, photos, enrolled))
    share = (time.monotonic() - began) / max(1, len(photos))
    found = []
    for photo in batch:
        if isinstance(photo, LocateResult):
            found.append(photo)
            continue
        own = next(iter(next(matches)), None)
        reason = None if own else "not recognised in this photo"
        status = Status.OK if own else Status.SKIPPED
        size = (photo.facts.width, photo.facts.height)
        found.append(
            LocateResult(photo.path, status, own, own.box if own else None, size, reason=reason, seconds=share)
        )
    return found


def _target(draw: Path, photo: Path, count: int, drawn: set[Path]) -> Path:
    """Where a drawing goes: never over a file that is no drawing of ours, nor over one of this run."""
    if count == 1 and draw.suffix and not draw.is_dir():
        target = draw
    else:
        names = (f"{photo.name}.located{n}.png" for n in ("", *(f"-{k}" for k in range(2, len(drawn) + 3))))
        target = next(t for n in names if (t := draw / n) not in drawn)
    if target.exists() and not _is_drawing(target):
        raise UsageError(
            f"--draw would replace {target}, which is no drawing of myvlm's", hint="Give another file or a folder."
        )
    return target


def _is_drawing(path: Path) -> bool:
    try:
        with Image.open(io.BytesIO(read_bytes(path, LARGEST_FILE))) as opened:
            return opened.getexif().get(_SOFTWARE) == _MARK
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError):
        return False


def _draw(photo: Photo, location: LocateResult, target: Path) -> LocateResult:
    assert location.match is not None
    assert location.box is not None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        page = draw_boxes(photo.image, [(photo.in_image(location.box), location.match.name)])
        marks, data = Image.Exif(), io.BytesIO()
        marks[_SOFTWARE] = _MARK
        page.save(data, Image.registered_extensions().get(target.suffix.lower(), ""), exif=marks)
        write_atomically(target, data.getvalue())
    except (OSError, ValueError, KeyError) as err:
        raise EngineError(f"{target} cannot be written: {err}", hint="Give --draw a folder or a .png file.") from err
    return replace(location, drawing=target)
