"""What grouping needs of a photo besides its features: content, date, and the regions that people named in it.

It is kept by how the photo and its sidecars look (`captioning/unchanged.py`), so that the next list reads no file.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.captioning.unchanged import Look, UnchangedFiles
from engine.core.boxes import Box
from engine.photos.discovery import FoundFile
from engine.sidecars.locate import PICASA_NAMES, Naming

_VERSION = "people-1"


@dataclass(frozen=True)
class Tag:
    """A region to which a person gave a name in another program. box: pixels of the upright photo."""

    is_pet: bool
    box: Box


@dataclass(frozen=True)
class PhotoFacts:
    """Facts about a photo. taken: ISO 8601, "" if the photo does not say. failure: why it cannot be read, or ""."""

    content_hash: str = ""
    taken: str = ""
    tags: tuple[Tag, ...] = ()
    failure: str = ""


class KnownFacts:
    """The facts of photos that look as they did, with their sidecars and Picasa's file of the folder."""

    def __init__(self, folder: Path, naming: Naming) -> None:
        """Use a data folder."""
        self._files = UnchangedFiles(folder, _VERSION, naming, "people", recalls=True)
        self._picasa: tuple[Path | None, str] = (None, "")

    def find(self, file: FoundFile) -> PhotoFacts | None:
        """Return the facts of a photo; None if they are not known."""
        text = self._files.find(file)
        row = None if text is None else json.loads(text)
        return _facts(row) if row is not None and row[-1] == self._look_at_picasa(file.path) else None

    def look(self, file: FoundFile) -> Look | None:
        """Look at a photo before it is read."""
        return self._files.look(file)

    def keep(self, looks: Sequence[Look | None], facts: Sequence[PhotoFacts]) -> None:
        """Keep the facts of photos that were looked at before they were read."""
        rows = ((look, f) for look, f in zip(looks, facts, strict=True) if look is not None)
        self._files.keep((look, _pack(f, self._look_at_picasa(look.file.path))) for look, f in rows)

    def finish(self) -> None:
        """Write what is not written yet."""
        self._files.finish()

    def _look_at_picasa(self, photo: Path) -> str:
        """Return how Picasa's file of a photo's folder looks."""
        folder = photo.parent
        if self._picasa[0] != folder:
            self._picasa = folder, " ".join(_stamp(folder / name) for name in PICASA_NAMES)
        return self._picasa[1]


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "-"
    return f"{status.st_size}.{status.st_mtime_ns}"


def _pack(facts: PhotoFacts, picasa: str) -> str:
    tags = [[t.is_pet, t.box.x0, t.box.y0, t.box.x1, t.box.y1] for t in facts.tags]
    return json.dumps([facts.content_hash, facts.taken, tags, facts.failure, picasa])


def _facts(row: Any) -> PhotoFacts:
    content_hash, taken, tags, failure, _ = row
    return PhotoFacts(content_hash, taken, tuple(Tag(pet, Box(*corners)) for pet, *corners in tags), failure)
