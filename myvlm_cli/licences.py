"""Ask for the licences that must be accepted by name before a model is fetched."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from engine.core.errors import UsageError
from myvlm_cli.completion import complete_part
from myvlm_cli.prompt import confirm

AcceptLicense = Annotated[
    list[str] | None,
    typer.Option(
        "--accept-license",
        metavar="NAME",
        help="Accept the licence of this model. Can be repeated.",
        autocompletion=complete_part,
        show_default=False,
    ),
]


def is_accepted(name: str, license: str, accepted: Sequence[str], *, ask: bool = True) -> bool:
    """Return whether the user accepts a licence: with --accept-license, or by an answer on the terminal."""
    if name in accepted:
        return True
    if not ask or not sys.stdin.isatty():
        return False
    try:
        confirm(f"Do you accept the licence of {name} ({license})?", yes=False)
    except typer.Abort:
        return False
    return True


def check_accepted(name: str, license: str, accepted: Sequence[str]) -> None:
    """Check that the user accepts a licence.

    Raises:
        UsageError: the user does not; the hint says how to.
    """
    if not is_accepted(name, license, accepted):
        raise UsageError(
            f"the licence of {name} must be accepted first: {license}",
            hint=f"To accept it, add: --accept-license {name}",
        )
