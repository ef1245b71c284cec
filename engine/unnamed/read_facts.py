"""Read when photos were taken, and the regions that people named in them in other programs; a photo is
decoded only where nothing else tells its size.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from engine.concepts.tagged_photos import RegionReader, Tagged, upright_box
from engine.core.errors import PhotoError
from engine.core.types import PhotoFacts as PictureFacts
from engine.photos.decode import decode_photo, read_photo
from engine.photos.metadata.exif import read_file
from engine.photos.picture_size import read_size
from engine.sidecars.locate import Naming
from engine.unnamed.photo_facts import PhotoFacts, Tag


def read_facts(naming: Naming, scanned: Iterable[tuple[Path, str, str]]) -> Iterator[PhotoFacts]:
    """Read the facts of photos, given by path, content hash, and why a photo cannot be read ("" if it can)."""
    reader = RegionReader(naming)
    for path, content_hash, failure in scanned:
        if failure:
            yield PhotoFacts(failure=failure)
        else:
            yield PhotoFacts(content_hash, read_file(path).taken or "", _read_tags(reader, path))


def _read_tags(reader: RegionReader, path: Path) -> tuple[Tag, ...]:
    """Return the regions that people named in a photo, as far as they fit its picture."""
    regions, size = reader.read(path)
    facts = _size_of(path) if regions else None
    if facts is None:
        return ()
    boxes = ((r, upright_box(Tagged(path, r, size, datetime.min), facts)) for r in regions)
    return tuple(Tag(r.type.casefold() == "pet", box) for r, box in boxes if box is not None)


def _size_of(path: Path) -> PictureFacts | None:
    """Return the size and orientation of a photo's picture; None if it cannot be read."""
    try:
        file = read_photo(path)
        size = read_size(file)
        if size is None:
            return decode_photo(file).facts
    except PhotoError:
        return None
    return PictureFacts(file.content_hash, *size, "", file.blocks.orientation)
