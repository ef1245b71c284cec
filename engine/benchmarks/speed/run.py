"""Run `myvlm evaluate --speed`: time the program's ways against honest baselines, in turn, on this machine."""

import os
import platform
import statistics
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from engine.benchmarks.figures import Table, make_row
from engine.benchmarks.output import is_document, prepare_folder, refuse_foreign_file
from engine.benchmarks.render import as_json, render_table
from engine.benchmarks.speed.measurement import ROUNDS, Measurement, SpeedSettings
from engine.benchmarks.workers import Notify
from engine.core.errors import EnvironmentFault, UsageError
from engine.core.files import write_atomically

MARK = "Written by `myvlm evaluate --speed`"
_STEM = "speed"
_ROOM = "engine.benchmarks.speed"
CASES = {
    "unchanged-run": f"{_ROOM}.unchanged_run",
    "large-library": f"{_ROOM}.large_library",
    "scan": f"{_ROOM}.scan",
    "captions": f"{_ROOM}.captions",
    "training": f"{_ROOM}.training",
    "decisions": f"{_ROOM}.decisions",
    "many-concepts": f"{_ROOM}.many_concepts",
    "workers": f"{_ROOM}.workers",
    "search": f"{_ROOM}.search",
}
"""The modules of the cases, by name, in their order; each has `measure(settings) -> list[Measurement]`."""


@dataclass(frozen=True)
class SpeedRequest:
    """What to measure. cases: names of `CASES`. photos, rounds: None for each case's own."""

    cases: tuple[str, ...] = tuple(CASES)
    seed: int = 0
    photos: int | None = None
    rounds: int = ROUNDS
    out: Path = Path("evaluation")


def evaluate_speed(request: SpeedRequest, notify: Notify) -> tuple[dict[str, Any], list[Table]]:
    """Measure, and write speed.md and speed.json into a folder; returns the document and its tables.

    A case that this machine cannot run is named with the reason.

    Raises:
        UsageError: a case is unknown, or the folder holds a file under one of these names that this function did not
            write.
    """
    unknown = [case for case in request.cases if case not in CASES]
    if unknown:
        raise UsageError(f"there is no case {unknown[0]!r}", hint=f"Known: {', '.join(CASES)}.")
    prepare_folder(request.out, hint="Give a folder for the tables.")
    page, document_file = request.out / f"{_STEM}.md", request.out / f"{_STEM}.json"
    command = "myvlm evaluate --speed"
    refuse_foreign_file(page, lambda data: MARK.encode() in data, command=command)
    refuse_foreign_file(document_file, partial(is_document, protocol=_STEM), command=command)
    measured: list[Measurement] = []
    missing: dict[str, str] = {}
    for case in request.cases:
        try:
            measured += _measure(request, case)
        except EnvironmentFault as err:
            missing[case] = str(err)
        notify(f"{case}: {missing.get(case, 'measured')}")
    tables = speed_tables(measured, missing)
    machine = {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count() or 1}
    document: dict[str, Any] = {
        "format": 1,
        "protocol": _STEM,
        "machine": machine,
        "rounds": request.rounds,
        "seed": request.seed,
    }
    document |= {"cases": [_as_document(m) for m in measured], "not_measured": missing}
    write_atomically(document_file, as_json(document))
    write_atomically(page, _page(machine, request, tables).encode())
    notify(f"written: {page}")
    return document, tables


def _measure(request: SpeedRequest, case: str) -> list[Measurement]:
    with TemporaryDirectory(prefix="myvlm-speed-") as folder:
        settings = SpeedSettings(Path(folder), request.seed, request.photos, request.rounds)
        measured: list[Measurement] = import_module(CASES[case]).measure(settings)
    return measured


def speed_tables(measured: list[Measurement], missing: dict[str, str]) -> list[Table]:
    """Build the tables: ratios with their targets, what was compared, and further figures."""
    ratios = [
        make_row((m.task, _seconds(m.seconds), _seconds(m.baseline_seconds), f"{m.speedup:.2f}", m.target), ())
        for m in measured
    ]
    compared = [make_row((m.task, m.ours, m.baseline, m.predicted), ()) for m in measured]
    extra = [make_row((m.task, name, f"{value:.4g}"), ()) for m in measured for name, value in m.extra.items()]
    notes = tuple(f"{case} was not measured: {reason}" for case, reason in missing.items())
    columns = ("task", "ours, s", "baseline, s", "times as fast", "target")
    tables = [Table("ratios", "Seconds: median (fastest to slowest)", columns, tuple(ratios), notes)]
    tables.append(Table("compared", "What was compared", ("task", "ours", "baseline", "predicted"), tuple(compared)))
    return [*tables, Table("extra", "Further figures", ("task", "figure", "value"), tuple(extra))]


def _seconds(seconds: tuple[float, ...]) -> str:
    return f"{statistics.median(seconds):.3g} ({min(seconds):.3g} to {max(seconds):.3g})"


def _as_document(measured: Measurement) -> dict[str, Any]:
    texts = {key: getattr(measured, key) for key in ("case", "task", "ours", "baseline", "target", "predicted")}
    seconds = {"seconds": list(measured.seconds), "baseline_seconds": list(measured.baseline_seconds)}
    return texts | seconds | {"speedup": measured.speedup, "extra": measured.extra}


def _page(machine: dict[str, Any], request: SpeedRequest, tables: list[Table]) -> str:
    head = (
        f"# Speed\n\n{MARK}; do not edit.\n\n{machine['system']}, {machine['processor']}, {machine['cores']} cores,"
        f" seed {request.seed}. Both ways are timed in turn, {request.rounds} times each, after one time that is not"
        " counted."
        " Ratios hold; seconds are those of this machine.\n"
    )
    return f"{head}\n" + "\n".join(render_table(t) for t in tables)
