"""Find photos in the index by words, names, kinds, dates, places and folders; loads no model, numpy or lxml."""

import json
import math
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.core.errors import UsageError
from engine.library.index import IndexedName, LibraryIndex
from engine.library.paths import BELOW, bounds, stamp_of, unpack_paths
from engine.library.query import Term, match_expression
from engine.library.stored import read_stored
from engine.library.text import fold_name

_EARTH_KM = 6371.0088
"""Mean radius of the Earth in km (IUGG)."""
_WEIGHTS = "4.0, 1.0, 4.0"
"""Weights of a word among the names, in the caption, and of a concept, for bm25; chosen, not measured."""
_NUMBER = r"\d+(?:\.\d*)?"
_NEAR = re.compile(rf"\s*([+-]?{_NUMBER})\s*,\s*([+-]?{_NUMBER})\s*(?:,\s*({_NUMBER})\s*(km|m)\s*)?", re.ASCII)
CHECKED = 500
"""Results of which it is checked whether their sidecars changed since they were indexed."""
COLUMNS = (
    "photos.id, path, photos.caption, author, photos.names, taken, latitude, longitude,"
    " (select count(*) from suggestions where photo = photos.id), sidecars"
)


@dataclass(frozen=True)
class Near:
    """A circle on the map. latitude, longitude: of its centre in degrees. km: its radius."""

    latitude: float
    longitude: float
    km: float


def read_near(text: str) -> Near:
    """Read `latitude,longitude,distance`: degrees, and kilometres or metres (5km, 300m); without a distance 1 km.

    Raises:
        UsageError: the text is not of this form, or not on Earth.
    """
    match = _NEAR.fullmatch(text)
    if match is None:
        raise UsageError(f"--near: {text!r} is not latitude,longitude,distance", hint="Example: --near 54.3,10.1,5km")
    latitude, longitude, number = float(match[1]), float(match[2]), float(match[3] or 1)
    if abs(latitude) > 90 or abs(longitude) > 180:
        raise UsageError(f"--near: {text!r} is not on Earth", hint="Latitudes are -90..90, longitudes -180..180.")
    return Near(latitude, longitude, number / 1000 if match[4] == "m" else number)


@dataclass(frozen=True)
class SearchRequest:
    """What to find: all conditions must hold.

    names: exact names, whatever their case. kinds: person, pet or thing; a photo with any of them. since, until: ISO
    8601 dates or moments by the camera's clock; since is inclusive, until exclusive. folders: photos in any of them.
    """

    terms: tuple[Term, ...] = ()
    names: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None
    near: Near | None = None
    folders: tuple[Path, ...] = ()
    limit: int | None = None

    @property
    def asks_for_words(self) -> bool:
        """Whether photos must have words, so that some match better than others."""
        return any(not t.excluded for t in self.terms)


@dataclass(frozen=True, slots=True)
class FoundPhoto:
    """A photo that was found, as it is in the index; see `index.IndexedPhoto`.

    file: its path. stored_names, stored_sidecars: its names and the paths of its sidecars as the index stores them. km:
    distance from `Near`'s centre. suggestions: how many concepts are suggested. present: names of the enrolled
    concepts, by id. likeness: cosine similarity to a description, -1..1.
    """

    file: str
    caption: str
    author: str
    stored_names: str
    taken: str | None
    place: tuple[float, float] | None
    km: float | None
    suggestions: int
    present: Mapping[str, str]
    likeness: float | None = None
    stored_sidecars: str = "[]"

    @property
    def path(self) -> Path:
        """The photo's path."""
        return Path(self.file)

    @property
    def sidecars(self) -> tuple[Path, ...]:
        """The sidecars that were indexed."""
        return unpack_paths(self.stored_sidecars)

    @property
    def names(self) -> tuple[IndexedName, ...]:
        """The names in its sidecars, each once; those of concepts as the concepts are called now."""
        distinct: dict[str, IndexedName] = {}
        for stored, kind, concept_id in json.loads(self.stored_names):
            name = self.present.get(concept_id, stored)
            distinct.setdefault(fold_name(name), IndexedName(name, kind, concept_id))
        return tuple(distinct.values())


@dataclass
class SearchCounts:
    """Counts of a search, which are complete when all results are taken.

    gone: photos that were found but do not exist any more, or whose disk is not mounted. changed: photos whose sidecars
    changed since they were indexed, among the first 500. indexed: photos in the index. more: whether the limit left
    others out. unscanned: photos that fulfil the request but that the encoder has not seen, where they are ranked by a
    description.
    """

    indexed: int = 0
    gone: int = 0
    changed: int = 0
    more: bool = False
    unscanned: int = 0


def search(folder: Path, request: SearchRequest, counts: SearchCounts) -> Iterator[FoundPhoto]:
    """Yield the photos that fulfil a request: the best first, else the nearest, else the newest. Creates no file.

    folder: the data folder. counts: is filled while results are taken.

    Raises:
        StoreError: the index is damaged or in use.
    """
    index = LibraryIndex(folder)
    if not index.path.exists():
        return
    with index, index.guarded() as db:
        counts.indexed = db.execute("select count(*) from photos").fetchone()[0]
        stored = read_stored(folder)
        rows = _select(db, request, stored.ids)
        number = 0
        for photo_id, *row in rows:
            photo = read_row(row, request.near, stored.names)
            if not os.path.lexists(photo.file):
                counts.gone += 1
                continue
            counts.changed += number < CHECKED and has_changed(db, photo_id)
            yield photo
            number += 1
            if number == request.limit:
                counts.more = next(rows, None) is not None
                return


def failed_photos(folder: Path, within: Sequence[Path]) -> list[tuple[Path, str]]:
    """Return the photos in some folders that failed when they were last captioned or indexed, with the reasons.

    folder: the data folder.

    Raises:
        StoreError: the index is damaged or in use.
    """
    index = LibraryIndex(folder)
    if not index.path.exists():
        return []
    query = f"select path, reason from failures where {' or '.join([BELOW] * len(within)) or '0'} order by path"
    with index, index.guarded() as db:
        rows = db.execute(query, [end for path in within for end in bounds(path)]).fetchall()
    return [(Path(os.fsdecode(path)), reason) for path, reason in rows if os.path.lexists(path)]


def _select(db: sqlite3.Connection, request: SearchRequest, concepts: Mapping[str, str]) -> sqlite3.Cursor:
    """Return the columns `COLUMNS` of the photos in the order of results."""
    source, values = matching(db, request, concepts)
    order = ["taken is null", "taken desc", "path"]
    if request.asks_for_words:
        order.insert(0, f"bm25(words, {_WEIGHTS})")
    elif request.near:
        order.insert(0, "km(latitude, longitude)")
    return db.execute(f"select {COLUMNS} {source} order by {', '.join(order)}", values)


def matching(db: sqlite3.Connection, request: SearchRequest, concepts: Mapping[str, str]) -> tuple[str, list[object]]:
    """Return `from … where …` for the photos that fulfil a request, with its values; its function is made in `db`.

    concepts: ids of the enrolled concepts by folded name.
    """
    wanted = [t for t in request.terms if not t.excluded]
    conditions, values = _conditions(request, concepts)
    source = "photos"
    if wanted:
        source = "words join photos on photos.id = words.rowid"
        conditions.insert(0, "words match ?")
        values.insert(0, match_expression(wanted, concepts))
    if request.near:
        near = request.near
        db.create_function("km", 2, lambda lat, lon: distance_km(near, lat, lon), deterministic=True)
    return f"from {source}" + (f" where {' and '.join(conditions)}" if conditions else ""), values


def _conditions(request: SearchRequest, concepts: Mapping[str, str]) -> tuple[list[str], list[object]]:
    """Return the conditions besides the words, with their values."""
    conditions: list[str] = []
    values: list[object] = []

    def add(condition: str, *parameters: object) -> None:
        conditions.append(condition)
        values.extend(parameters)

    for term in request.terms:
        if term.excluded:
            expression = match_expression([term], concepts)
            add("photos.id not in (select rowid from words where words match ?)", expression)
    for name in request.names:
        key = fold_name(name)
        add("photos.id in (select photo from names where key = ? or concept = ?)", key, concepts.get(key, "\0"))
    if request.kinds:
        marks = ", ".join("?" * len(request.kinds))
        add(f"photos.id in (select photo from names where kind in ({marks}))", *request.kinds)
    if request.since:
        add("taken >= ?", request.since)
    if request.until:
        add("taken < ?", request.until)
    if request.near:
        south, north = _latitudes(request.near)
        add("latitude between ? and ?", south, north)
        add("km(latitude, longitude) <= ?", request.near.km)
    if request.folders:
        ends = [end for folder in request.folders for end in bounds(folder)]
        add(f"({' or '.join([BELOW] * len(request.folders))})", *ends)
    return conditions, values


def _latitudes(near: Near) -> tuple[float, float]:
    """Return the southernmost and northernmost latitude of a circle; a degree is at least 111 km."""
    degrees = math.degrees(near.km / _EARTH_KM)
    return near.latitude - degrees, near.latitude + degrees


def distance_km(near: Near, latitude: float | None, longitude: float | None) -> float | None:
    """Return the distance of a place from a centre on a sphere, by the haversine formula (Sinnott 1984).

    None for no place.
    """
    if latitude is None or longitude is None:
        return None
    a, b = math.radians(near.latitude), math.radians(latitude)
    half = math.sin((b - a) / 2) ** 2
    half += math.cos(a) * math.cos(b) * math.sin(math.radians(longitude - near.longitude) / 2) ** 2
    return 2 * _EARTH_KM * math.asin(min(1.0, math.sqrt(half)))


def read_row(row: Sequence[Any], near: Near | None, present: Mapping[str, str]) -> FoundPhoto:
    """Make a result of the columns `COLUMNS` after the id. present: names of the enrolled concepts, by id."""
    path, caption, author, names, taken, latitude, longitude, suggestions, sidecars = row
    place = None if latitude is None else (latitude, longitude)
    km = distance_km(near, latitude, longitude) if near else None
    file = os.fsdecode(path)
    return FoundPhoto(file, caption, author, names, taken, place, km, suggestions, present, stored_sidecars=sidecars)


def has_changed(db: sqlite3.Connection, photo_id: int) -> bool:
    """Return whether the photo or its sidecars changed since they were indexed."""
    path, sidecars, stamp = db.execute("select path, sidecars, stamp from photos where id = ?", [photo_id]).fetchone()
    return stamp_of([Path(os.fsdecode(path)), *unpack_paths(sidecars)]) != stamp
