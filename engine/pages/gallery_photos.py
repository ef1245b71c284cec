"""Collect what a gallery shows of each photo: its thumbnail, and what the index and the sidecars say."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path

from engine.concepts.tagged_photos import Tagged, upright_box
from engine.core.batches import read_ahead
from engine.core.boxes import Box, iou
from engine.core.errors import EngineError, PhotoError
from engine.core.types import Kind, PhotoFacts
from engine.library.index import IndexedName
from engine.library.search import FoundPhoto
from engine.library.text import fold_name
from engine.pages.gallery_thumbnails import Thumbnail
from engine.photos.photo_file import UnreadPhoto
from engine.sidecars.json_sidecar import PhotoRecord, read_record
from engine.sidecars.locate import JSON_ENDING
from engine.sidecars.plan import BRANCHES
from engine.sidecars.read import read_sidecar

_AHEAD = 64
"""Photos whose thumbnails wait to be used."""
_SAME_PLACE = 0.5
"""Intersection over union above which two boxes of one name are shown as one."""
_REGION_WORDS = (b"RegionList", b"RegionInfo")
"""What a sidecar with regions holds; others need not be parsed."""


@dataclass(frozen=True)
class NamedBox:
    """Where a name is in a photo; all numbers are fractions of the upright photo's sides, from its top left."""

    name: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class GalleryPhoto:
    """A photo as a gallery shows it.

    author: who wrote the caption, "myvlm" or "human". taken: ISO 8601, by the camera's clock. place: (latitude,
    longitude) in degrees. town: its name, "" if not known. also: names of raw files of the same shot. thumbnail: None
    if the photo cannot be shown. reason: why it cannot be shown, or was not captioned.
    """

    path: Path
    caption: str
    author: str
    names: tuple[IndexedName, ...]
    taken: str | None
    place: tuple[float, float] | None
    town: str = ""
    boxes: tuple[NamedBox, ...] = ()
    also: tuple[str, ...] = ()
    thumbnail: Thumbnail | None = None
    reason: str = ""


def collect(
    found: Sequence[FoundPhoto],
    make: Callable[[Path], Thumbnail],
    *,
    failed: Sequence[tuple[Path, str]] = (),
    ranked: bool = False,
    step: Callable[[], None] = lambda: None,
) -> list[GalleryPhoto]:
    """Return the photos of a gallery, the newest first, then those without a date; threads make the thumbnails.

    ranked: the photos keep their order instead.

    A raw file that was captioned with a JPEG which is there, too, is not shown by itself. make: makes the thumbnail of
    a photo. failed: photos that were not captioned, with the reasons; they come last. step: called for each photo.
    """
    records = {photo.file: _record(photo) for photo in found}
    leads = {photo.file: _lead(photo, records[photo.file]) for photo in found}
    shown = [photo for photo in found if leads[photo.file] not in records]
    also: dict[str, list[str]] = {}
    for photo in found:
        if leads[photo.file] in records:
            also.setdefault(leads[photo.file], []).append(photo.path.name)
    collectors = [
        partial(_collect, photo, records[photo.file], make) for photo in (shown if ranked else _newest_first(shown))
    ]
    collectors += [partial(_failed, *f, make) for f in failed if os.fspath(f[0]) not in records]
    photos = []
    for made in read_ahead(collectors, lambda collector: collector(), ahead=_AHEAD):
        photos.append(replace(made, also=tuple(sorted(also.get(os.fspath(made.path), ())))))
        step()
    return photos


def _newest_first(photos: Iterable[FoundPhoto]) -> list[FoundPhoto]:
    """Order photos from the newest to the oldest, then those without a date; those of one moment by their paths."""
    return sorted(sorted(photos, key=lambda p: os.fsencode(p.file)), key=lambda p: p.taken or "", reverse=True)


def _record(photo: FoundPhoto) -> PhotoRecord | None:
    """Return a photo's JSON sidecar; None if there is none, or if it cannot be read any more."""
    for path in photo.sidecars:
        if path.name.endswith(JSON_ENDING):
            try:
                return read_record(path)
            except EngineError:
                return None
    return None


def _lead(photo: FoundPhoto, record: PhotoRecord | None) -> str:
    """Return the path of the picture with which a raw file was captioned; "" for other photos."""
    return os.fspath(photo.path.with_name(record.same_as)) if record is not None and record.same_as else ""


def _collect(photo: FoundPhoto, record: PhotoRecord | None, make: Callable[[Path], Thumbnail]) -> GalleryPhoto:
    town = _town(photo.place)
    names = _without_branches(photo.names)
    shown = GalleryPhoto(photo.path, photo.caption, photo.author, names, photo.taken, photo.place, town)
    try:
        thumbnail = make(photo.path)
    except PhotoError as err:
        return replace(shown, reason=_without_path(str(err), photo.path))
    boxes = _boxes(photo, names, record, (thumbnail.width, thumbnail.height))
    return replace(shown, thumbnail=thumbnail, boxes=tuple(boxes))


def _failed(path: Path, reason: str, make: Callable[[Path], Thumbnail]) -> GalleryPhoto:
    """Return a photo that was not captioned: with its picture if only a sidecar was at fault."""
    shown = GalleryPhoto(path, "", "", (), None, None, reason=_without_path(reason, path))
    try:
        return replace(shown, thumbnail=make(path))
    except PhotoError as err:
        return replace(shown, reason=_without_path(str(err), path))


def _without_path(reason: str, path: Path) -> str:
    return reason.removeprefix(f"{path}: ")


def _without_branches(names: tuple[IndexedName, ...]) -> tuple[IndexedName, ...]:
    """Leave out the keywords that only group others, such as "Pets" of the keyword "Pets|Rex"."""
    branches = {fold_name(BRANCHES[Kind(n.kind)]) for n in names if n.kind}
    return tuple(n for n in names if n.kind or fold_name(n.name) not in branches)


def _town(place: tuple[float, float] | None) -> str:
    return _town_near(round(place[0], 3), round(place[1], 3)) if place else ""


@lru_cache(maxsize=2**16)
def _town_near(latitude: float, longitude: float) -> str:
    """Return the town near a place that is rounded to about 100 m, since many photos are taken at one place."""
    from engine.photos.places import find_place

    return find_place(latitude, longitude) or ""


def _boxes(
    photo: FoundPhoto, names: tuple[IndexedName, ...], record: PhotoRecord | None, size: tuple[int, int]
) -> Iterator[NamedBox]:
    """Yield the boxes of the names that are shown: those that people drew, then those that were recognised."""
    called = {fold_name(n.name): n.name for n in names}
    facts = record.facts if record else PhotoFacts("", *size, "", 1)
    boxes: list[tuple[str, Box]] = []
    for name, box in (*_drawn_boxes(photo, record, facts), *_recognised_boxes(photo, record)):
        key, within = fold_name(name), box.clipped(facts.width, facts.height)
        if key in called and within.area > 0 and not any(k == key and iou(b, within) > _SAME_PLACE for k, b in boxes):
            boxes.append((key, within))
            yield NamedBox(called[key], *_fractions(within, facts))


def _recognised_boxes(photo: FoundPhoto, record: PhotoRecord | None) -> list[tuple[str, Box]]:
    """Return what was recognised, under the names that the concepts have now."""
    present = {n.concept_id: n.name for n in photo.names if n.concept_id}
    return [(present.get(m.concept_id, m.name), m.box) for m in (record.matches if record else ())]


def _fractions(box: Box, facts: PhotoFacts) -> tuple[float, float, float, float]:
    numbers = (box.x0 / facts.width, box.y0 / facts.height, (box.x1 - box.x0) / facts.width)
    x, y, width, height = (round(n, 4) for n in (*numbers, (box.y1 - box.y0) / facts.height))
    return x, y, width, height


def _drawn_boxes(photo: FoundPhoto, record: PhotoRecord | None, facts: PhotoFacts) -> Iterable[tuple[str, Box]]:
    """Return the named regions of the XMP sidecar that myvlm did not write, in pixels of the upright photo."""
    xmp = next((p for p in photo.sidecars if not p.name.endswith(JSON_ENDING)), None)
    try:
        data = read_sidecar(xmp) if xmp else None
        if data is None or not any(word in data for word in _REGION_WORDS):
            return ()
        from engine.sidecars.rdf.packet import Packet
        from engine.sidecars.regions.named import read_dimensions, read_regions

        packet = Packet(data)
        size, regions = read_dimensions(packet), read_regions(packet, ours=False)
        if record is None and regions:
            facts = replace(facts, orientation=UnreadPhoto(photo.path, "").blocks.orientation)
    except EngineError:
        return ()  # the photo is shown all the same; `status` names sidecars that cannot be read
    boxes = [(r.name, upright_box(Tagged(photo.path, r, size, datetime.min), facts)) for r in regions]
    return [(name, box) for name, box in boxes if box is not None]
