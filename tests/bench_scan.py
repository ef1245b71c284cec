"""How fast a library is scanned, and a new concept matched over it: `python -m tests.bench_scan --photos 64 --of 2000`.

Draws `--photos` photos, scans them twice, copies their cache rows under other hashes until there are `--of` photos, and
matches one new concept over all of them with `look_up`. With `--grid` the recogniser has no detector, as
`dfn5b`, and every photo has 14 regions. Prints JSON; seconds are those of this machine, now.
"""

import argparse
import json
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.core.paths import stay_offline

if TYPE_CHECKING:
    from engine.session import Session

stay_offline()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=64)
    parser.add_argument("--of", type=int, default=2000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--grid", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), asked.photos, asked.of, asked.repeat, grid=asked.grid), indent=2))


def open_session(home: Path, *, grid: bool) -> "Session":
    """A session that has nothing loaded; `grid` leaves the detector out."""
    from engine.session import Session, SessionOptions

    session = Session(SessionOptions("storybook", device="cpu"), home)
    if grid:
        session.__dict__["recogniser_config"] = replace(session.recogniser_config, detector=None)
    return session


def measure(folder: Path, photos: int, many: int, repeat: int, *, grid: bool = False) -> dict[str, object]:
    """Everything in one run, on one machine."""
    from engine.concepts.enrol import enrol
    from engine.storybook.album import ANNA, REX
    from tests.learned import draw_references

    session = open_session(folder / "home", grid=grid)
    for name, who in (("Rex", REX), ("Anna", ANNA)):
        draw_references(folder / name, who, len(name))
        enrol(session, name, [folder / name])
    draw_library(folder / "library", photos)
    warm_up(session, folder / "Rex")
    decoding = timed(lambda: decode_all(folder / "library"))
    first, second = (timed(lambda: scan_all(session, folder / "library", photos)) for _ in range(2))
    hashes = copy_rows(folder / "home" / "cache" / "features.db", many)
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "photos": photos,
        "decode_only_photos_per_s": round(photos / decoding, 2),
        "first_scan_photos_per_s": round(photos / first, 2),
        "second_scan_photos_per_s": round(photos / second, 1),
        "matched_photos": len(hashes),
        "bytes_a_photo": round((folder / "home" / "cache" / "features.db").stat().st_size / len(hashes)),
        **{f"match_{n.lower()}_s": match(folder / "home", n, hashes, repeat, grid=grid) for n in ("Rex", "Anna")},
    }


def timed(call: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def draw_library(folder: Path, photos: int) -> None:
    """Photos with one or two figures, a third of them people; Rex and Anna are in every tenth."""
    import numpy as np

    from engine.storybook.album import ANNA, REX
    from engine.storybook.photos import save_photo
    from engine.storybook.world.individuals import draw_individual
    from engine.storybook.world.scenes import compose

    rng = np.random.default_rng(77)
    kinds = ("dog", "woman", "mug", "cat", "girl", "teapot")
    for k in range(photos):
        cast = tuple(draw_individual(rng, kinds[(k + j) % 6]) for j in range(1 + k % 2))
        cast = ({3: REX, 8: ANNA}.get(k % 10, cast[0]), *cast[1:])
        save_photo(compose(rng, cast), folder / f"{k:05d}.jpg", width=700)


def warm_up(session: "Session", folder: Path) -> None:
    """Load the models, and let them run once."""
    from engine.recognition.scan import scan

    list(scan(session, sorted(folder.glob("*.jpg"))))


def decode_all(folder: Path) -> None:
    """Read and decode every photo as a scan does, and nothing else."""
    from engine.core.batches import read_ahead
    from engine.photos.decode import load_photo

    for _ in read_ahead(sorted(folder.glob("*.jpg")), load_photo, ahead=4):
        pass


def scan_all(session: "Session", folder: Path, photos: int) -> None:
    """Scan the library."""
    from engine.photos.discovery import find_files
    from engine.recognition.scan import scan

    results = list(scan(session, find_files([folder])))
    assert len(results) == photos
    assert {r.status for r in results} <= {"ok", "unchanged"}


def copy_rows(path: Path, many: int) -> list[str]:
    """Fill the cache up to `many` photos with copies of its rows; the hashes of all that have faces and regions."""
    complete = "select content_hash from features group by content_hash having count(*) = 2"
    db = sqlite3.connect(path)
    known = [row[0] for row in db.execute(complete)]
    for k in range(max(0, many - len(known))):
        row = [f"{k:064x}", known[k % len(known)]]
        db.execute("insert into features select ?, model, data from features where content_hash = ?", row)
    db.commit()
    found = [row[0] for row in db.execute(complete)]
    db.close()
    return found[:many]


def match(home: Path, name: str, hashes: list[str], repeat: int, *, grid: bool) -> dict[str, object]:
    """Seconds to match one concept over all photos, in a session that has nothing loaded, and how often it is found."""
    from engine.recognition.gallery import load_gallery
    from engine.recognition.recognise import look_up

    def once() -> Iterator[bool]:
        session = open_session(home, grid=grid)
        enrolled = load_gallery(
            session.store, session.recogniser_config, session.recognition, [session.store.get(name)]
        )
        for content_hash in hashes:
            recognition = look_up(session.extractor, content_hash, enrolled)
            assert recognition is not None
            yield bool(recognition.matches)
        session.store.close()

    seconds = sorted(timed(lambda: sum(once())) for _ in range(repeat))
    return {"median": round(seconds[len(seconds) // 2], 3), "best": round(seconds[0], 3), "found": sum(once())}


if __name__ == "__main__":
    main()
