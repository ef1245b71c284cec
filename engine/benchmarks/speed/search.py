"""Time `myvlm search` over a generated index, against reading the JSON sidecars of a fraction of these photos."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from engine.benchmarks.speed.measurement import Measurement, SpeedSettings, in_turn
from engine.core.boxes import Box
from engine.core.types import Kind, Match, PhotoFacts
from engine.library.index import IndexedName, IndexedPhoto, IndexUpdate, LibraryIndex
from engine.library.query import parse_terms
from engine.library.search import Near, SearchCounts, SearchRequest, distance_km, search
from engine.library.update import PhotoFiles, index_photos
from engine.sidecars.json_sidecar import PhotoRecord, read_record, render_record
from engine.storybook.world.language import PLACE_PHRASES

PHOTOS = 100_000
_READ = 1_000
"""Photos whose JSON sidecars the baseline reads, and which are indexed from sidecars; the others are rows only."""
_NAMES = (("Rex", Kind.PET), ("Anna", Kind.PERSON), ("Big Mug", Kind.THING), ("Max", Kind.PERSON))
_DOING = ("sleeps", "runs", "stands", "sits", "plays", "waits", "jumps", "looks up")
_BOX = Box(0.0, 0.0, 100.0, 100.0)
_KIEL = (54.32, 10.14)


def measure(settings: SpeedSettings) -> list[Measurement]:
    """Search for each of `TASKS`."""
    count = settings.photos or PHOTOS
    photos = make_photos(settings, count)
    index_seconds = fill_index(settings.work / "home", photos)
    read = photos[:_READ]
    extra = {"ms a photo to index": 1000 * index_seconds / len(read)}
    return [_measure(settings, task, photos, extra) for task in TASKS]


def _has(record: PhotoRecord, name: str) -> bool:
    return any(m.name == name for m in record.matches)


def _is_near(record: PhotoRecord) -> bool:
    km = distance_km(_NEAR, *(record.facts.place or (None, None)))
    return km is not None and km <= _NEAR.km and any(m.kind is Kind.PERSON for m in record.matches)


_NEAR = Near(*_KIEL, 5.0)
TASKS: dict[str, tuple[SearchRequest, Callable[[PhotoRecord], bool]]] = {
    "two words and a date, the first 100": (
        SearchRequest(parse_terms(["rex beach"]), since="2020", limit=100),
        lambda r: _has(r, "Rex") and "beach" in (r.caption or "") and (r.facts.taken or "") >= "2020",
    ),
    "a name in a third of the photos, all results": (SearchRequest(names=("rex",)), lambda r: _has(r, "Rex")),
    "a word in a third of the photos, all results": (
        SearchRequest(parse_terms(["rex"])),
        lambda r: "Rex" in (r.caption or ""),
    ),
    "a place and a kind": (SearchRequest(kinds=("person",), near=_NEAR), _is_near),
}
"""What is searched for, and how the baseline tells whether a photo is meant."""


def _measure(settings: SpeedSettings, task: str, photos: list[PhotoRecord], extra: dict[str, float]) -> Measurement:
    read = min(_READ, len(photos))
    found = len(with_index(settings, task))
    seconds, baseline_seconds = in_turn(
        lambda: with_index(settings, task), lambda: with_sidecars(settings, task, read), settings.rounds
    )
    return Measurement(
        "search",
        f"search {len(photos):,} photos: {task}",
        "the index, with a look whether each photo that is found is there",
        f"reading the JSON sidecars of {read:,} of the photos",
        seconds,
        baseline_seconds,
        target="<= .3 s for 100,000 photos",
        predicted="under .1 s where few photos are found: FTS5 reads only the entries of the words",
        extra={"photos found": float(found), **extra},
    )


def with_index(settings: SpeedSettings, task: str) -> list[str]:
    """Search with the index; return the paths."""
    return [photo.file for photo in search(settings.work / "home", TASKS[task][0], SearchCounts())]


def with_sidecars(settings: SpeedSettings, task: str, count: int) -> list[str]:
    """Search by reading the JSON sidecars of the first photos; return the paths."""
    paths = [settings.work / "photos" / f"{i:06}.jpg" for i in range(count)]
    fits = TASKS[task][1]
    return [str(p) for p in paths if (record := read_record(_json(p))) is not None and fits(record)]


def make_photos(settings: SpeedSettings, count: int) -> list[PhotoRecord]:
    """Make the records of photos, with empty files in their place, and the sidecars of the first ones."""
    rng = np.random.default_rng(settings.seed)
    folder = settings.work / "photos"
    folder.mkdir(parents=True)
    records = []
    for i in range(count):
        path = folder / f"{i:06}.jpg"
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        records.append(_record(rng, i))
        if i < _READ:
            _json(path).write_bytes(render_record(records[-1]))
    return records


def _record(rng: np.random.Generator, i: int) -> PhotoRecord:
    """Make a record with none to two names, a sentence, a date within 20 years, and a place in half of the photos."""
    matches = tuple(
        Match(f"c{k}", *_NAMES[k], 1, 5.0, 1.0, _BOX, "detector") for k in rng.permutation(4)[: rng.integers(0, 4)]
    )
    subject = " and ".join(m.name for m in matches) or "Somebody"
    places = tuple(PLACE_PHRASES.values())
    caption = f"{subject} {_DOING[rng.integers(len(_DOING))]} {places[rng.integers(len(places))]} {rng.integers(1000)}."
    taken = f"{2005 + rng.integers(20)}-{1 + rng.integers(12):02}-{1 + rng.integers(28):02}T12:00:00"
    latitude, longitude = (float(x) for x in np.array(_KIEL) + rng.normal(0, 1, 2))
    facts = PhotoFacts(f"{i:06}", 100, 100, "JPEG", 1, taken, (latitude, longitude) if i % 2 else None)
    return PhotoRecord(facts, caption, matches, "vlm", "1", "key")


def fill_index(home: Path, records: list[PhotoRecord]) -> float:
    """Fill the index; return the seconds that it took for the photos with sidecars, in batches of 16."""
    folder = home.parent / "photos"
    with LibraryIndex(home) as index:
        rows = [_row(folder, r) for r in records[_READ:]]
        index.write(IndexUpdate(rows))
        photos = [folder / f"{r.facts.content_hash}.jpg" for r in records[:_READ]]
        began = time.perf_counter()
        for i in range(0, len(photos), 16):
            index_photos(index, [PhotoFiles(p, (_json(p),)) for p in photos[i : i + 16]])
        return time.perf_counter() - began


def _row(folder: Path, record: PhotoRecord) -> IndexedPhoto:
    names = tuple(IndexedName(m.name, str(m.kind), m.concept_id) for m in record.matches)
    path = folder / f"{record.facts.content_hash}.jpg"
    facts = record.facts
    return IndexedPhoto(
        path, record.caption or "", "myvlm", names, facts.taken, facts.place, facts.content_hash, (_json(path),), "-"
    )


def _json(path: Path) -> Path:
    return path.with_name(f"{path.name}.myvlm.json")
