"""Measure `myvlm scan` of large JPEGs: against the decoder alone, against the former way, and its memory."""

import io
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image

from engine.benchmarks.speed.former_scan import FormerExtractor
from engine.benchmarks.speed.large_photos import SIZE, draw_large_photos
from engine.benchmarks.speed.measurement import Measurement, SpeedSettings, in_turn
from engine.core.cpu import available_cores
from engine.core.files import read_bytes
from engine.core.types import Status
from engine.photos.photo_file import LARGEST_FILE
from engine.recognition.scan import scan
from engine.session import Session, SessionOptions
from engine.vision.config import find_recogniser
from engine.vision.picture_edge import decode_edge

if TYPE_CHECKING:
    from engine.vision.extractor import FeatureExtractor

PHOTOS = 24
"""Photos in a scan, where the settings say nothing."""
MANY = 4
"""How many times as many photos the memory is compared at."""


def measure(settings: SpeedSettings) -> list[Measurement]:
    """Measure the scan of 12-megapixel JPEGs."""
    number = settings.photos or PHOTOS
    photos = draw_large_photos(settings.work / "photos", number * MANY, settings.seed)
    few = photos[:number]
    return [against_decoder(settings, few), against_former(settings, few), memory(settings, few, photos)]


class Scanner:
    """Scans photos again and again, each time with a new store; models are loaded once."""

    def __init__(self, work: Path, recogniser: str, decode: Literal["scaled", "exact"] = "scaled") -> None:
        self._work, self._options = work, SessionOptions("none", recogniser, "cpu", decode=decode)
        self.models: FeatureExtractor = Session(self._options, work / "models").recogniser
        self._scans = 0

    def scan(self, photos: Sequence[Path]) -> Session:
        """Scan photos into a new store and return its session.

        Raises:
            RuntimeError: a photo failed.
        """
        self._scans += 1
        session = Session(self._options, self._work / f"scan-{id(self)}-{self._scans}")
        session.__dict__["recogniser"] = self.models
        if any(result.status is not Status.OK for result in scan(session, photos)):
            raise RuntimeError("a photo of the benchmark was not scanned")
        return session


def decode_all(photos: Sequence[Path], edge: int) -> None:
    """Decode photos with Pillow alone, reduced by `draft` as far as both sides keep an edge, a thread for each core."""

    def decode(path: Path) -> None:
        with Image.open(io.BytesIO(read_bytes(path, LARGEST_FILE))) as opened:
            width, height = opened.size
            opened.draft(None, (edge * width // max(width, height), edge * height // max(width, height)))
            opened.load()

    with ThreadPoolExecutor(available_cores()) as pool:
        list(pool.map(decode, photos))


def against_decoder(settings: SpeedSettings, photos: Sequence[Path]) -> Measurement:
    """Compare a scan with models that take little time with decoding the same photos at the same size."""
    scanner = Scanner(settings.work / "decoder", "storybook")
    edge = decode_edge(find_recogniser("storybook")) or max(SIZE)
    seconds, baseline = in_turn(lambda: scanner.scan(photos), lambda: decode_all(photos, edge), settings.rounds)
    scanning, decoding = (
        1000 * _processor_seconds(way) / len(photos)
        for way in (lambda: scanner.scan(photos), lambda: decode_all(photos, edge))
    )
    return Measurement(
        "scan-decoder",
        f"scan {len(photos)} JPEGs of 12 megapixels, storybook recogniser",
        "myvlm scan",
        f"Pillow's draft decode to {edge} px alone, {available_cores()} threads",
        seconds,
        baseline,
        target="≥ 0.7 of the decoder's rate",
        predicted="0.75: reading, hashing and the small models take a third as much processor time as decoding",
        extra={
            "photos_per_second": len(photos) / median(seconds),
            "decoded_per_second": len(photos) / median(baseline),
            "processor_ms_a_photo": scanning,
            "processor_ms_a_photo_of_the_decoder": decoding,
            "model_share": model_share(scanner, photos),
        },
    )


def _processor_seconds(way: Callable[[], object]) -> float:
    """Return the processor time of all threads of this process in a way, which other programs do not change much."""
    began = time.process_time()
    way()
    return time.process_time() - began


def against_former(settings: SpeedSettings, photos: Sequence[Path]) -> Measurement:
    """Compare a scan by the built-in recogniser with the former way."""
    ours = Scanner(settings.work / "builtin", "builtin")
    former = Scanner(settings.work / "former", "builtin", "exact")
    former.models = FormerExtractor(find_recogniser("builtin"))  # type: ignore[assignment]  # it has what a scan calls
    seconds, baseline = in_turn(lambda: ours.scan(photos), lambda: former.scan(photos), settings.rounds)
    extra = {"photos_per_second": len(photos) / median(seconds), "former_per_second": len(photos) / median(baseline)}
    return Measurement(
        "scan-builtin",
        f"scan {len(photos)} JPEGs of 12 megapixels, built-in recogniser",
        "decoded at half the sides, shared views, batches of 4",
        "all pixels decoded and copied, batches of 16, busy waiting",
        seconds,
        baseline,
        target="≥ 2 times the former rate",
        predicted="2.5: the models alone need 45 % of the former processor time, the rest falls to a quarter",
        extra=extra | {"model_share": model_share(ours, photos)},
    )


def model_share(scanner: Scanner, photos: Sequence[Path]) -> float:
    """Return the share of a scan's time that is spent in the models, with the scaling of their inputs, 0..1."""
    spent: list[float] = []

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*args)
            finally:
                spent.append(time.perf_counter() - began)

        return wrapper

    models = scanner.models
    watched: tuple[tuple[object, str], ...] = (
        (models.face_analyser.detector, "detect"),
        (models.face_analyser, "embed"),
        (models.encoder, "describe"),
    )
    for owner, name in watched:
        setattr(owner, name, timed(getattr(owner, name)))
    began = time.perf_counter()
    try:
        scanner.scan(photos)
    finally:
        for owner, name in watched:
            delattr(owner, name)
    return sum(spent) / (time.perf_counter() - began)


def memory(settings: SpeedSettings, few: Sequence[Path], many: Sequence[Path]) -> Measurement:
    """Compare the peak memory of a scan of many photos with that of a few, each in a process of its own."""
    figures = {}
    for name, photos in (("few", few), ("many", many)):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            figures[name] = pool.submit(_scan_and_measure, settings.work / name, photos).result()
    (few_seconds, few_peak), (many_seconds, many_peak) = figures["few"], figures["many"]
    return Measurement(
        "scan-memory",
        f"peak memory at {len(many)} photos against {len(few)}, built-in recogniser",
        f"{len(many)} photos",
        f"{len(few)} photos",
        (many_seconds,),
        (few_seconds,),
        target="memory_ratio ≤ 1.1",
        predicted="1.0: at most 16 reduced photos are in memory, whatever their number",
        extra={"memory_ratio": many_peak / few_peak, "peak_mb": many_peak, "peak_mb_few": few_peak},
    )


def _scan_and_measure(work: Path, photos: Sequence[Path]) -> tuple[float, float]:
    """Scan photos in this process; return the seconds, and its peak memory in MB."""
    scanner = Scanner(work, "builtin")
    began = time.perf_counter()
    scanner.scan(photos)
    seconds = time.perf_counter() - began
    return seconds, _peak_memory()


def _peak_memory() -> float:
    """Return the peak memory of this process in MB.

    On Linux, `getrusage` also counts what the process that started this one had used before.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        lines = read_bytes(status, LARGEST_FILE).decode().splitlines()
        line = next(line for line in lines if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**10
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
