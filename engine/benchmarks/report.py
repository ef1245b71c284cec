"""From measurements to files: paper.json, README.md, plots."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine.benchmarks.extra_tables import more_tables, table_6
from engine.benchmarks.figures import Table
from engine.benchmarks.paper import Results, Tell, measure
from engine.benchmarks.render import MARK, as_json, document, render_page
from engine.benchmarks.results_view import View
from engine.benchmarks.settings import PaperSettings
from engine.benchmarks.tables import table_1, table_2, table_4, table_5, table_7
from engine.core.errors import EnvironmentFault, UsageError
from engine.core.files import read_bytes, write_atomically
from engine.photos.photo_file import LARGEST_FILE
from engine.vision.config import find_recogniser
from engine.vlms.config import find_config

_TABLES: dict[str, Callable[[View], Table]] = {
    "1": table_1,
    "2": table_2,
    "4": table_4,
    "5": table_5,
    "6": table_6,
    "7": table_7,
}


def evaluate_paper(settings: PaperSettings, tell: Tell) -> tuple[dict[str, Any], list[Table]]:
    """Measure, and write DIR/paper.json, DIR/README.md and the plots; returns the document and its tables.

    Raises:
        UsageError: a VLM or the recogniser is unknown, DIR is no folder, or holds somebody else's file under one of
            these names.
    """
    _check_names(settings)
    _prepare(settings.out)
    results = measure(settings, tell)
    tables = build_tables(results)
    plots = _plots(results, tell)
    found = document(results, tables)
    write_atomically(settings.out / "paper.json", as_json(found))
    write_atomically(settings.out / "README.md", render_page(results, tables, plots).encode())
    tell(f"written: {settings.out / 'README.md'}")
    return found, tables


def _check_names(settings: PaperSettings) -> None:
    if not settings.vlms:
        raise UsageError("no VLM to measure", hint="Example: --vlms storybook,llava-1.6")
    for name in settings.vlms:
        find_config(name)
    if settings.recogniser:
        find_recogniser(settings.recogniser)


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise UsageError(f"--out {folder}: {err.strerror}", hint="Give a folder for the tables and plots.") from err
    from engine.benchmarks.plots import STEMS, ours

    def is_document(data: bytes) -> bool:
        try:
            found = json.loads(data)
        except ValueError:
            return False
        return isinstance(found, dict) and found.get("protocol") == "paper"

    marks: dict[str, Callable[[bytes], bool]] = {"README.md": lambda data: MARK.encode() in data}
    marks |= {"paper.json": is_document} | {f"{stem}.{suffix}": ours for stem in STEMS for suffix in ("png", "svg")}
    for name, known in marks.items():
        path = folder / name
        if path.exists() and not (path.is_file() and known(read_bytes(path, LARGEST_FILE))):
            raise UsageError(f"{path} is not from `myvlm evaluate --paper`", hint="Give --out another folder.")


def build_tables(results: Results) -> list[Table]:
    """The tables that were asked for, in the paper's order."""
    view, wanted = View(results), results.settings.tables
    tables = [make(view) for name, make in _TABLES.items() if name in wanted]
    return tables + (more_tables(view) if "more" in wanted else [])


def _plots(results: Results, tell: Tell) -> Sequence[tuple[str, str]]:
    from engine.benchmarks.plots import draw_plots

    try:
        return draw_plots(View(results), results.settings.out)
    except EnvironmentFault as err:
        tell(f"no plots: {err}. {err.hint}")
        return ()
