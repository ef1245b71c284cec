"""Build the tables of `myvlm evaluate --speaking`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from engine.benchmarks.benchmark import SPLITS, STRANGERS
from engine.benchmarks.drawn_cases import CROWD_SIZES
from engine.benchmarks.experiments import Measurement
from engine.benchmarks.figures import Cell, Table, make_row, measured_cell
from engine.benchmarks.results_view import mean_cell
from engine.benchmarks.speaking_measure import WAYS
from engine.benchmarks.statistics import f1, proportion

_Rows = Sequence[dict[str, Any]]
_SPLIT_TITLES = {"one": "alone", "diff": "another category", "same": "same category", "second": "second"}
_STRANGER_TITLES = {"random": "of another category", "same_category": "of its category", "look_alike": "look-alike"}
_WAY_TITLES = {"names": "name", "embedding": "embedding", "both": "name and embedding"}


def speaking_tables(measured: Mapping[str, Sequence[Measurement]]) -> list[Table]:
    """Build all tables. measured: the measurements of all seeds, by VLM."""
    return [_captions(measured), _crowds(measured), _strangers(measured), _answers(measured)]


def _rows(seeds: Sequence[Measurement], key: str, way: str) -> _Rows:
    return [row for seed in seeds for row in seed[key] if row["way"] == way]


def _lines(
    measured: Mapping[str, Sequence[Measurement]], key: str, cells: Callable[[_Rows], Iterable[Cell]], note: str = ""
) -> list[tuple[Cell, ...]]:
    """Make one line for each VLM and way that was measured."""
    lines = []
    for vlm, seeds in measured.items():
        for way in WAYS:
            if rows := _rows(seeds, key, way):
                lines.append(make_row((vlm, _WAY_TITLES[way] + note), tuple(cells(rows))))
    return lines


def _share(rows: _Rows, key: str, **where: object) -> Cell:
    """Make a cell with the share of hits among the rows that have these values."""
    chosen = [row for row in rows if all(row[name] == value for name, value in where.items())]
    return measured_cell(proportion([row[key] for row in chosen]))


def _captions(measured: Mapping[str, Sequence[Measurement]]) -> Table:
    columns = ("VLM", "told by", "recall", "lowest recall of a split", "right one", *_SPLIT_TITLES.values())
    columns += ("of one class", "place and objects")

    def cells(rows: _Rows) -> Iterable[Cell]:
        by_split = [[row["named"] for row in rows if row["split"] == split] for split in SPLITS]
        yield _share(rows, "named")
        yield measured_cell(min(map(proportion, by_split), key=lambda e: e.value or 0.0))
        yield _share(rows, "right")
        for split in SPLITS:
            yield _share(rows, "right", split=split)
        yield _share(rows, "right", same=True)
        yield _share(rows, "context")

    lines = _lines(measured, "captions", cells) + _lines(measured, "class_word", cells, ", class word only")
    return Table("captions", "Captions, one concept given", columns, tuple(lines), _NOTES)


_NOTES = (
    "In the VLM's own words, after its second attempts and before names are put in. Right one: the name is said, and "
    "everybody else is still described as who they are, each with category and (hair) colour in one phrase; by split, "
    "and where somebody of the concept's class is in the photo.",
    "Class word only: one request, without telling what the concept looks like (`vlms/looks.py`).",
)


def _crowds(measured: Mapping[str, Sequence[Measurement]]) -> Table:
    lines = []
    for key, note in (("own", ", own words"), ("checked", ", checked")):

        def cells(rows: _Rows, key: str = key) -> Iterable[Cell]:
            for size in CROWD_SIZES:
                present = [row for row in rows if len(row["present"]) == size]
                yield mean_cell([f1(row[key], row["present"]) for row in present], 1.0, percent=True)

        lines += _lines(measured, "crowds", cells, note)
    columns = ("VLM", "told by", *(f"{n} concept{'s' if n > 1 else ''}" for n in CROWD_SIZES))
    notes = ("Checked: missing names are put in, and wrong ones removed.",)
    return Table("crowds", "Several concepts in one photo, all given: F1 of names", columns, tuple(lines), notes)


def _strangers(measured: Mapping[str, Sequence[Measurement]]) -> Table:
    def cells(rows: _Rows) -> Iterable[Cell]:
        for sort in STRANGERS:
            yield _share(rows, "named", split=sort)

    lines = _lines(measured, "strangers", cells)
    notes = ("What the VLM does with a false recognition. It is no judge of that: recognition must be right.",)
    columns = ("VLM", "told by", *_STRANGER_TITLES.values())
    return Table("strangers", "The name is said although another is in the photo", columns, tuple(lines), notes)


def _answers(measured: Mapping[str, Sequence[Measurement]]) -> Table:
    def cells(rows: _Rows) -> Iterable[Cell]:
        yield _share(rows, "right")
        for split in SPLITS:
            yield _share(rows, "right", split=split)

    columns = ("VLM", "told by", "all", *_SPLIT_TITLES.values())
    notes = ("Two questions a photo, embeddings learned from captions only; right only word for word.",)
    return Table(
        "answers", "Questions answered exactly right", columns, tuple(_lines(measured, "answers", cells)), notes
    )
