"""Time how a large library is found unchanged, without pixels: names, stamps and rows, against a bare walk."""

import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from engine.benchmarks.speed.measurement import Measurement, SpeedSettings, in_turn
from engine.captioning.results import PhotoResult
from engine.captioning.unchanged import UnchangedPhotos
from engine.core.batches import batched
from engine.core.types import PhotoFacts, Status
from engine.photos.discovery import FoundFile, find_files

PHOTOS = 20_000
_A_FOLDER = 1_000
_OLD = 1_700_000_000


def measure(settings: SpeedSettings) -> list[Measurement]:
    """Make a tree of empty photos with sidecars and their rows, then find all of it unchanged."""
    count = settings.photos or PHOTOS
    library = make_tree(settings.work / "library", count)
    remember(settings.work / "home", library)

    def ours() -> None:
        if count_unchanged(settings.work / "home", library) != count:
            raise RuntimeError("a photo that is unchanged was not known")

    seconds, walking = in_turn(ours, lambda: walk(library), settings.rounds)
    return [
        Measurement(
            "large-library",
            f"find {count} photos with two sidecars each unchanged, in a process that runs",
            "walk, look at three files a photo, one indexed query a folder, results from the table",
            "os.scandir and stat of every file",
            seconds,
            walking,
            target="1,000,000 photos with at most 1 GB",
            predicted="0.1 to 0.2: results are made of JSON, one for each photo",
            extra={
                "microseconds a photo": 1e6 * median(seconds) / count,
                "MB of Python objects at the peak": traced_peak(ours) / 1e6,
                "MB of tables": sum(p.stat().st_size for p in (settings.work / "home").rglob("*.db*")) / 1e6,
            },
        )
    ]


def make_tree(library: Path, count: int) -> Path:
    """Make empty photos with both sidecars, in folders of 1,000."""
    for i in range(count):
        photo = library / f"{i // _A_FOLDER:04}" / f"IMG_{i:07}.jpg"
        photo.parent.mkdir(parents=True, exist_ok=True)
        for path in (photo, photo.with_name(f"{photo.name}.xmp"), photo.with_name(f"{photo.name}.myvlm.json")):
            path.touch()
        os.utime(photo, (_OLD, _OLD))
    return library


def remember(home: Path, library: Path) -> None:
    """Write the rows that a run would have left."""
    unchanged = UnchangedPhotos(home, "speed")
    for some in batched(find_files([library]), _A_FOLDER):
        unchanged.keep_results((look, (_result(file),)) for file in some if (look := unchanged.look(file)))


def _result(file: FoundFile) -> PhotoResult:
    facts = PhotoFacts("0" * 64, 4000, 3000, "JPEG", 1, "2024-05-01T12:00:00", (54.3, 10.1))
    return PhotoResult(file.path, Status.UNCHANGED, "A dog is asleep on a sofa.", facts=facts, reason="up to date")


def count_unchanged(home: Path, library: Path) -> int:
    """Return how many photos are known to be unchanged."""
    unchanged = UnchangedPhotos(home, "speed")
    known, _ = unchanged.split(find_files([library]))
    count = sum(1 for _ in known)
    unchanged.finish()
    return count


def walk(library: Path) -> int:
    """Stat every file; return how many there are."""
    return sum(1 for _ in _stat_all(library))


def _stat_all(folder: Path) -> Iterator[os.stat_result]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _stat_all(Path(entry.path))
            else:
                yield entry.stat()


def traced_peak(run: Callable[[], object]) -> int:
    """Return the most bytes of Python objects that a run holds at a time."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
