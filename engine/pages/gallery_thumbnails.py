"""Make the thumbnails of a gallery: once for each photo, again only when the photo has changed.

The name of a thumbnail is made of the photo's path, size and modification time, and holds the thumbnail's own size. So
the names in a folder say which photos need none, and nothing else has to be stored.
"""

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from engine.core.errors import PhotoError
from engine.core.files import write_private
from engine.pages.pictures import jpeg, thumbnail
from engine.photos.decode import decode_photo, read_photo

SIDE, PREVIEW_SIDE = 512, 1600
"""Longest sides in pixels: of thumbnails, and of the copies of photos that browsers cannot show."""
_QUALITY = 80
_VERSION = 1
"""Rises when thumbnails are made in another way, so that they are made anew."""
_NAME = re.compile(r"([0-9a-f]{24})-(\d{1,5})x(\d{1,5})(-large)?\.jpg")
_SHOWN_BY_BROWSERS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".avif", ".bmp", ".dib"}
)


@dataclass(frozen=True)
class Thumbnail:
    """A thumbnail. file: its name; "" if it is only in memory. width, height: in pixels. data: its bytes, if they are
    wanted in memory. preview: name of a larger copy, "" if browsers show the photo itself.
    """

    width: int
    height: int
    file: str = ""
    preview: str = ""
    data: bytes = field(default=b"", repr=False)


def make_in_memory(path: Path, side: int) -> Thumbnail:
    """Make a thumbnail for a page that holds its pictures.

    Raises:
        PhotoError: the photo cannot be read.
    """
    picture = thumbnail(decode_photo(read_photo(path), edge=side).image, side)
    return Thumbnail(*picture.size, data=jpeg(picture, _QUALITY))


class ThumbnailFolder:
    """The thumbnails in a folder. Several threads may use one."""

    def __init__(self, folder: Path) -> None:
        """List a folder that exists."""
        self.folder = folder
        self.made: list[str] = []
        self._known = _list(folder)
        self._used: set[str] = set()

    def of(self, path: Path) -> Thumbnail:
        """Return the thumbnail of a photo, made if it is not there.

        Raises:
            PhotoError: the photo cannot be read.
            OSError: the thumbnail cannot be written.
        """
        key, needs_preview = _key(path), path.suffix.lower() not in _SHOWN_BY_BROWSERS
        known, preview = self._known.get((key, False)), self._known.get((key, True)) if needs_preview else None
        if known is None or (needs_preview and preview is None):
            return self._make(path, key, with_preview=needs_preview)
        found = Thumbnail(*_size(known), known, preview or "")
        self._used |= {found.file, found.preview}
        return found

    def _make(self, path: Path, key: str, *, with_preview: bool) -> Thumbnail:
        image = decode_photo(read_photo(path), edge=PREVIEW_SIDE if with_preview else SIDE).image
        small = thumbnail(image, SIDE)
        names = []
        for picture, ending in [(small, "")] + ([(thumbnail(image, PREVIEW_SIDE), "-large")] if with_preview else []):
            names.append(f"{key}-{picture.width}x{picture.height}{ending}.jpg")
            write_private(self.folder / names[-1], jpeg(picture, _QUALITY), sync=False)
            self._used.add(names[-1])
        self.made.append(names[0])
        return Thumbnail(*small.size, names[0], names[1] if with_preview else "")

    def remove_unused(self) -> int:
        """Delete the thumbnails that were not asked for, and no other files; return how many there were."""
        unused = sorted(set(self._known.values()) - self._used)
        for name in unused:
            (self.folder / name).unlink(missing_ok=True)
        return sum("-large" not in name for name in unused)

    def size(self) -> int:
        """Return the bytes of the thumbnails in use."""
        return sum((self.folder / name).stat().st_size for name in self._used if name)


def _list(folder: Path) -> dict[tuple[str, bool], str]:
    """Return the names of thumbnails in a folder, by key and whether they are previews; empty files do not count."""
    known = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            match = _NAME.fullmatch(entry.name)
            if match and entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_size:
                known[match[1], bool(match[4])] = entry.name
    return known


def _size(name: str) -> tuple[int, int]:
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(name)
    return int(match[2]), int(match[3])


def _key(path: Path) -> str:
    """Return what a thumbnail's name begins with: it differs when the photo has changed.

    Raises:
        PhotoError: the photo is not there.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as err:
        raise PhotoError(f"{path}: {getattr(err, 'strerror', None) or err}", hint="Check the path.") from err
    state = f"{_VERSION} {SIDE} {PREVIEW_SIDE} {status.st_size} {status.st_mtime_ns} "
    return hashlib.sha256(state.encode() + os.fsencode(path)).hexdigest()[:24]
