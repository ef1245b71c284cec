"""Print rows of data: an aligned table or blocks on a terminal, tab-separated lines with a header in a pipe."""

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
"""Blanks between columns on a terminal."""
_NARROWEST = 24
"""A column of prose is not wrapped to fewer characters; a table that would need that becomes blocks."""


@dataclass(frozen=True)
class Column:
    """One column. title: its heading on a terminal; key: its heading in a pipe, for scripts. A column with only one of
    them is printed there only. prose: may be wrapped between words; optional: left out of a terminal's table where that
    lets it fit.
    """

    title: str
    key: str
    align: Literal["left", "right"] = "left"
    prose: bool = False
    optional: bool = False


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print rows, each with one text a column; nothing where there are no rows. Control characters appear as escapes.

    A terminal gets a table of what is not empty that fits its width (COLUMNS, else the window's), or one block a row
    where it cannot fit; headings are bold unless NO_COLOR is set. Anything else gets tab-separated values with a header
    line.
    """
    if not rows:
        return
    cells = [[printable(escaped(text), sys.stdout) for text in row] for row in rows]
    if sys.stdout.isatty():
        shown = [i for i, c in enumerate(columns) if c.title and any(row[i] for row in cells)]
        out.table(_lay_out([columns[i] for i in shown], [[row[i] for i in shown] for row in cells], terminal_width()))
        return
    kept = [i for i, c in enumerate(columns) if c.key]
    for row in [[c.key for c in columns], *cells]:
        out.row(row[i] for i in kept)


def terminal_width() -> int:
    """Characters in a line of the terminal that stdout is; COLUMNS overrules it."""
    from rich.console import Console

    return Console(file=sys.stdout).width


def _lay_out(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> "Table":
    """The rows as a table, without optional columns if need be, or as blocks where the terminal is too narrow."""
    least = [_least_width(c, [row[i] for row in rows]) for i, c in enumerate(columns)]
    needed = [i for i, c in enumerate(columns) if not c.optional]
    for kept in (range(len(columns)), needed):
        if sum(least[i] for i in kept) + _GAP * (len(kept) - 1) <= width:
            return _table([columns[i] for i in kept], [[row[i] for i in kept] for row in rows])
    return _blocks(columns, rows)


def _least_width(column: Column, texts: Sequence[str]) -> int:
    """How many characters a column needs on a terminal."""
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
    """One line a cell, under one another, and an empty line between rows."""
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
    """The style of headings; none where the user wants none (no-color.org)."""
    return "" if os.environ.get("NO_COLOR") else "bold"


def _text(text: str) -> "Text":
    """Text as it is: brackets in a name are no markup."""
    from rich.text import Text

    return Text(text)
