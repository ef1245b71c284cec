"""Ask the user for confirmation on the terminal."""

import sys

import typer

from engine.core.errors import UsageError
from myvlm_cli.output import escaped


def confirm(question: str, *, yes: bool) -> None:
    """Ask whether to continue, unless `yes` (the option --yes) already answers the question.

    Raises:
        UsageError: standard input is not a terminal, so no question can be asked.
        typer.Abort: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"no terminal to ask on: {question}", hint="To answer yes, add --yes.")
    print(f"{escaped(question)} [y/N] ", end="", file=sys.stderr, flush=True)  # typer.confirm writes to stdout, too
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise typer.Abort
