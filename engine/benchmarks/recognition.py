"""`myvlm evaluate --recognition`: recognition in drawn libraries, or on a user's photos; no VLM is loaded.

What is measured of a library is kept beside the tables, so that an interrupted run goes on with the next library.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from engine.benchmarks.experiments import Part, Parts
from engine.benchmarks.figures import Table
from engine.benchmarks.recognition_changes import measure_eleventh, measure_teaching
from engine.benchmarks.recognition_folder import folder_tables, measure_folder
from engine.benchmarks.recognition_library import ScannedLibrary, Tell, measure_both, scanned_library
from engine.benchmarks.recognition_table import Measured, recognition_tables
from engine.benchmarks.render import as_json, render_table
from engine.core.errors import EngineError, EnvironmentFault, UsageError
from engine.core.files import read_bytes, sha256_of, write_atomically
from engine.photos.photo_file import LARGEST_FILE
from engine.recognition.classifier import gallery_digest
from engine.session import Session, SessionOptions

MARK = "Written by `myvlm evaluate --recognition`"
_METHOD = 4
"""Raise it when recognition or its measurement changes: libraries are measured anew."""
_TAUGHT = 3
"""In so many libraries the worst concept is taught; in the first one an eleventh concept is enrolled."""
_DRAWN, _PHOTOS = "recognition", "recognition-photos"


@dataclass(frozen=True)
class RecognitionSettings:
    """Seeds of drawn libraries of `photos` photos; `data`: a user's folder instead; `workers`: processes, each of which
    measures a library.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    photos: int = 2000
    out: Path = Path("evaluation")
    data: Path | None = None
    recogniser: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    workers: int = 1

    @property
    def choices(self) -> SessionOptions:
        """Drawings are looked at as the storybook does, photos by the best that is on this disk."""
        return SessionOptions(None if self.data else "storybook", self.recogniser, self.device, self.dtype)

    def digest(self, what: str, seed: int) -> str:
        """What decides a library's measurements: another digest, and it is measured again."""
        session = Session(self.choices)
        config, method = session.recogniser_config, (_METHOD, gallery_digest(session, {}))
        known = (method, what, seed, self.photos, config.regions_id, config.found_faces_id)
        return sha256_of(repr(known).encode())[:16]


def evaluate_recognition(settings: RecognitionSettings, tell: Tell) -> tuple[dict[str, Any], list[Table]]:
    """Measure, and write the tables and a picture into a folder; returns the document and its tables.

    Raises:
        UsageError: the recogniser is unknown, the folder is none, or holds somebody else's file under such a name.
        WeightsMissingError: of the recogniser.
    """
    config = Session(settings.choices).recogniser_config
    stem = _PHOTOS if settings.data else _DRAWN
    _prepare(settings.out, stem)
    if settings.data:
        part = measure_folder(settings.data, settings.choices, tell)
        tables, picture = folder_tables(part), False
    else:
        found = measure_libraries(settings, tell)
        tables, picture = recognition_tables(found), _draw(settings.out / f"{stem}.png", found.libraries, tell)
    document = {"format": 1, "protocol": "recognition", "recogniser": config.name, "regions": config.regions_id}
    document |= {"faces": config.faces_id, "data": settings.data.name if settings.data else None}
    document |= {} if settings.data else {"seeds": list(settings.seeds), "photos": settings.photos}
    document |= {"tables": [t.document() for t in tables]}
    write_atomically(settings.out / f"{stem}.json", as_json(document))
    write_atomically(settings.out / f"{stem}.md", _page(config.name, tables, stem if picture else None).encode())
    tell(f"written: {settings.out / f'{stem}.md'}")
    return document, tables


def measure_libraries(settings: RecognitionSettings, tell: Tell) -> Measured:
    """Measure everything that is not yet on the disk; several workers measure a library each."""
    if settings.workers > 1:
        _share(settings, tell)
    libraries, teachings, eleventh = [], {}, None
    for turn, seed in enumerate(settings.seeds):
        found = _measure(settings, seed, _wanted(turn), tell)
        libraries.append(found["library"])
        if "teaching" in found:
            teachings[seed] = found["teaching"]
        eleventh = found.get("eleventh", eleventh)
    return Measured(libraries, teachings, eleventh)


def _wanted(turn: int) -> tuple[str, ...]:
    """What to measure of the library in this place; the clock runs in the first one."""
    return ("library", *(("eleventh",) if turn == 0 else ()), *(("teaching",) if turn < _TAUGHT else ()))


def _measure(settings: RecognitionSettings, seed: int, wanted: Sequence[str], tell: Tell) -> dict[str, Part]:
    """Parts of one library, which is drawn only when one of them is not on the disk."""
    parts = Parts(settings.out / "recognition-parts")
    with ExitStack() as stack:

        @lru_cache(maxsize=1)
        def ready() -> ScannedLibrary:
            return stack.enter_context(scanned_library(seed, settings.photos, settings.choices, tell))

        make: dict[str, Callable[[], Part]] = {
            "library": lambda: _alone(lambda: measure_both(ready())),
            "teaching": lambda: _alone(lambda: measure_teaching(ready())),
            "eleventh": lambda: measure_eleventh(_alone(ready)),
        }
        return {w: parts.get(f"{w}-seed{seed}", settings.digest(w, seed), make[w]) for w in wanted}


def _alone(work: Callable[[], Any]) -> Any:
    """Work with one thread of torch: sums, and so names, are those of several workers."""
    with _one_thread():
        return work()


@contextmanager
def _one_thread() -> Iterator[None]:
    import engine.core.device  # noqa: F401, I001
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _share(settings: RecognitionSettings, tell: Tell) -> None:
    """Let processes fill the folder of parts; what they cannot measure is found out again afterwards. Nothing is timed
    beside other work.
    """
    wanted = [tuple(w for w in _wanted(turn) if w != "eleventh") for turn in range(len(settings.seeds))]
    jobs = [(replace(settings, workers=1), seed, own) for seed, own in zip(settings.seeds, wanted, strict=True)]
    try:
        with ProcessPoolExecutor(min(settings.workers, len(jobs)), get_context("spawn")) as pool:
            for (_, seed, _), done in zip(jobs, pool.map(_work, *zip(*jobs, strict=True)), strict=True):
                tell(f"library {seed}: " + ("measured" if done else "not measured yet"))
    except BrokenProcessPool as err:
        raise EnvironmentFault("a worker died, perhaps for lack of memory", hint="Use fewer --workers.") from err


def _work(settings: RecognitionSettings, seed: int, wanted: Sequence[str]) -> bool:
    try:
        _measure(settings, seed, wanted, lambda text: None)
    except EngineError:
        return False
    return True


def _prepare(folder: Path, stem: str) -> None:
    """Make the folder, and see that nobody else's file is overwritten."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise UsageError(f"--out {folder}: {err.strerror}", hint="Give a folder for the tables and the plot.") from err
    from engine.benchmarks.plots import ours

    known: dict[str, Callable[[bytes], bool]] = {"md": lambda data: MARK.encode() in data, "json": _is_document}
    for suffix, check in {**known, "png": ours}.items():
        path = folder / f"{stem}.{suffix}"
        if path.exists() and not (path.is_file() and check(read_bytes(path, LARGEST_FILE))):
            raise UsageError(f"{path} is not from `myvlm evaluate --recognition`", hint="Give --out another folder.")


def _is_document(data: bytes) -> bool:
    try:
        found = json.loads(data)
    except ValueError:
        return False
    return isinstance(found, dict) and found.get("protocol") == "recognition"


def _draw(path: Path, libraries: Sequence[Part], tell: Tell) -> bool:
    from engine.benchmarks.recognition_plot import draw_recognition

    try:
        draw_recognition(libraries, path)
    except EnvironmentFault as err:
        tell(f"no plot: {err}. {err.hint}")
        return False
    return True


def _page(recogniser: str, tables: Sequence[Table], picture: str | None) -> str:
    head = f"# Recognition, as measured\n\n{MARK}; do not edit.\n\nRecogniser: `{recogniser}`. No VLM took part.\n"
    drawn = f"\n![False names against recall, and recall of each concept]({picture}.png)\n" if picture else ""
    return f"{head}\n" + "\n".join(render_table(t) for t in tables) + drawn
