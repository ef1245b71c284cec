"""Run the paper's protocol and write its results: paper.json, README.md and plots."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from engine.benchmarks.extra_tables import extra_tables
from engine.benchmarks.figures import Table
from engine.benchmarks.output import is_document, prepare_folder, refuse_foreign_file
from engine.benchmarks.paper import measure
from engine.benchmarks.render import MARK, as_json, document, render_page
from engine.benchmarks.results import Results
from engine.benchmarks.results_view import ResultsView
from engine.benchmarks.settings import PaperSettings
from engine.benchmarks.tables import table_1, table_2, table_4, table_5, table_6, table_7
from engine.benchmarks.workers import Notify
from engine.core.errors import EnvironmentFault, UsageError
from engine.core.files import write_atomically
from engine.vision.config import find_recogniser
from engine.vlms.find import find_config

_TABLES: dict[str, Callable[[ResultsView], Table]] = {
    "1": table_1,
    "2": table_2,
    "4": table_4,
    "5": table_5,
    "6": table_6,
    "7": table_7,
}


def evaluate_paper(settings: PaperSettings, notify: Notify) -> tuple[dict[str, Any], list[Table]]:
    """Measure, and write DIR/paper.json, DIR/README.md and the plots; returns the document and its tables.

    Raises:
        UsageError: a VLM or the recogniser is unknown, DIR is no folder, or it holds a file under one of these names
            that this function did not write.
    """
    _check_names(settings)
    _check_folder(settings.out)
    results = measure(settings, notify)
    tables = build_tables(results)
    plots = _draw_plots(results, notify)
    paper = document(results, tables)
    write_atomically(settings.out / "paper.json", as_json(paper))
    write_atomically(settings.out / "README.md", render_page(results, tables, plots).encode())
    notify(f"written: {settings.out / 'README.md'}")
    return paper, tables


def _check_names(settings: PaperSettings) -> None:
    if not settings.vlms:
        raise UsageError("no VLM to measure", hint="Example: --vlms storybook,llava-1.6")
    for name in settings.vlms:
        find_config(name)
    if settings.recogniser:
        find_recogniser(settings.recogniser)


def _check_folder(folder: Path) -> None:
    from engine.benchmarks.plots import STEMS, is_our_plot

    prepare_folder(folder, hint="Give a folder for the tables and plots.")
    checks: dict[str, Callable[[bytes], bool]] = {"README.md": lambda data: MARK.encode() in data}
    checks |= {"paper.json": partial(is_document, protocol="paper")}
    checks |= {f"{stem}.{suffix}": is_our_plot for stem in STEMS for suffix in ("png", "svg")}
    for name, is_ours in checks.items():
        refuse_foreign_file(folder / name, is_ours, command="myvlm evaluate --paper")


def build_tables(results: Results) -> list[Table]:
    """Build the tables of the run, in the paper's order."""
    view, wanted = ResultsView(results), results.settings.tables
    tables = [make(view) for name, make in _TABLES.items() if name in wanted]
    return tables + (extra_tables(view) if "more" in wanted else [])


def _draw_plots(results: Results, notify: Notify) -> Sequence[tuple[str, str]]:
    from engine.benchmarks.plots import draw_plots

    try:
        return draw_plots(ResultsView(results), results.settings.out)
    except EnvironmentFault as err:
        notify(f"no plots: {err}. {err.hint}")
        return ()
