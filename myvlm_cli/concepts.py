"""`myvlm concepts`: the group of commands about enrolled concepts, with those that need no module of their own."""

from inspect import cleandoc
from typing import TYPE_CHECKING, Annotated

import typer

from myvlm_cli import options as o
from myvlm_cli.commands import App
from myvlm_cli.forget import forget
from myvlm_cli.import_concept import import_concept
from myvlm_cli.merge import merge
from myvlm_cli.output import out
from myvlm_cli.remove_photos import remove_photos
from myvlm_cli.sessions import open_session
from myvlm_cli.show import describe_concept, show, vlm_name
from myvlm_cli.tables import Column, print_table

if TYPE_CHECKING:
    from engine.core.types import Concept
    from engine.session import Session

app = App(invoke_without_command=True)


@app.callback()
def default(context: typer.Context, json: o.Json = False) -> None:
    """List, rename, merge and forget concepts. Without a subcommand, list them.

    Example: myvlm concepts show rex
    """
    if context.invoked_subcommand is None:
        _list(json=json)


@app.command("list")
def list_concepts(json: o.Json = False) -> None:
    """List all concepts.

    Example: myvlm concepts list --json
    """
    _list(json=json)


_COLUMNS = (
    Column("name"),
    Column("kind"),
    Column("category"),
    Column("references", "right"),
    Column("trained_for", prose=True),
)


def _list(*, json: bool) -> None:
    session = open_session(create=False)
    concepts = session.store.all()
    if json:
        out.json_document({"concepts": [describe_concept(session, c) for c in concepts]})
        return
    trained_for = [_trained_for(session, c) for c in concepts]
    print_table(
        _COLUMNS,
        [
            (c.name, str(c.kind), c.category, str(len(c.references)), ", ".join(vlms) or "nothing yet")
            for c, vlms in zip(concepts, trained_for, strict=True)
        ],
    )
    if not concepts:
        out.say("No concepts yet. Start with: myvlm add-concept NAME PHOTOS")
    elif not all(trained_for):
        out.say("Next: myvlm train, so that sentences use the names; until then they are written as keywords.")
    else:
        out.say("Next: myvlm caption FOLDER, or myvlm concepts show NAME")


def _trained_for(session: "Session", concept: "Concept") -> list[str]:
    """List the VLMs that a concept is trained for, each once."""
    embeddings = session.store.facts(concept).embeddings
    return list(dict.fromkeys(vlm_name(e.vlm) for e in embeddings))


app.command("show")(show)
app.command("merge")(merge)
app.command("remove-photos")(remove_photos)


@app.command("rename")
def rename(name: o.Name, new: Annotated[str, typer.Argument(help="The new name.")], json: o.Json = False) -> None:
    """Give a concept another name. Nothing is trained again; captions change when photos are captioned again.

    Example: myvlm concepts rename rex "Rex the Second"
    """
    session = open_session(create=False)
    concept = session.store.rename(name, new)
    if json:
        out.json_document(describe_concept(session, concept))
    else:
        out.text(f"{name} is now {concept.name}")


app.command("forget", help=cleandoc(forget.__doc__ or "").replace("myvlm forget", "myvlm concepts forget"))(forget)


@app.command("clear-cache")
def clear_cache(json: o.Json = False) -> None:
    """Delete the feature cache, the calibrations, and the remembered results of unchanged photos and of people.

    The cache and the calibrations may hold faces of bystanders.

    The next run takes longer.

    Example: myvlm concepts clear-cache
    """
    from engine.store.cache_file import forget_files

    session = open_session(create=False)
    entries = session.cache.clear()
    session.store.calibrations.forget()
    forget_files(session.folder / "cache")
    if json:
        out.json_document({"cleared": entries})
    else:
        out.text(f"{entries} entries deleted")


app.command("import")(import_concept)
