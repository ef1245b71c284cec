"""Locating a concept: the box of the region in which it was recognised."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.errors import EngineError, PhotoError, UsageError
from engine.photos.decode import Photo, load_photo
from engine.photos.drawing import draw_boxes
from engine.pipeline.batches import batched, read_ahead
from engine.pipeline.recognition import recognise
from engine.pipeline.session import Session
from engine.types import Concept, Match, Status

BATCH = 16


@dataclass(frozen=True)
class Location:
    """Where a concept is in one photo; `match` is None when it is not there or the photo failed."""

    path: Path
    status: Status
    match: Match | None = None
    size: tuple[int, int] | None = None  # of the upright photo, pixels
    drawing: Path | None = None
    reason: str | None = None
    seconds: float = 0.0


def find(session: Session, name: str, paths: Sequence[Path], *, draw: Path | None = None) -> Iterator[Location]:
    """Locate a concept in photos, in order. `draw` takes copies with the box drawn: a folder, or for a
    single photo a file; the photos themselves are never touched.

    Raises:
        ConceptError: the concept is unknown, or was enrolled with another recogniser.
        UsageError: `draw` names one of the photos.
    """
    concept = session.store.get(name)
    for batch in batched(read_ahead(paths, _read, ahead=2 * BATCH), BATCH):
        for photo, location in zip(batch, _locate(session, concept, batch), strict=True):
            if draw and isinstance(photo, Photo) and location.match:
                location = _draw(photo, location, _target(draw, photo.path, len(paths)))
            yield location


def _read(path: Path) -> Photo | Location:
    try:
        return load_photo(path)
    except PhotoError as err:
        return Location(path, Status.FAILED, reason=str(err))


def _locate(session: Session, concept: Concept, batch: Sequence[Photo | Location]) -> list[Location]:
    began = time.monotonic()
    photos = [p for p in batch if isinstance(p, Photo)]
    matches = iter(recognise(session, photos, [concept]))
    share = (time.monotonic() - began) / max(1, len(photos))
    found = []
    for photo in batch:
        if isinstance(photo, Location):
            found.append(photo)
            continue
        own = next(iter(next(matches)), None)
        reason = None if own else "not in this photo"
        status = Status.OK if own else Status.SKIPPED
        found.append(Location(photo.path, status, own, photo.image.size, reason=reason, seconds=share))
    return found


def _target(draw: Path, photo: Path, count: int) -> Path:
    target = draw if count == 1 and draw.suffix and not draw.is_dir() else draw / f"{photo.stem}.located.png"
    if target.resolve() == photo.resolve():
        raise UsageError(f"--draw {draw} would replace the photo itself", hint="Give another file or a folder.")
    return target


def _draw(photo: Photo, location: Location, target: Path) -> Location:
    assert location.match is not None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draw_boxes(photo.image, [(location.match.box, location.match.name)]).save(target)
    except (OSError, ValueError) as err:
        raise EngineError(f"{target} cannot be written: {err}", hint="Give --draw a folder or a .png file.") from err
    return replace(location, drawing=target)
