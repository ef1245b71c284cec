"""Print rows of data: a table or blocks on a terminal, tab-separated lines with a header in a pipe."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from myvlm_cli.output import escaped, out, printable

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

_GAP = 2
"""Spaces between columns on a terminal."""
_NARROWEST = 20
"""The narrowest width, in characters, to which a column of prose is wrapped; below it a table becomes blocks."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    name: its heading in a pipe; on a terminal underscores become spaces. only: print it on a terminal only, or in a
    pipe only. prose: it may be wrapped between words. optional: a terminal's table may leave it out in order to fit.
    """

    name: str
    align: Literal["left", "right"] = "left"
    only: Literal["terminal", "pipe"] | None = None
    prose: bool = False
    optional: bool = False

    @property
    def title(self) -> str:
        """The heading on a terminal."""
        return self.name.replace("_", " ")


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print rows with one text per column; print nothing if there are no rows. Control characters become escapes.

    A terminal gets the columns that are not empty, as a table that fits its width (COLUMNS, else the window's), or as
    one block per row if no table fits. Headings are bold unless NO_COLOR is set. A pipe gets tab-separated values with
    a header line.
    """
    if not rows:
        return
    cells = [[printable(escaped(text), sys.stdout) for text in row] for row in rows]
    if sys.stdout.isatty():
        shown = [i for i, c in enumerate(columns) if c.only != "pipe" and any(row[i] for row in cells)]
        out.table(_lay_out([columns[i] for i in shown], [[row[i] for i in shown] for row in cells], terminal_width()))
        return
    kept = [i for i, c in enumerate(columns) if c.only != "terminal"]
    for row in [[c.name for c in columns], *cells]:
        out.row(row[i] for i in kept)


def terminal_width() -> int:
    """Return the width of the terminal in characters, as set by COLUMNS or by its window."""
    from rich.console import Console

    return Console(file=sys.stdout).width


def _lay_out(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> "Table":
    """Return the rows as a table, if need be without optional columns, or as blocks if no table fits."""
    least = [_least_width(c, [row[i] for row in rows]) for i, c in enumerate(columns)]
    needed = [i for i, c in enumerate(columns) if not c.optional]
    for kept in (range(len(columns)), needed):
        if sum(least[i] for i in kept) + _GAP * (len(kept) - 1) <= width:
            return _table([columns[i] for i in kept], [[row[i] for i in kept] for row in rows])
    return _blocks(columns, rows)


def _least_width(column: Column, texts: Sequence[str]) -> int:
    """Return how many characters a column needs on a terminal."""
    from rich.cells import cell_len

    longest = max(map(cell_len, texts))
    return max(cell_len(column.title), min(longest, _NARROWEST) if column.prose else longest)


def _table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style=_bold())
    for column in columns:
        table.add_column(_text(column.title), justify=column.align, no_wrap=not column.prose)
    for row in rows:
        table.add_row(*map(_text, row))
    return table


def _blocks(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> "Table":
    """Return each row as a block with one line per cell, and an empty line between blocks."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), show_header=False)
    table.add_column(style=_bold(), no_wrap=True)
    table.add_column(overflow="fold")
    for number, row in enumerate(rows):
        if number:
            table.add_row("", "")
        for column, text in zip(columns, row, strict=True):
            if text:
                table.add_row(_text(column.title), _text(text))
    return table


def _bold() -> str:
    """Return the style of headings; none if NO_COLOR is set (no-color.org)."""
    return "" if os.environ.get("NO_COLOR") else "bold"


def _text(text: str) -> "Text":
    """Return text that Rich prints as it is: brackets in a name are not markup."""
    from rich.text import Text

    return Text(text)
