"""Tables as Markdown and JSON: the same measurements give the same bytes."""

import json
from collections.abc import Sequence
from typing import Any

from engine.benchmarks.figures import Cell, Table
from engine.benchmarks.paper import Results

MARK = "Written by `myvlm evaluate --paper`"


def render_cell(cell: Cell) -> str:
    """`95.0 (91.2–97.3), n 120`, or `not measured: why`."""
    if cell.reason:
        return f"not measured: {_escape(cell.reason)}"
    if cell.figure is None:
        return _escape(cell.text)
    f = cell.figure
    assert f.value is not None and f.low is not None and f.high is not None
    if cell.percent:
        return f"{100 * f.value:.1f} % ({100 * f.low:.1f}–{100 * f.high:.1f}), n {f.n}"
    digits = 1 if abs(f.value) >= 10 else 3
    return f"{f.value:.{digits}f} ({f.low:.{digits}f}–{f.high:.{digits}f}), n {f.n}"


def _escape(text: str) -> str:
    """Text on one line that does not end a table's cell."""
    return " ".join(text.split()).replace("|", "\\|")


def render_table(table: Table) -> str:
    """A table as Markdown, with its notes under it."""
    heading = f"### {_label(table)}{table.title}"
    if not table.rows:
        return f"{heading}\n\nnot measured\n"
    lines = ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
    lines += ["| " + " | ".join(_briefly(row)) + " |" for row in table.rows]
    notes = "".join(f"\n{note}\n" for note in table.notes)
    return f"{heading}\n\n" + "\n".join(lines) + f"\n{notes}"


def _briefly(row: Sequence[Cell]) -> list[str]:
    """A row's cells; a reason that several share is told once."""
    told: set[str] = set()
    texts = []
    for cell in row:
        texts.append("not measured" if cell.reason in told else render_cell(cell))
        told |= {cell.reason} - {""}
    return texts


def _label(table: Table) -> str:
    return f"Table {table.id}. " if table.id.isdigit() else ""


def render_page(results: Results, tables: Sequence[Table], plots: Sequence[tuple[str, str]]) -> str:
    """The whole page; `plots` are file stems with their captions."""
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
    return "\n\n".join(lines) + "\n"


def document(results: Results, tables: Sequence[Table]) -> dict[str, Any]:
    """Everything as plain data."""
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
            "llm": s.llm,
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
    """A JSON file's bytes."""
    return (json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()
