"""Represent tables as data: cells with estimates and intervals, or with the reason why nothing was measured."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.benchmarks.statistics import Estimate


@dataclass(frozen=True)
class Cell:
    """An estimate, a text, or the reason why nothing was measured; `percent` shows an estimate as a percentage."""

    estimate: Estimate | None = None
    text: str = ""
    reason: str = ""
    percent: bool = True

    def document(self) -> Any:
        """Return the cell as plain data."""
        if self.reason:
            return {"not_measured": self.reason}
        return self.estimate.document() if self.estimate else self.text


@dataclass(frozen=True)
class Table:
    """A table; `id` is the paper's number or a name. A column `paper` holds the figures that the paper reports."""

    id: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = field(default=())

    def document(self) -> dict[str, Any]:
        """Return the table as plain data."""
        rows = [dict(zip(self.columns, [c.document() for c in row], strict=True)) for row in self.rows]
        return {"id": self.id, "title": self.title, "rows": rows, "notes": list(self.notes)}


def text_cell(text: str) -> Cell:
    """Make a cell of text."""
    return Cell(text=text)


def missing_cell(reason: str) -> Cell:
    """Make a cell that was not measured, with the reason."""
    return Cell(reason=reason)


def measured_cell(estimate: Estimate, *, percent: bool = True) -> Cell:
    """Make a cell with an estimate; without observations, one that was not measured."""
    return Cell(estimate, percent=percent) if estimate.n else missing_cell("no photos of this sort")


def make_row(label: Sequence[str], cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """Make a row of labels and cells."""
    return (*map(text_cell, label), *cells)
