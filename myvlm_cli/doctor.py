"""`myvlm doctor`."""

import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from myvlm_cli import options as o
from myvlm_cli.errors import ENVIRONMENT, OK
from myvlm_cli.output import out
from myvlm_cli.tables import terminal_width

if TYPE_CHECKING:
    from engine.diagnostics import Check
    from engine.session import Session


def doctor(json: o.Json = False) -> None:
    """Check this machine and suggest fixes. It looks at GPU, libraries, models, the concept store and the disk.

    ok and info need nothing. warn limits what myvlm can do here, fail stops it.

    Example: myvlm doctor
    """
    session = o.open_session(None, None, "auto", "auto", create=False)
    from engine.diagnostics import run_checks

    checks = list(run_checks(session))
    failed = any(c.state == "fail" for c in checks)
    if json:
        out.json_document({"checks": [asdict(c) for c in checks]})
    for c in [] if json else checks:
        _show(f"{c.state:<4} {c.name}: {c.found}")
        for line in c.advice.splitlines():
            _show(f"     -> {line}")
    out.say(_next(checks, session, failed=failed))
    raise typer.Exit(ENVIRONMENT if failed else OK)


def _show(line: str) -> None:
    """A line; on a terminal in as many as it needs, broken between words. Commands stay whole, to be copied."""
    if not sys.stdout.isatty() or "-> Run: " in line:
        out.text(line)
        return
    for part in textwrap.wrap(
        line, terminal_width(), subsequent_indent=" " * 8, break_long_words=False, break_on_hyphens=False
    ):
        out.text(part)


def _next(checks: "Sequence[Check]", session: "Session", *, failed: bool) -> str:
    """The one thing to do next."""
    if failed:
        return "Next: fix what is marked fail, then run myvlm doctor again."
    limits = [c for c in checks if c.state == "warn"]
    if limits:
        return f"Next: see what is marked warn ({limits[0].name}). Everything else works."
    if not session.store.all():
        return "Nothing has to be fixed. Next: myvlm add-concept NAME PHOTOS, or myvlm demo"
    return "Nothing has to be fixed. Next: myvlm caption FOLDER"
