"""Find tagged photos: named regions that users drew in digiKam, Lightroom or Picasa. Nothing is written."""

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from engine.core.boxes import Box, stored_size, to_upright
from engine.core.errors import SidecarError
from engine.core.files import open_regular
from engine.core.types import PhotoFacts
from engine.photos.discovery import find_files
from engine.photos.metadata.containers import read_blocks
from engine.photos.metadata.exif import read_taken
from engine.photos.metadata.stored import FileSlices
from engine.photos.metadata.xmp import ExtendedPacket, assemble
from engine.sidecars.locate import Namer, Naming, caseless
from engine.sidecars.rdf.forms import folded
from engine.sidecars.read import read_sidecar
from engine.sidecars.regions.named import NamedRegion
from engine.sidecars.regions.picasa import read_picasa

_OTHER_TYPES = frozenset({"focus", "barcode"})
"""Region types of the Metadata Working Group (MWG) that mark no person, pet or thing."""
_SAME_SHAPE = 0.01
"""Largest relative difference between the aspect ratios of two sizes that count as the same shape."""


@dataclass(frozen=True)
class Tagged:
    """A photo with a named region.

    size: width and height of the picture that the region was drawn on, or None if they are not stored; taken: when the
    photo was taken.
    """

    path: Path
    region: NamedRegion
    size: tuple[float, float] | None
    taken: datetime


@dataclass(frozen=True)
class Search:
    """The result of a search for a name.

    photos: how many were searched; tagged_photos: how many have a named region; names: (name, number of photos), the
    most frequent first; found: the photos with the name; unreadable: (path, reason).
    """

    name: str
    photos: int
    tagged_photos: int
    names: tuple[tuple[str, int], ...]
    found: tuple[Tagged, ...]
    unreadable: tuple[tuple[Path, str], ...]


def search_regions(name: str, paths: Iterable[Path], step: Callable[[], None] = lambda: None) -> Search:
    """Search photos and folders for regions with a name, ignoring case and spaces; call `step` for each photo.

    The sidecar of a photo is read first, then the photo's embedded metadata, then Picasa's `.picasa.ini`.
    """
    key, reader = folded(name), RegionReader()
    photos = tagged_photos = 0
    spellings: dict[str, Counter[str]] = {}
    matches: list[Tagged] = []
    for path in (f.path for f in find_files(paths) if f.kind == "photo"):
        step()
        photos += 1
        regions, size = reader.read(path)
        regions_by_name = {folded(r.name): r for r in reversed(regions)}
        tagged_photos += bool(regions_by_name)
        for folded_name, region in regions_by_name.items():
            spellings.setdefault(folded_name, Counter())[region.name] += 1
        if key in regions_by_name:
            matches.append(Tagged(path, regions_by_name[key], size, _taken(path)))
    counts = [(c.most_common(1)[0][0], c.total()) for c in spellings.values()]
    names = tuple(sorted(counts, key=lambda c: (-c[1], c[0].casefold())))
    return Search(name, photos, tagged_photos, names, tuple(matches), tuple(reader.unreadable))


_Regions = tuple[tuple[NamedRegion, ...], tuple[float, float] | None]


class RegionReader:
    """Read the regions of photos from all places; Picasa's file of the last folder is kept in memory.

    unreadable: (path, reason) of what could not be read.
    """

    def __init__(self, naming: Naming | None = None) -> None:
        self.unreadable: list[tuple[Path, str]] = []
        self._namer = Namer(naming)
        self._picasa: tuple[Path | None, dict[str, tuple[NamedRegion, ...]]] = (None, {})

    def read(self, path: Path) -> _Regions:
        """Return the regions from the first place that has any, and the size of the picture they were drawn on."""
        for place in (self._in_sidecar, _in_photo, self._in_picasa):
            try:
                regions, size = place(path)
            except (SidecarError, OSError) as err:
                self.unreadable.append((path, str(err)))
                continue
            regions = tuple(r for r in regions if r.type.casefold() not in _OTHER_TYPES)
            if regions:
                return regions, size
        return (), None

    def _in_sidecar(self, path: Path) -> _Regions:
        data = read_sidecar(self._namer.find(path).xmp)
        return ((), None) if data is None else _in_packet(data)

    def _in_picasa(self, path: Path) -> _Regions:
        if self._picasa[0] != path.parent:
            self._picasa = (path.parent, read_picasa(path.parent))
        return self._picasa[1].get(caseless(path.name), ()), None


def _in_photo(path: Path) -> _Regions:
    """Return the regions embedded in the photo; only the parts of the file with metadata are read."""
    with open_regular(path) as descriptor:
        blocks = read_blocks(FileSlices(descriptor))
    packet = blocks.xmp.strip(b"\0 \r\n\t")
    return _in_packet(packet, assemble(blocks.extended)) if packet else ((), None)


def _in_packet(data: bytes, extended: Sequence[ExtendedPacket] = ()) -> _Regions:
    from engine.sidecars.rdf.extended import merge_extended
    from engine.sidecars.rdf.packet import Packet
    from engine.sidecars.regions.named import read_dimensions, read_regions

    packet, _ = merge_extended(Packet(data), extended) if extended else (Packet(data), ())
    return read_regions(packet, ours=False), read_dimensions(packet)


def _taken(path: Path) -> datetime:
    """Return when a photo was taken: the EXIF time, else the file's modification time, else `datetime.min`."""
    taken = read_taken(path)
    try:
        return taken or datetime.fromtimestamp(path.stat().st_mtime)
    except (OSError, ValueError, OverflowError):
        return datetime.min


def spread(photos: Iterable[Tagged]) -> Iterator[Tagged]:
    """Yield tagged photos so that any first few are spread over time.

    The order is the middle photo by time, then the middle of each half, then of each quarter, and so on.
    """
    ordered = sorted(photos, key=lambda t: (t.taken, os.fsencode(t.path)))
    parts = deque([(0, len(ordered))])
    while parts:
        low, high = parts.popleft()
        if low < high:
            middle = (low + high) // 2
            yield ordered[middle]
            parts += [(low, middle), (middle + 1, high)]


def upright_box(tagged: Tagged, facts: PhotoFacts) -> Box | None:
    """Return the region in pixels of the upright photo; None if it was drawn on another crop of the photo.

    If the size that it was drawn on has the shape of the upright photo and not that of the stored picture, the program
    that wrote it gave upright coordinates; otherwise they are converted from those of the stored picture.
    """
    stored = stored_size(facts.orientation, facts.width, facts.height)
    r = tagged.region
    lies_as_stored, lies_upright = (_fits(tagged.size, s) for s in (stored, (facts.width, facts.height)))
    if not lies_as_stored and not lies_upright:
        return None
    width, height = stored if lies_as_stored else (facts.width, facts.height)
    corners = Box((r.x - r.w / 2) * width, (r.y - r.h / 2) * height, (r.x + r.w / 2) * width, (r.y + r.h / 2) * height)
    if lies_as_stored:
        corners = to_upright(corners, facts.orientation, facts.width, facts.height)
    return corners.clipped(facts.width, facts.height)


def _fits(size: tuple[float, float] | None, of: tuple[int, int]) -> bool:
    return size is None or abs(size[0] * of[1] / (size[1] * of[0]) - 1) <= _SAME_SHAPE
