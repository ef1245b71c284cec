"""Time two workers against one, each with one thread: scan and caption the same photos."""

import time
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack
from dataclasses import replace
from statistics import median

from engine.benchmarks.speed.drawn_library import OPTIONS, draw_photos, fresh_session
from engine.benchmarks.speed.large_photos import SIZE
from engine.benchmarks.speed.measurement import Measurement, SpeedSettings, in_turn
from engine.captioning.caption import caption_photos
from engine.captioning.caption_run import CaptionRequest, CaptionRun
from engine.captioning.photo_steps import PhotoInRun
from engine.captioning.pipeline import Prepare
from engine.captioning.results import PhotoResult
from engine.cluster.caption import CaptionSetup, prepare_on
from engine.cluster.dispatch import Pool
from engine.cluster.options import ClusterOptions
from engine.cluster.ray_pool import RayPool
from engine.cluster.ray_runtime import ray_running
from engine.cluster.scan import ScanSetup, scan_with
from engine.photos.discovery import FoundFile
from engine.recognition.scan import ScanRequest, ScanResult, scan
from engine.session import Session

PHOTOS = 32
_ONE, _TWO = ClusterOptions(1, threads=1), ClusterOptions(2, threads=1)
_TARGET = ">= 1.7 on two cores"
_PREDICTED = "1.6 to 1.9 on two idle cores: the driver reads, hashes and writes on the same two"


def measure(settings: SpeedSettings) -> list[Measurement]:
    """Scan and caption drawn photos with two workers, with one, and in this process.

    Raises:
        EnvironmentFault: Ray is not installed.
    """
    _TWO.check(Session(OPTIONS, settings.work / "home"))
    draw_photos(settings.work, settings.photos or PHOTOS, settings.seed, SIZE)
    with ray_running(replace(_TWO, workers=3), uses_gpu=False):  # one for both ways, so that no start is timed
        measured = []
        for verb, make_ways in (("scan", scan_ways), ("caption", caption_ways)):
            with ExitStack() as stack:
                measured.append(_compare(settings, verb, *make_ways(settings, stack)))
        return measured


def scan_ways(settings: SpeedSettings, stack: ExitStack) -> tuple[Callable[[], list[ScanResult]], ...]:
    """Return how to scan the photos with two workers, with one, and here; the workers last as long as `stack`."""
    request, setup = ScanRequest(), ScanSetup.of(Session(OPTIONS, settings.work / "home"), ScanRequest())

    def way(pool: "Pool | None") -> Callable[[], list[ScanResult]]:
        def once() -> list[ScanResult]:
            session, files = fresh_session(settings.work, cached=False)
            return list(scan(session, files) if pool is None else scan_with(pool, session, files, request))

        return once

    pools = [stack.enter_context(RayPool(setup, options, uses_gpu=False)) for options in (_TWO, _ONE)]
    return tuple(map(way, (*pools, None)))


def caption_ways(settings: SpeedSettings, stack: ExitStack) -> tuple[Callable[[], list[PhotoResult]], ...]:
    """Return how to caption the drawn photos in the ways of `scan_ways`."""
    vlm = Session(OPTIONS, settings.work / "home").vlm  # of this process

    def way(prepare: Prepare | None) -> Callable[[], list[PhotoResult]]:
        def once() -> list[PhotoResult]:
            session, files = fresh_session(settings.work, cached=False)
            session.__dict__["vlm"] = vlm  # in place of the cached property
            return list(caption_photos(session, files, CaptionRequest(), prepare=prepare))

        return once

    prepares = [_prepare_in_one_pool(settings, options, stack) for options in (_TWO, _ONE)]
    return tuple(map(way, (*prepares, None)))


def _prepare_in_one_pool(settings: SpeedSettings, options: ClusterOptions, stack: ExitStack) -> Prepare:
    """Return a way to prepare photos whose workers stay from run to run; all runs have the same concepts."""
    pools: list[Pool] = []

    def prepare(run: CaptionRun, files: Iterable[FoundFile], batch_size: int) -> Generator[list[PhotoInRun]]:
        if not pools:
            setup = CaptionSetup.of(Session(OPTIONS, settings.work / "home"), run, batch_size)
            pools.append(stack.enter_context(RayPool(setup, options, uses_gpu=False)))
        return prepare_on(pools[0], run, files, batch_size)

    return prepare


def _compare(
    settings: SpeedSettings,
    verb: str,
    two: Callable[[], object],
    one: Callable[[], object],
    plain: Callable[[], object],
) -> Measurement:
    """Time the three ways; the plain one is timed alone, with as many threads as it takes."""
    count = settings.photos or PHOTOS
    ours, baseline = in_turn(two, one, settings.rounds)
    alone = [_seconds(plain) for _ in range(settings.rounds + 1)][1:]
    figures = {"two workers": median(ours), "one worker": median(baseline), "no workers": median(alone)}
    return Measurement(
        "workers",
        f"{verb} {count} drawn 12-megapixel photos",
        "two workers with one thread each",
        "one worker with one thread",
        ours,
        baseline,
        target=_TARGET,
        predicted=_PREDICTED,
        extra={f"photos a second, {way}": count / seconds for way, seconds in figures.items()},
    )


def _seconds(way: Callable[[], object]) -> float:
    began = time.perf_counter()
    way()
    return time.perf_counter() - began
