"""Kill captioning runs at random moments and look at what they leave: `python -m tests.kill --kills 200 --photos 200`.

Models are loaded once; every run is a fork of this process that captions the library and gets SIGKILL. Sidecars must be
as they were or as an undisturbed run makes them; the store must open; a run that is let to its end must complete the
library and leave no temporary file. Then the library is put back and it starts again.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import sys
import time
from collections import Counter
from pathlib import Path

from engine.core.paths import stay_offline

stay_offline()
HUMAN = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
    b' xmp:Rating="4">%s<dc:subject><rdf:Bag><rdf:li>holiday</rdf:li></rdf:Bag></dc:subject></rdf:Description>'
    b"</rdf:RDF></x:xmpmeta>"
)
WORDS = b'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">Our summer</rdf:li></rdf:Alt></dc:description>'
_OWN_EACH_RUN = re.compile(rb"<(myvlm:Run|xmp:MetadataDate)>[^<]*<|(myvlm:Run|xmp:MetadataDate)=\"[^\"]*\"")


def make_library(base: Path, photos: int) -> Path:
    """Drawn photos, a third of which have a sidecar of a human's."""
    from tests.learned import draw_album

    folder = base / "library"
    made = 0
    while made < photos:
        part = folder / f"{made:04d}"
        draw_album(part)
        for k, path in enumerate(sorted(part.glob("*.jpg"))):
            if k == 0:
                path.with_name(path.name + ".xmp").write_bytes(HUMAN % (WORDS if made % 2 else b""))
            made += 1
    return folder


def vary(folder: Path) -> None:
    """Make every photo's bytes its own."""
    for n, path in enumerate(sorted(folder.rglob("*.jpg"))):
        from PIL import Image

        with Image.open(path) as opened:
            image = opened.copy()
            exif = opened.getexif()
        image.putpixel((0, 0), (n % 256, n // 256, 0))
        image.save(path, quality=92, exif=exif)


def sidecars(folder: Path) -> dict[str, bytes]:
    """Every sidecar, without the time and the run."""
    found = (p for p in folder.rglob("*") if p.suffix in (".xmp", ".json"))
    return {str(p.relative_to(folder)): _OWN_EACH_RUN.sub(b"", p.read_bytes()) for p in found}


def run_captions(home: Path, folder: Path, ready: int | None) -> None:
    """Caption the library in this process; the first result is told through the pipe `ready`."""
    from engine.captioning.caption import caption_photos
    from engine.captioning.caption_run import CaptionRequest
    from engine.photos.discovery import find_files
    from engine.session import Session, SessionOptions

    session = Session(SessionOptions("storybook", device="cpu"), home)
    session.__dict__["vlm"] = VLM
    failed = 0
    for result in caption_photos(session, find_files([folder]), CaptionRequest()):
        failed += result.status == "failed"
        if ready is not None:
            os.write(ready, b".")
            ready = None
    os._exit(3 if failed else 0)


VLM = None


def load_models(home: Path) -> None:
    """What all forks share."""
    import torch

    from engine.session import Session, SessionOptions

    global VLM
    torch.set_num_threads(1)
    VLM = Session(SessionOptions("storybook", device="cpu"), home).vlm


def fork_run(home: Path, folder: Path, kill_after: float | None) -> float | None:
    """One run; its seconds from the first result to its end, None when it was killed `kill_after` seconds after it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        run_captions(home, folder, writing)
    os.close(writing)
    os.read(reading, 1)
    os.close(reading)
    began = time.monotonic()
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return None
    assert os.WEXITSTATUS(status) == 0, f"the run failed: {os.WEXITSTATUS(status)}"
    return time.monotonic() - began


def check(folder: Path, old: dict[str, bytes], new: dict[str, bytes], home: Path) -> Counter:
    """Every sidecar is the old or the new one, and the databases are whole."""
    counts: Counter[str] = Counter()
    for name, data in sidecars(folder).items():
        if data == new.get(name):
            counts["new"] += 1
        elif data == old.get(name):
            counts["old"] += 1
        else:
            raise AssertionError(f"{name} is neither the old nor the new one: {data[:300]!r}")
    missing = [n for n in old if n not in sidecars(folder)]
    assert not missing, f"lost: {missing}"
    for name in ("store.db", "journal.db"):
        if (home / name).exists():
            with sqlite3.connect(home / name) as db:
                assert db.execute("pragma integrity_check").fetchone() == ("ok",)
    return counts


def temporaries(*folders: Path) -> list[Path]:
    """Temporary files that lie about."""
    return [p for f in folders for p in f.rglob("*") if "myvlm-tmp" in p.name]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, help="seconds from a run's first result to its kill; default: its end")
    parser.add_argument("--home", type=Path, help="a store that knows somebody in the photos; default: one is learned")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    from tests.learned import learned

    home = options.folder / "home"
    shutil.copytree(options.home or learned(options.folder / "learned") / "home", home)
    library = make_library(options.folder, options.photos)
    vary(library)
    pristine = options.folder / "pristine"
    shutil.copytree(library, pristine)
    old = sidecars(library)
    load_models(home)
    began = time.monotonic()
    longest = fork_run(home, library, None)
    assert longest is not None
    longest = options.longest or longest
    seconds = time.monotonic() - began
    new = sidecars(library)
    photos = sum(1 for _ in library.rglob("*.jpg"))
    assert len(new) == 2 * photos, (len(new), photos)
    rng = random.Random(options.seed)
    kills = completed = swept = left = 0
    seen: Counter[str] = Counter()
    shutil.rmtree(library)
    shutil.copytree(pristine, library)
    while kills < options.kills:
        ended = fork_run(home, library, rng.uniform(0, longest)) is not None
        if not ended:
            kills += 1
            left += len(temporaries(library))
            seen += check(library, old, new, home)
            ended = kills % 20 == 0 or kills == options.kills
        if ended:
            swept += len(temporaries(library))
            assert fork_run(home, library, None) is not None
            assert sidecars(library) == new
            assert not temporaries(library, home), temporaries(library, home)
            completed += 1
            shutil.rmtree(library)
            shutil.copytree(pristine, library)
    report = {
        "photos": photos,
        "kills": kills,
        "completed_runs": completed,
        "one_run_s": round(seconds, 1),
        "sidecars_looked_at": dict(seen),
        "temporaries_left_by_kills": left,
        "temporaries_swept": swept,
        "seconds": round(time.monotonic() - began, 1),
    }
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
