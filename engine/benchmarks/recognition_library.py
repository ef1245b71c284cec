"""A drawn library on the disk for a while: its ten concepts enrolled, its photos scanned, its thresholds calibrated."""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from engine.benchmarks.experiments import Part
from engine.benchmarks.library_cases import Library, draw_library, save_references, save_shot
from engine.benchmarks.library_figures import truth_of_library
from engine.benchmarks.recognition_measure import LibraryPhoto, measure, truth_document
from engine.concepts.enrol import enrol
from engine.core.errors import EngineError, NoUsablePhotoError
from engine.photos.discovery import FoundFile
from engine.recognition.calibrate import calibrate
from engine.recognition.scan import scan
from engine.session import Session, SessionOptions

Tell = Callable[[str], None]
_NEWS_EVERY = 500


@dataclass(frozen=True)
class ScannedLibrary:
    """A library that was drawn, enrolled, scanned and calibrated. root: its photos' folder; `seconds`: what each step
    took.
    """

    library: Library
    session: Session
    root: Path
    photos: Mapping[int, LibraryPhoto]
    seconds: Mapping[str, float]

    @property
    def files(self) -> list[FoundFile]:
        """Its photos, as they are found on the disk."""
        return [FoundFile(self.photos[s.number].drawn.path, "photo") for s in self.library.shots]


@contextmanager
def scanned_library(seed: int, photos: int, choices: SessionOptions, tell: Tell) -> Iterator[ScannedLibrary]:
    """Draw a library into a folder that is deleted at the end, enrol, scan and calibrate."""
    with TemporaryDirectory(prefix="myvlm-recognition-") as name:
        folder, library = Path(name), draw_library(seed, photos)
        session, watch = Session(choices, folder / "home"), Stopwatch()
        for e, own in zip(library.enrolled, save_references(library, folder / "references"), strict=True):
            try:
                enrol(session, e.name, [p.path for p in own], kind=e.kind)
            except NoUsablePhotoError as err:
                tell(f"library {seed}: {e.name} is not enrolled, and counts as missed: {err}")
        watch.lap("enrol")
        drawn = []
        for shot in library.shots:
            drawn.append(save_shot(shot, folder / "photos"))
            if len(drawn) % _NEWS_EVERY == 0:
                tell(f"library {seed}: {len(drawn)} of {photos} photos drawn")
        watch.lap("draw")
        found = {}
        for shot, truth, scanned in zip(library.shots, drawn, scan(session, [p.path for p in drawn]), strict=True):
            if scanned.content_hash is None:
                raise EngineError(f"{truth.path.name} could not be scanned: {scanned.reason}")
            found[shot.number] = LibraryPhoto(scanned.content_hash, truth)
        watch.lap("scan")
        done = ScannedLibrary(library, session, folder / "photos", found, watch.seconds)
        calibrate(session, done.files, done.root)
        watch.lap("calibrate")
        told = ", ".join(f"{k} {v:.0f} s" for k, v in watch.seconds.items())
        tell(f"library {seed}: {len(found)} photos ({told})")
        yield done


def measure_both(ready: ScannedLibrary) -> Part:
    """What the open-set heads and the paper's say of the same photos."""
    watch = Stopwatch()
    args = (ready.library, ready.photos, ready.root)
    heads = {"open-set": measure(ready.session, *args), "paper": measure(with_paper_heads(ready.session), *args)}
    watch.lap("measure")
    truth = truth_document(truth_of_library(ready.library))
    return {"seed": ready.library.seed, "truth": truth, "heads": heads, "seconds": {**ready.seconds, **watch.seconds}}


def with_paper_heads(session: Session) -> Session:
    """A session on the same store and features with the paper's heads."""
    other = Session(replace(session.choices, heads="paper"), session.folder)
    other.store, other.cache = session.store, session.cache
    return other


@contextmanager
def copied(session: Session) -> Iterator[Session]:
    """A session on a copy of the store, for what changes it; models and features are shared."""
    with TemporaryDirectory(prefix="myvlm-recognition-") as name:
        folder = Path(name) / "home"
        shutil.copytree(session.folder, folder, ignore=shutil.ignore_patterns("cache"))
        other = Session(session.choices, folder)
        other.recogniser, other.cache = session.recogniser, session.cache
        try:
            yield other
        finally:
            other.store.close()


class Stopwatch:
    """Seconds of wall time between laps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        """The time since the last lap was spent on this."""
        now = time.monotonic()
        self.seconds[name] = round(now - self._last, 3)
        self._last = now
