"""Tables as data: cells with their intervals, or the reason why there is none."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.benchmarks.statistics import Figure


@dataclass(frozen=True)
class Cell:
    """A measured figure, a text, or the reason why nothing was measured; `percent` shows shares as percentages."""

    figure: Figure | None = None
    text: str = ""
    reason: str = ""
    percent: bool = True

    def document(self) -> Any:
        """As plain data."""
        if self.reason:
            return {"not_measured": self.reason}
        return self.figure.document() if self.figure else self.text


@dataclass(frozen=True)
class Table:
    """A table: `id` is the paper's number or a name of ours; a column `paper` holds the paper's figures, for shape."""

    id: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = field(default=())

    def document(self) -> dict[str, Any]:
        """As plain data."""
        rows = [dict(zip(self.columns, [c.document() for c in row], strict=True)) for row in self.rows]
        return {"id": self.id, "title": self.title, "rows": rows, "notes": list(self.notes)}


def said(text: str) -> Cell:
    """A cell of words."""
    return Cell(text=text)


def missing(reason: str) -> Cell:
    """A cell that was not measured."""
    return Cell(reason=reason)


def measured(figure: Figure, *, percent: bool = True) -> Cell:
    """A cell with a figure; without observations it is not measured."""
    return Cell(figure, percent=percent) if figure.n else missing("no photos of this sort")


def row(label: Sequence[str], cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """A row from its labels and cells."""
    return (*map(said, label), *cells)
