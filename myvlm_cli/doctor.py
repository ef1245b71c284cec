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
from myvlm_cli.sessions import open_session
from myvlm_cli.tables import terminal_width

if TYPE_CHECKING:
    from engine.diagnostics import Check
    from engine.session import Session


def doctor(json: o.Json = False) -> None:
    """Check this machine and suggest fixes: GPU, libraries, models, the concept store and the disk.

    ok and info need no action. warn limits what myvlm can do here; fail stops it.

    Example: myvlm doctor
    """
    from engine.diagnostics import run_checks

    session = open_session(create=False)
    checks = list(run_checks(session))
    failed = any(c.state == "fail" for c in checks)
    if json:
        out.json_document({"checks": [asdict(c) for c in checks]})
    for c in () if json else checks:
        _print(f"{c.state:<4} {c.name}: {c.found}")
        for line in c.advice.splitlines():
            _print(f"     -> {line}")
    out.say(_next(checks, session, failed=failed))
    raise typer.Exit(ENVIRONMENT if failed else OK)


def _print(line: str) -> None:
    """Print a line. A terminal wraps it between words, except lines with a command, which are to be copied."""
    if not sys.stdout.isatty() or "-> Run: " in line:
        out.text(line)
        return
    for part in textwrap.wrap(
        line, terminal_width(), subsequent_indent=" " * 8, break_long_words=False, break_on_hyphens=False
    ):
        out.text(part)


def _next(checks: "Sequence[Check]", session: "Session", *, failed: bool) -> str:
    """Return what to do next."""
    if failed:
        return "Next: fix what is marked fail, then run myvlm doctor again."
    limits = [c for c in checks if c.state == "warn"]
    if limits:
        return f"Next: see what is marked warn ({limits[0].name}). Everything else works."
    if not session.store.all():
        return "Nothing needs fixing. Next: myvlm add-concept NAME PHOTOS, or myvlm demo"
    return "Nothing needs fixing. Next: myvlm caption FOLDER"
