"""`myvlm concepts merge`."""

from typing import Annotated

import typer

from myvlm_cli import options as o
from myvlm_cli.completion import complete_concept
from myvlm_cli.output import out
from myvlm_cli.prompt import confirm
from myvlm_cli.sessions import open_session
from myvlm_cli.words import count

Other = Annotated[
    str,
    typer.Argument(help="The concept to merge into NAME.", autocompletion=complete_concept, show_default=False),
]


def merge(*, name: o.Name, other: Other, yes: o.Yes = False, json: o.Json = False) -> None:
    """Merge two concepts: NAME keeps its name and embedding, and takes OTHER's references and decisions.

    OTHER is deleted from the store; sidecars change when photos are captioned again.

    Example: myvlm concepts merge rex "Rex as a puppy"
    """
    from engine.concepts.merge import merge_concepts

    session = open_session(create=False)
    kept, gone = session.store.get(name), session.store.get(other)
    confirm(f"Merge {gone.name} into {kept.name}, and delete {gone.name}?", yes=yes)
    merged = merge_concepts(session, name, other)
    for note in merged.notes:
        out.warn(str(note))
    if json:
        counts = {"references_added": merged.references, "decisions_added": merged.decisions}
        out.json_document(
            {"name": merged.concept.name, "gone": merged.gone, **counts, "notes": [str(n) for n in merged.notes]}
        )
    else:
        added = f"{count(merged.references, 'reference')} and {count(merged.decisions, 'decision')} added"
        out.text(f"{merged.gone} is now part of {merged.concept.name}: {added}")
