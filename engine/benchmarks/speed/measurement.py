"""What one case of the speed benchmark measures: seconds of two ways to do the same, taken in turn."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROUNDS = 5
"""Times that each of the two ways is timed; the figures are medians."""


@dataclass(frozen=True)
class SpeedSettings:
    """Settings of a measurement.

    photos: number of photos in the cases that take any number; None for each case's own.
    rounds: times that each way is timed, after one time that is not counted.
    work: a folder for drawn photos, stores and sidecars, removed afterwards.
    """

    work: Path
    seed: int = 0
    photos: int | None = None
    rounds: int = ROUNDS


@dataclass(frozen=True)
class Measurement:
    """Seconds of one task done in two ways, in the same run.

    case: short name, such as "unchanged-run". task: what was done, in a few words, with its size. ours, baseline: what
    was timed, in words. seconds, baseline_seconds: one for each round. target: the ratio that was asked for, in words;
    "" without one. predicted: what was expected before it was measured, and why. extra: further figures by name, such
    as the peak memory in MB or photos in a second.
    """

    case: str
    task: str
    ours: str
    baseline: str
    seconds: tuple[float, ...]
    baseline_seconds: tuple[float, ...]
    target: str = ""
    predicted: str = ""
    extra: dict[str, float] = field(default_factory=dict)

    @property
    def speedup(self) -> float:
        """How many times as fast as the baseline ours is: the ratio of the medians, above 1 if ours is faster."""
        return statistics.median(self.baseline_seconds) / statistics.median(self.seconds)


def in_turn(
    ours: Callable[[], object], baseline: Callable[[], object], rounds: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Time two ways in turn, `rounds` times each after one time that is not counted: seconds of ours, of the baseline.

    In turn, so that what else the machine does concerns both alike.
    """
    timed: tuple[list[float], list[float]] = ([], [])
    for round_number in range(rounds + 1):
        for way, seconds in zip((ours, baseline), timed, strict=True):
            began = time.perf_counter()
            way()
            if round_number:
                seconds.append(time.perf_counter() - began)
    return tuple(timed[0]), tuple(timed[1])
