"""What the driver and its workers send to each other: a photo to work on, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from engine.core.errors import PhotoError
from engine.photos.discovery import FoundFile
from engine.photos.photo_file import PhotoFile, read_photo
from engine.vision.cached_extractor import CachedExtractor

W = TypeVar("W")
R = TypeVar("R")
Features = Mapping[str, dict[str, np.ndarray]]
"""The features of a photo as the cache stores them: by model id, arrays by name."""


@dataclass(frozen=True)
class Job(Generic[W]):
    """A photo that needs a model. work: what the task has to know besides. size: of the file, in bytes.

    features: those that are known. place: the file's absolute path. data: the file, where the worker does not read it.
    """

    file: FoundFile
    content_hash: str
    size: int
    work: W
    features: Features = field(default_factory=dict)
    place: Path = Path()
    data: bytes | None = field(default=None, repr=False)

    @classmethod
    def of(cls, file: FoundFile, contents: PhotoFile, work: W, features: Features) -> "Job[W]":
        """Make the job of a file that the driver has read."""
        return cls(file, contents.content_hash, len(contents.data), work, features, file.path.absolute())

    def open(self) -> PhotoFile | None:
        """Return the photo's bytes; None where this machine cannot see the file, or sees another one at its path."""
        if self.data is not None:
            return PhotoFile(self.file.path, self.data, self.content_hash)
        try:
            found = read_photo(self.place)
        except PhotoError:
            return None
        return PhotoFile(self.file.path, found.data, found.content_hash) if self._is(found) else None

    def read_here(self) -> bytes:
        """Read the file again, on the driver, to send it to a worker.

        Raises:
            PhotoError: it can no longer be read, or changed since the driver read it.
        """
        found = read_photo(self.file.path)
        if not self._is(found):
            raise PhotoError(f"{self.file.path}: it changed during this run", hint="Run the same command again.")
        return found.data

    def _is(self, found: PhotoFile) -> bool:
        return found.content_hash == self.content_hash


@dataclass(frozen=True)
class Answer(Generic[R]):
    """What a worker made of a job. result: None where it cannot see the file. features: those that it computed."""

    result: R | None
    features: Features = field(default_factory=dict)


def known_features(extractor: CachedExtractor, content_hash: str, *, faces: bool, regions: bool) -> Features:
    """Return what the cache has of a photo: its faces, its regions, or both."""
    models = extractor.cached_ids(faces=faces, regions=regions)
    found = ((model, extractor.cache.load(content_hash, model)) for model in models)
    return {model: arrays for model, arrays in found if arrays is not None}
