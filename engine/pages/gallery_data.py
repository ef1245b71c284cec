"""Turn the photos of a gallery into the data that its scripts read: a head, and pages of some hundred photos.

All of it is ASCII, with `<`, `>` and `&` as escapes, so that no name, caption or path can end a script.
"""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_from_bytes

from engine.core.batches import batched
from engine.core.colours import colour_number
from engine.library.text import fold_name
from engine.pages.gallery_photos import GalleryPhoto
from engine.pages.pictures import data_uri
from engine.pages.render import plain_text

PAGE = 500
"""Photos in a page of data."""
_KINDS = ("person", "pet", "thing")
_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "'": "\\u0027"})

Data = dict[str, object]


@dataclass(frozen=True)
class GalleryName:
    """A name in a gallery. kind: person, pet or thing, "" for a keyword. photos: how many have it."""

    name: str
    kind: str
    photos: int


class GalleryData:
    """The data of a gallery. root: the folder that holds all photos; their addresses are relative to it."""

    def __init__(self, photos: Sequence[GalleryPhoto]) -> None:
        self.photos = photos
        self.names = count_names(photos)
        self.root = Path(os.path.commonpath({photo.path.parent for photo in photos})) if photos else Path("/")
        self._places = {fold_name(n.name): i for i, n in enumerate(self.names)}

    def head(self, title: str, folder: Path | None, *, more: int = 0, order: str = "") -> Data:
        """Return what a page shows before its photos.

        folder: of the gallery; addresses of photos beside it and below are relative, so that both can be moved
        together. more: how many photos were found but left out. order: as in `gallery.write_gallery`.
        """
        return {
            "title": plain_text(title),
            "root": _address_of(self.root, folder),
            "folder": plain_text(self.root),
            "photos": len(self.photos),
            "more": more,
            "order": order,
            "names": [[plain_text(n.name), n.kind, n.photos, colour_number(n.name)] for n in self.names],
        }

    def pages(self) -> list[list[Data]]:
        """Return the data of all photos, in pages."""
        return [[self.describe(photo) for photo in page] for page in batched(self.photos, PAGE)]

    def describe(self, photo: GalleryPhoto) -> Data:
        """Return the data of a photo, without what is empty."""
        names = [self._places[key] for key in dict.fromkeys(fold_name(n.name) for n in photo.names)]
        boxes = [[self._places[fold_name(b.name)], b.x, b.y, b.width, b.height] for b in photo.boxes]
        data: Data = {
            "path": plain_text(photo.path.relative_to(self.root)),
            "address": quote_from_bytes(os.fsencode(photo.path.relative_to(self.root))),
            "caption": plain_text(photo.caption),
            "by": photo.author,
            "taken": photo.taken,
            "town": plain_text(photo.town),
            "place": [round(degrees, 5) for degrees in photo.place] if photo.place else None,
            "names": names,
            "boxes": boxes,
            "also": [plain_text(name) for name in photo.also],
            "reason": plain_text(photo.reason),
        }
        if data["address"] == data["path"]:
            del data["address"]
        if photo.thumbnail is not None:
            data["size"] = [photo.thumbnail.width, photo.thumbnail.height]
            data["picture"] = data_uri(photo.thumbnail.data) if photo.thumbnail.data else photo.thumbnail.file
            data["large"] = photo.thumbnail.preview
        return {key: value for key, value in data.items() if value}


def count_names(photos: Sequence[GalleryPhoto]) -> list[GalleryName]:
    """Return the names of some photos: those of people, pets and things, then keywords; the most frequent first."""
    counts, kinds, first = Counter[str](), dict[str, Counter[str]](), dict[str, str]()
    for photo in photos:
        for key, name in {fold_name(n.name): n for n in reversed(photo.names)}.items():
            counts[key] += 1
            kinds.setdefault(key, Counter())[name.kind] += 1
            first[key] = min(first.get(key, name.name), name.name)
    names = [GalleryName(first[key], _usual_kind(kinds[key]), number) for key, number in counts.items()]
    return sorted(names, key=lambda n: (not n.kind, -n.photos, fold_name(n.name)))


def _usual_kind(kinds: Counter[str]) -> str:
    """Return the most frequent kind; "" only where no photo says any."""
    known = [kind for kind in _KINDS if kinds[kind]]
    return max(known, key=lambda kind: kinds[kind], default="")


def _address_of(folder: Path, beside: Path | None) -> str:
    """Return the address of a folder, ended by a slash: relative where it is below the parent of `beside`."""
    if beside is not None and folder.is_relative_to(beside.parent):
        below = os.fsencode(folder.relative_to(beside.parent))
        return f"../{'' if below == b'.' else quote_from_bytes(below) + '/'}"
    return f"{folder.as_uri().removesuffix('/')}/"


def script(page: int, photos: Sequence[Mapping[str, object]]) -> str:
    """Return a script file with the data of a page; pages have numbers from 0."""
    return f"myvlmPage({page}, {escaped_json(photos)});\n"


def escaped_json(value: object) -> str:
    """Return JSON that can stand in a script."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).translate(_ESCAPES)
