"""`--allow-remote`: the one option with which photos may leave this machine, and a line that says so."""

from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.errors import UsageError
from myvlm_cli.output import out

if TYPE_CHECKING:
    from engine.session import Session

AllowRemote = Annotated[
    bool,
    typer.Option(
        "--allow-remote",
        help="Let photos leave this machine: with --vlm openai:URL#MODEL, allow servers on other machines and models"
        " that a local server runs in a cloud.",
        rich_help_panel="Advanced",
    ),
]


def tell_remote(session: "Session") -> None:
    """Say where photos will go with --allow-remote.

    Raises:
        UsageError: the VLM in use does not run in a server.
    """
    server = session.vlm_config.server
    if server is None:
        raise UsageError(
            "--allow-remote is for a VLM in a server", hint="Leave it out, or name the server: --vlm openai:URL#MODEL"
        )
    out.warn(f"--allow-remote: photos are sent to {server.base}, and may leave this machine")
