"""`myvlm concepts merge`."""

from typing import Annotated

import typer

from myvlm_cli import options as o
from myvlm_cli.output import out

Other = Annotated[
    str,
    typer.Argument(help="The concept that becomes part of it.", autocompletion=o.complete_concept, show_default=False),
]


def merge(
    name: o.Name,
    other: Other,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: o.Json = False,
) -> None:
    """Make two concepts one: NAME keeps its name and embedding and takes OTHER's references and decisions.

    OTHER is deleted from the store; sidecars change when photos are captioned again.

    Example: myvlm concepts merge rex "Rex as a puppy"
    """
    from engine.concepts.merge import merge_concepts

    session = o.open_session(None, None, "auto", "auto", create=False)
    kept, gone = session.store.get(name), session.store.get(other)
    o.confirm(f"Make {gone.name} part of {kept.name}, and delete {gone.name}?", yes=yes)
    done = merge_concepts(session, name, other)
    for note in done.notes:
        out.warn(note)
    if json:
        told = {"references_added": done.references, "decisions_added": done.decisions, "notes": list(done.notes)}
        out.json_document({"name": done.concept.name, "gone": done.gone, **told})
    else:
        came = f"{done.references} references and {done.decisions} decisions came over"
        out.text(f"{done.gone} is {done.concept.name} now: {came}")
