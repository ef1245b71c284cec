"""Run `myvlm evaluate --recognition`: recognition in drawn libraries; no VLM is loaded.

The measurements of each library are stored beside the tables, so that an interrupted run continues with the next one.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

from engine.benchmarks.experiments import Measurement, MeasurementStore
from engine.benchmarks.figures import Table
from engine.benchmarks.output import is_document, prepare_folder, refuse_foreign_file
from engine.benchmarks.recognition_changes import measure_decisions, measure_eleventh
from engine.benchmarks.recognition_library import ScannedLibrary, measure_both, scanned_library
from engine.benchmarks.recognition_table import RecognitionResults, recognition_tables
from engine.benchmarks.render import as_json, render_table
from engine.benchmarks.workers import Notify, one_thread, silent, worker_pool
from engine.core.errors import EngineError, EnvironmentFault
from engine.core.files import sha256_of, write_atomically
from engine.recognition.enrolled import gallery_digest
from engine.session import Session, SessionOptions

MARK = "Written by `myvlm evaluate --recognition`"
_METHOD = 4
"""Version of recognition and of its measurement: with another one, libraries are measured again."""
_DECIDED = 3
"""Number of libraries in which decisions are measured; in the first one also an eleventh concept."""
_STEM = "recognition"
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class RecognitionSettings:
    """Settings of a run.

    seeds: of the drawn libraries; photos: in each of them; workers: processes, each of which measures one library at a
    time.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    photos: int = 2000
    out: Path = Path("evaluation")
    recogniser: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    workers: int = 1

    @property
    def choices(self) -> SessionOptions:
        """Models of the run: the storybook's, which know drawings."""
        return SessionOptions("storybook", self.recogniser, self.device, self.dtype)

    def digest(self, what: str, seed: int) -> str:
        """Return a digest of everything that decides a measurement; with another digest, it is made again."""
        session = Session(self.choices)
        config, method = (
            session.recogniser_config,
            (_METHOD, gallery_digest(session.recogniser_config, {})),
        )
        facts = (method, what, seed, self.photos, config.regions_id, config.found_faces_id)
        return sha256_of(repr(facts).encode())[:16]


def evaluate_recognition(settings: RecognitionSettings, notify: Notify) -> tuple[dict[str, Any], list[Table]]:
    """Measure, and write the tables and a plot into a folder; returns the document and its tables.

    Raises:
        UsageError: the recogniser is unknown, or the folder holds a file under one of the names that this function did
            not write.
        WeightsMissingError: the recogniser's weights are not on this disk.
    """
    config = Session(settings.choices).recogniser_config
    _check_folder(settings.out)
    results = measure_libraries(settings, notify)
    tables, has_plot = recognition_tables(results), _draw(settings.out / f"{_STEM}.png", results.libraries, notify)
    document = {"format": 1, "protocol": "recognition", "recogniser": config.name, "regions": config.regions_id}
    document |= {"faces": config.faces_id, "data": None, "seeds": list(settings.seeds), "photos": settings.photos}
    document |= {"tables": [t.document() for t in tables]}
    write_atomically(settings.out / f"{_STEM}.json", as_json(document))
    write_atomically(settings.out / f"{_STEM}.md", _page(config.name, tables, has_plot=has_plot).encode())
    notify(f"written: {settings.out / f'{_STEM}.md'}")
    return document, tables


def measure_libraries(settings: RecognitionSettings, notify: Notify) -> RecognitionResults:
    """Measure all libraries that are not yet on the disk; several workers measure one each."""
    if settings.workers > 1:
        _measure_in_workers(settings, notify)
    libraries, decisions, eleventh = [], {}, None
    for turn, seed in enumerate(settings.seeds):
        measurements = _measure(settings, seed, _wanted(turn), notify)
        libraries.append(measurements["library"])
        if "teaching" in measurements:
            decisions[seed] = measurements["teaching"]
        eleventh = measurements.get("eleventh", eleventh)
    return RecognitionResults(libraries, decisions, eleventh)


def _wanted(turn: int) -> tuple[str, ...]:
    """List what to measure in the library at this position; times are measured in the first one only."""
    return ("library", *(("eleventh",) if turn == 0 else ()), *(("teaching",) if turn < _DECIDED else ()))


def _measure(settings: RecognitionSettings, seed: int, wanted: Sequence[str], notify: Notify) -> dict[str, Measurement]:
    """Measure one library; it is drawn only when one of its measurements is not on the disk."""
    store = MeasurementStore(settings.out / "recognition-parts")
    with ExitStack() as stack:

        @lru_cache(maxsize=1)
        def library() -> ScannedLibrary:
            return stack.enter_context(scanned_library(seed, settings.photos, settings.choices, notify))

        measures: dict[str, Callable[[], Measurement]] = {
            "library": lambda: _with_one_thread(lambda: measure_both(library())),
            "teaching": lambda: _with_one_thread(lambda: measure_decisions(library())),
            "eleventh": lambda: measure_eleventh(_with_one_thread(library)),
        }
        return {w: store.get(f"{w}-seed{seed}", settings.digest(w, seed), measures[w]) for w in wanted}


def _with_one_thread(work: Callable[[], _Result]) -> _Result:
    with one_thread():
        return work()


def _measure_in_workers(settings: RecognitionSettings, notify: Notify) -> None:
    """Fill the folder of measurements in processes; the caller tries again what they could not measure.

    Times are left to the caller, because they are measured without other work.
    """
    wanted = [tuple(w for w in _wanted(turn) if w != "eleventh") for turn in range(len(settings.seeds))]
    alone = [replace(settings, workers=1)] * len(wanted)
    with worker_pool(min(settings.workers, len(wanted))) as pool:
        results = pool.map(_measure_one, alone, settings.seeds, wanted)
        for seed, done in zip(settings.seeds, results, strict=True):
            notify(f"library {seed}: " + ("measured" if done else "not measured yet"))


def _measure_one(settings: RecognitionSettings, seed: int, wanted: Sequence[str]) -> bool:
    try:
        _measure(settings, seed, wanted, silent)
    except EngineError:
        return False
    return True


def _check_folder(folder: Path) -> None:
    from engine.benchmarks.plots import is_our_plot

    prepare_folder(folder, hint="Give a folder for the tables and the plot.")
    checks: dict[str, Callable[[bytes], bool]] = {"md": lambda data: MARK.encode() in data, "png": is_our_plot}
    checks["json"] = partial(is_document, protocol="recognition")
    for suffix, is_ours in checks.items():
        refuse_foreign_file(folder / f"{_STEM}.{suffix}", is_ours, command="myvlm evaluate --recognition")


def _draw(path: Path, libraries: Sequence[Measurement], notify: Notify) -> bool:
    """Draw the plot; returns False where matplotlib is not installed."""
    from engine.benchmarks.recognition_plot import draw_recognition

    try:
        draw_recognition(libraries, path)
    except EnvironmentFault as err:
        notify(f"no plot: {err}. {err.hint}")
        return False
    return True


def _page(recogniser: str, tables: Sequence[Table], *, has_plot: bool) -> str:
    head = f"# Recognition, as measured\n\n{MARK}; do not edit.\n\nRecogniser: `{recogniser}`. No VLM took part.\n"
    image = f"\n![False names against recall, and recall of each concept]({_STEM}.png)\n" if has_plot else ""
    return f"{head}\n" + "\n".join(render_table(t) for t in tables) + image
