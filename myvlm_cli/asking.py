"""Ask before something that cannot be taken back, or that the user may not expect."""

import sys

import typer


def confirm(question: str, *, yes: bool) -> None:
    """Go on after a yes; `yes` is the answer that was given with --yes. The question goes to stderr.

    Raises:
        UsageError: stdin is no terminal, so that nobody can be asked.
        typer.Abort: the answer is no.
    """
    from engine.errors import UsageError

    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"cannot ask here, because stdin is no terminal: {question}", hint="To answer yes, add --yes.")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)  # click's own would write a blank to stdout
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise typer.Abort
