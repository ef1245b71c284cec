"""Draw a library into a temporary folder, enrol its ten concepts, scan its photos and calibrate the thresholds."""

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from engine.benchmarks.experiments import Measurement
from engine.benchmarks.library_cases import Library, draw_library, save_references, save_shot
from engine.benchmarks.library_figures import truth_of_library
from engine.benchmarks.recognition_measure import LibraryPhoto, measure_drawn, truth_document
from engine.benchmarks.workers import Notify
from engine.concepts.enrol import enrol
from engine.core.errors import EngineError, NoUsablePhotoError
from engine.photos.discovery import FoundFile
from engine.recognition.calibrate import calibrate
from engine.recognition.scan import scan
from engine.session import Session, SessionOptions
from engine.storybook.photos import DrawnPhoto

_NOTIFY_EVERY = 500  # photos


@dataclass(frozen=True)
class ScannedLibrary:
    """A library that was drawn, enrolled, scanned and calibrated.

    root: the folder of its photos; photos: by number; seconds: wall time of each step.
    """

    library: Library
    session: Session
    root: Path
    photos: Mapping[int, LibraryPhoto]
    seconds: Mapping[str, float]

    @property
    def files(self) -> list[FoundFile]:
        """The photos of the library, as discovery finds them on the disk."""
        return [FoundFile(self.photos[s.number].drawn.path, "photo") for s in self.library.shots]


@contextmanager
def scanned_library(seed: int, photos: int, choices: SessionOptions, notify: Notify) -> Iterator[ScannedLibrary]:
    """Draw a library into a folder that is deleted at the end; enrol, scan and calibrate it.

    Raises:
        EngineError: a photo could not be scanned.
    """
    with TemporaryDirectory(prefix="myvlm-recognition-") as name:
        folder, library = Path(name), draw_library(seed, photos)
        session, timer = Session(choices, folder / "home"), StepTimer()
        _enrol_all(session, library, folder / "references", notify)
        timer.record("enrol")
        drawn = []
        for shot in library.shots:
            drawn.append(save_shot(shot, folder / "photos"))
            if len(drawn) % _NOTIFY_EVERY == 0:
                notify(f"library {seed}: {len(drawn)} of {photos} photos drawn")
        timer.record("draw")
        by_number = _scan_all(session, library, drawn)
        timer.record("scan")
        scanned = ScannedLibrary(library, session, folder / "photos", by_number, timer.seconds)
        calibrate(session, scanned.files, scanned.root)
        timer.record("calibrate")
        steps = ", ".join(f"{k} {v:.0f} s" for k, v in timer.seconds.items())
        notify(f"library {seed}: {len(by_number)} photos ({steps})")
        yield scanned


def _enrol_all(session: Session, library: Library, folder: Path, notify: Notify) -> None:
    for individual, references in zip(library.enrolled, save_references(library, folder), strict=True):
        try:
            enrol(session, individual.name, [p.path for p in references], kind=individual.kind)
        except NoUsablePhotoError as err:
            notify(f"library {library.seed}: {individual.name} is not enrolled, and counts as missed: {err}")


def _scan_all(session: Session, library: Library, drawn: Sequence[DrawnPhoto]) -> dict[int, LibraryPhoto]:
    photos = {}
    for shot, photo, result in zip(library.shots, drawn, scan(session, [p.path for p in drawn]), strict=True):
        if result.content_hash is None:
            raise EngineError(f"{photo.path.name} could not be scanned: {result.reason}")
        photos[shot.number] = LibraryPhoto(result.content_hash, photo)
    return photos


def measure_both(scanned: ScannedLibrary) -> Measurement:
    """Measure the open-set heads and the paper's heads on the same photos."""
    timer = StepTimer()
    sessions = {"open-set": scanned.session, "paper": with_paper_heads(scanned.session)}
    heads = {k: measure_drawn(s, scanned.library, scanned.photos, scanned.root) for k, s in sessions.items()}
    timer.record("measure")
    truth = truth_document(truth_of_library(scanned.library))
    seconds = {**scanned.seconds, **timer.seconds}
    return {"seed": scanned.library.seed, "truth": truth, "heads": heads, "seconds": seconds}


def with_paper_heads(session: Session) -> Session:
    """Make a session with the paper's heads on the same store and features."""
    other = Session(replace(session.choices, heads="paper"), session.folder)
    other.store, other.cache = session.store, session.cache
    return other


@contextmanager
def copy_session(session: Session) -> Iterator[Session]:
    """Make a session on a copy of the store, so that it can be changed; models and features are shared."""
    with TemporaryDirectory(prefix="myvlm-recognition-") as name:
        folder = Path(name) / "home"
        shutil.copytree(session.folder, folder, ignore=shutil.ignore_patterns("cache"))
        other = Session(session.choices, folder)
        other.recogniser, other.cache = session.recogniser, session.cache
        try:
            yield other
        finally:
            other.store.close()


class StepTimer:
    """Wall time of consecutive steps, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def record(self, name: str) -> None:
        """Record the time since the previous step as that of this one."""
        now = time.monotonic()
        self.seconds[name] = round(now - self._last, 3)
        self._last = now
