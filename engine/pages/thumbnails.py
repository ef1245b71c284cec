"""Make the pictures of a page when they are needed: several photos at a time, each decoded once, kept in memory."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from PIL import Image

from engine.core.boxes import Box
from engine.core.errors import PhotoError
from engine.pages.pictures import MARGIN, crop, framed, jpeg, thumbnail
from engine.photos.decode import Photo, decode_photo, read_photo

_MOST_BYTES = 256 * 2**20
"""Pictures in memory; the least recently used ones are made again."""
_WORKERS = 4
"""Most photos that are decoded at a time."""


_SMALL = 480
"""Longer side of pictures that are made together, in pixels; larger ones are seldom asked for."""


class View(StrEnum):
    """What a picture shows: a region with a margin, or the whole photo, the region framed."""

    REGION = "region"
    WHOLE = "whole"


@dataclass(frozen=True)
class Picture:
    """A picture that a page shows.

    content_hash: of the photo that is meant, None for whatever the file holds. box: in pixels of the upright photo,
    None for all of it. side: the longer side of the picture, in pixels. colour: of the frame.
    """

    path: Path
    content_hash: str | None
    box: Box | None
    view: View
    side: int
    colour: str = "white"


@dataclass(frozen=True)
class Made:
    """A picture as JPEG, or the reason why there is none."""

    data: bytes = b""
    reason: str = ""


class Thumbnails:
    """The pictures of a page by number. The small ones of one photo are made together, and so are the large ones."""

    def __init__(self, pictures: Sequence[Picture], most_bytes: int = _MOST_BYTES) -> None:
        self.pictures = tuple(pictures)
        self._together: dict[tuple[Path, str | None, bool], list[int]] = {}
        for number, picture in enumerate(self.pictures):
            self._together.setdefault(_batch_of(picture), []).append(number)
        self._made: OrderedDict[int, Made] = OrderedDict()
        self._most, self._size = most_bytes, 0
        self._lock = threading.Lock()
        self._running: dict[tuple[Path, str | None, bool], Future[dict[int, Made]]] = {}
        self._pool = ThreadPoolExecutor(min(_WORKERS, os.cpu_count() or 1), "thumbnails")

    def __len__(self) -> int:
        return len(self.pictures)

    def get(self, number: int) -> Made:
        """Return a picture; several threads may ask at a time.

        Raises:
            IndexError: there is no such picture.
        """
        if not 0 <= number < len(self.pictures):
            raise IndexError(number)
        key = _batch_of(self.pictures[number])
        with self._lock:
            if number in self._made:
                self._made.move_to_end(number)
                return self._made[number]
            if key not in self._running:
                self._running[key] = self._pool.submit(self._make, key)
            future = self._running[key]
        return future.result()[number]

    def close(self) -> None:
        """Make no more pictures; those that nobody has begun are dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _make(self, key: tuple[Path, str | None, bool]) -> dict[int, Made]:
        try:
            made = make_pictures({n: self.pictures[n] for n in self._together[key]})
            self._keep(made)
        finally:
            with self._lock:
                del self._running[key]
        return made

    def _keep(self, made: dict[int, Made]) -> None:
        with self._lock:
            for number, picture in made.items():
                known = self._made.pop(number, None)
                self._made[number] = picture
                self._size += len(picture.data) - (len(known.data) if known else 0)
            while self._size > self._most and len(self._made) > len(made):
                self._size -= len(self._made.popitem(last=False)[1].data)


def _batch_of(picture: Picture) -> tuple[Path, str | None, bool]:
    return picture.path, picture.content_hash, picture.side > _SMALL


def make_pictures(pictures: dict[int, Picture]) -> dict[int, Made]:
    """Make pictures of one photo, by number; it is decoded once, and once more at its full size if that is needed."""
    first = next(iter(pictures.values()))
    try:
        file = read_photo(first.path)
        if first.content_hash not in (None, file.content_hash):
            return dict.fromkeys(pictures, Made(reason="The photo has changed since."))
        photo = decode_photo(file, edge=2 * max(p.side for p in pictures.values()))
    except PhotoError:
        gone = not first.path.exists()
        reason = "The photo is not there any more." if gone else "The photo cannot be read."
        return dict.fromkeys(pictures, Made(reason=reason))
    full = cache(photo.at_full_size)
    return {number: Made(jpeg(_draw(photo, full, picture))) for number, picture in pictures.items()}


def _draw(photo: Photo, at_full_size: Callable[[], Image.Image], picture: Picture) -> Image.Image:
    """Draw a picture; a region that is small in a reduced photo is taken from the photo at its full size."""
    if picture.box is None:
        return thumbnail(photo.image, picture.side)
    if picture.view is View.WHOLE:
        return framed(photo.image, photo.in_image(picture.box), picture.side, picture.colour)
    box = photo.in_image(picture.box)
    if photo.full is None or MARGIN * max(box.x1 - box.x0, box.y1 - box.y0) >= picture.side:
        return crop(photo.image, box, picture.side)
    full = at_full_size()
    return crop(full, box.scaled(photo.image.size, full.size), picture.side)
