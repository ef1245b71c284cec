"""Run the paper's protocol: measure every VLM and seed that is not yet on the disk.

`docs/method.md`, "Evaluation protocol", describes it.
"""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from engine.benchmarks.paper_run import PaperRun
from engine.benchmarks.results import Results, case_document
from engine.benchmarks.settings import PaperSettings
from engine.benchmarks.workers import Notify, one_thread, silent, use_one_thread, worker_pool
from engine.vision.config import DEFAULT_RECOGNISER
from engine.vlms.find import find_config


def measure(settings: PaperSettings, notify: Notify) -> Results:
    """Measure everything that is not yet on the disk; several workers measure a VLM and a seed each.

    Raises:
        EnvironmentFault: a worker died.
    """
    if settings.workers > 1:
        _measure_in_workers(settings, notify)
    results = Results(settings)
    all_small = all(find_config(v).world for v in settings.vlms)  # so small that workers are of use: see `one_thread`
    with TemporaryDirectory(prefix="myvlm-paper-") as name, one_thread() if all_small else nullcontext():
        run = PaperRun(settings, Path(name), results, notify)
        for vlm in settings.vlms:
            run.measure_vlm(vlm)
        for seed in settings.seeds:
            results.cases[seed] = [case_document(c) for c in run.cases_of(seed).cases]
    return results


def _measure_in_workers(settings: PaperSettings, notify: Notify) -> None:
    """Fill the folder of partial results in processes; the caller tries again what they could not measure."""
    chosen, vlms = settings.chosen_recogniser, reversed(settings.vlms)
    by_recogniser = {chosen or find_config(v).recogniser or DEFAULT_RECOGNISER: v for v in vlms}
    heads = [
        replace(settings, vlms=(v,), seeds=(s,), workers=1) for s in settings.seeds for v in by_recogniser.values()
    ]
    jobs = [replace(settings, vlms=(v,), seeds=(s,), workers=1) for s in settings.seeds for v in settings.vlms]
    with worker_pool(settings.workers, prepare=use_one_thread) as pool:
        list(pool.map(_measure_heads, heads))
        for job, _ in zip(jobs, pool.map(_measure_one, jobs), strict=True):
            notify(f"{job.vlms[0]}, seed {job.seeds[0]}: measured")


def _measure_heads(settings: PaperSettings) -> None:
    with TemporaryDirectory(prefix="myvlm-paper-") as name:
        PaperRun(settings, Path(name), Results(settings), silent).measure_heads(settings.vlms[0])


def _measure_one(settings: PaperSettings) -> None:
    measure(settings, silent)
