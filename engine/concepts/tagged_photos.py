"""Who is tagged in a library: named regions that people drew in digiKam, Lightroom, Picasa. Nothing is written."""

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
from engine.sidecars.locate import Namer, caseless
from engine.sidecars.rdf.forms import folded
from engine.sidecars.read import read_sidecar
from engine.sidecars.regions.named import NamedRegion
from engine.sidecars.regions.picasa import read_picasa

_NOBODY = frozenset({"focus", "barcode"})
"""Region types of the MWG that are no people, pets or things."""
_SAME_SHAPE = 0.01


@dataclass(frozen=True)
class Tagged:
    """A photo in which somebody marked a name. `size` is that of the stored picture it was marked on, where known."""

    path: Path
    region: NamedRegion
    size: tuple[float, float] | None
    taken: datetime


@dataclass(frozen=True)
class Search:
    """What a search for a name found. `names` counts photos by name, most first; `unreadable` tells photos and why."""

    name: str
    photos: int
    tagged_photos: int
    names: tuple[tuple[str, int], ...]
    found: tuple[Tagged, ...]
    unreadable: tuple[tuple[Path, str], ...]


def search_regions(name: str, paths: Iterable[Path], step: Callable[[], None] = lambda: None) -> Search:
    """Look through photos and folders for regions with a name, whatever its case and spaces; `step` counts photos.

    A photo's sidecar is read first, then what the photo itself holds, then Picasa's `.picasa.ini`.
    """
    key, reader = folded(name), _Reader()
    photos = tagged_photos = 0
    spellings: dict[str, Counter[str]] = {}
    found: list[Tagged] = []
    for path in (f.path for f in find_files(paths) if f.kind == "photo"):
        step()
        photos += 1
        regions, size = reader.read(path)
        own = {folded(r.name): r for r in reversed(regions)}
        tagged_photos += bool(own)
        for each, region in own.items():
            spellings.setdefault(each, Counter())[region.name] += 1
        if key in own:
            found.append(Tagged(path, own[key], size, _taken(path)))
    counts = [(c.most_common(1)[0][0], c.total()) for c in spellings.values()]
    names = tuple(sorted(counts, key=lambda c: (-c[1], c[0].casefold())))
    return Search(name, photos, tagged_photos, names, tuple(found), tuple(reader.unreadable))


_Regions = tuple[tuple[NamedRegion, ...], tuple[float, float] | None]


class _Reader:
    """Reads a photo's regions from wherever they are; remembers the folder that it is in."""

    def __init__(self) -> None:
        self.unreadable: list[tuple[Path, str]] = []
        self._namer = Namer()
        self._picasa: tuple[Path | None, dict[str, tuple[NamedRegion, ...]]] = (None, {})

    def read(self, path: Path) -> _Regions:
        """Return the regions of the first source that has some, and the picture size they were drawn on."""
        for place in (self._in_sidecar, _in_photo, self._in_picasa):
            try:
                regions, size = place(path)
            except (SidecarError, OSError) as err:
                self.unreadable.append((path, str(err)))
                continue
            regions = tuple(r for r in regions if r.type.casefold() not in _NOBODY)
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
    """Return what the photo holds itself; only the parts with metadata are read."""
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
    """When a photo was taken, by its EXIF, else its file's time."""
    taken = read_taken(path)
    try:
        return taken or datetime.fromtimestamp(path.stat().st_mtime)
    except (OSError, ValueError, OverflowError):
        return datetime.min


def spread(found: Iterable[Tagged]) -> Iterator[Tagged]:
    """Tagged photos in an order whose beginnings are spread over time: the middle one, those of the halves, and on."""
    ordered = sorted(found, key=lambda t: (t.taken, os.fsencode(t.path)))
    parts = deque([(0, len(ordered))])
    while parts:
        low, high = parts.popleft()
        if low < high:
            middle = (low + high) // 2
            yield ordered[middle]
            parts += [(low, middle), (middle + 1, high)]


def upright_box(tagged: Tagged, facts: PhotoFacts) -> Box | None:
    """Return the region in pixels of the upright photo; None when it was drawn on another crop of it.

    Where the size that it was drawn on says that it lies as the upright photo does and not as the stored one, the
    program that wrote it did not turn it back.
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
