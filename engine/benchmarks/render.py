"""Render tables as Markdown and JSON; the same measurements give the same bytes."""

import json
from collections.abc import Sequence
from typing import Any

from engine.benchmarks.figures import Cell, Table
from engine.benchmarks.results import Results

MARK = "Written by `myvlm evaluate --paper`"


def render_cell(cell: Cell) -> str:
    """Render a cell: `95.0 % (91.2–97.3), n 120`, or `not measured: why`; (–) where nothing says how sure it is."""
    if cell.reason:
        return f"not measured: {_escape(cell.reason)}"
    e = cell.estimate
    if e is None or e.value is None or e.low is None or e.high is None:
        return _escape(cell.text)
    factor, unit, digits = (100, " %", 1) if cell.percent else (1, "", 1 if abs(e.value) >= 10 else 3)
    low, high = (f"{factor * v:.{digits}f}" for v in (e.low, e.high))
    interval = "–" if e.low == e.high else f"{low}–{high}"
    return f"{factor * e.value:.{digits}f}{unit} ({interval}), n {e.n}"


def _escape(text: str) -> str:
    """Put a text on one line, and escape what would end a table's cell."""
    return " ".join(text.split()).replace("|", "\\|")


def render_table(table: Table) -> str:
    """Render a table as Markdown, with its notes under it."""
    heading = f"### {_label(table)}{table.title}"
    if not table.rows:
        return f"{heading}\n\nnot measured\n"
    lines = ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
    lines += ["| " + " | ".join(_render_row(row)) + " |" for row in table.rows]
    notes = "".join(f"\n{note}\n" for note in table.notes)
    return f"{heading}\n\n" + "\n".join(lines) + f"\n{notes}"


def _render_row(row: Sequence[Cell]) -> list[str]:
    """Render a row's cells; a reason that several share is given once."""
    given: set[str] = set()
    texts = []
    for cell in row:
        texts.append("not measured" if cell.reason in given else render_cell(cell))
        given |= {cell.reason} - {""}
    return texts


def _label(table: Table) -> str:
    return f"Table {table.id}. " if table.id.isdigit() else ""


def render_page(results: Results, tables: Sequence[Table], plots: Sequence[tuple[str, str]]) -> str:
    """Render the whole page; plots: file stems with their captions."""
    head = f"# The paper's protocol, as measured\n\n{MARK}; do not edit.\n"
    body = "\n".join(render_table(t) for t in tables)
    pictures = "".join(f"\n![{title}]({stem}.png)\n" for stem, title in plots)
    return f"{head}\n{_protocol(results)}\n{body}" + (f"\n### Plots\n{pictures}" if plots else "")


def _protocol(results: Results) -> str:
    s = results.settings
    seeds = ", ".join(map(str, s.seeds))
    counts = [len(c) for c in results.cases.values()]
    items = sum(len(c["items"]) for cases in results.cases.values() for c in cases)
    where = "a user's photos" if s.data else "drawn individuals and scenes that no model has seen"
    lines = [
        f"Seeds {seeds}; {max(counts, default=0)} concepts a seed, 4 training photos each, {items} validation photos "
        f"in all; {where}. No validation photo is seen by a head or an embedding (checked by path and content). Each "
        "figure comes with n and its 95 % interval (Wilson's for shares, normal for means; photos as independent).",
    ]
    lines += [f"Left out: {_escape(n)}." for n in results.notes]
    for name, facts in sorted(results.vlms.items()):
        lines.append(f"`{name}`: {facts['id']}, weights {facts['revision']}.")
        if s.data and facts.get("world"):
            lines.append(f"`{name}` knows a drawn world only: what it says of photos means little.")
    if s.llm:
        lines.append(f"LLM-guided: by `{s.llm_name}`.")
    return "\n\n".join(lines) + "\n"


def document(results: Results, tables: Sequence[Table]) -> dict[str, Any]:
    """Return settings, splits and tables as plain data."""
    s = results.settings
    return {
        "format": 1,
        "protocol": "paper",
        "settings": {
            "seeds": list(s.seeds),
            "concepts": s.concepts,
            "photos": s.photos,
            "vlms": list(s.vlms),
            "tables": list(s.tables),
            "data": s.data.name if s.data else None,
            "llm": s.llm_name,
            "steps": s.steps,
        },
        "vlms": results.vlms,
        "not_measured": results.reasons,
        "left_out": results.notes,
        "splits": {str(seed): [_split(c) for c in cases] for seed, cases in sorted(results.cases.items())},
        "tables": [t.document() for t in tables],
    }


def _split(case: dict[str, Any]) -> dict[str, Any]:
    items = [t["id"] for t in case["items"]]
    facts = {k: case[k] for k in ("name", "kind", "category")}
    return {**facts, "training": case["training"], "validation": items}


def as_json(value: Any) -> bytes:
    """Return the bytes of a JSON file."""
    return (json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()
