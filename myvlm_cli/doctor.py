"""`myvlm doctor`."""

from dataclasses import asdict

import typer

from myvlm_cli import options as o
from myvlm_cli.errors import ENVIRONMENT, OK
from myvlm_cli.output import out


def doctor(json: o.Json = False) -> None:
    """Look at this machine: GPU, libraries, weights, the concept store, disk; says how to mend what is amiss.

    Example: myvlm doctor
    """
    session = o.open_session(None, None, "auto", "auto", create=False)
    from engine.pipeline.checkup import check_up

    checks = list(check_up(session))
    if json:
        out.json_document({"checks": [asdict(c) for c in checks]})
    for c in [] if json else checks:
        out.text(f"{c.state:<4} {c.name}: {c.found}")
        if c.advice:
            out.text(f"     -> {c.advice}")
    raise typer.Exit(ENVIRONMENT if any(c.state == "fail" for c in checks) else OK)
