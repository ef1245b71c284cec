"""`myvlm concepts`: list, show, rename, merge, forget, import."""

from collections import Counter
from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from engine.core.types import Kind
from myvlm_cli import options as o
from myvlm_cli.commands import App
from myvlm_cli.errors import SOME_FAILED
from myvlm_cli.merge import merge
from myvlm_cli.output import out, path_text
from myvlm_cli.remove_photos import remove_photos
from myvlm_cli.show import describe_concept, show, vlm_name
from myvlm_cli.tables import Column, print_table
from myvlm_cli.words import count

app = App(invoke_without_command=True)


@app.callback()
def default(context: typer.Context, json: o.Json = False) -> None:
    """List, rename, merge and forget concepts. Without a subcommand: list them.

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
    Column("name", "name"),
    Column("kind", "kind"),
    Column("class word", "category"),
    Column("references", "references", "right"),
    Column("trained for", "trained_for", prose=True),
)


def _list(*, json: bool) -> None:
    session = o.open_session(None, None, "auto", "auto", create=False)
    documents = [describe_concept(session, c) for c in session.store.all()]
    if json:
        out.json_document({"concepts": documents})
        return
    rows = []
    for d in documents:
        trained = ", ".join(dict.fromkeys(vlm_name(e["vlm"]) for e in d["embeddings"]))
        rows.append((d["name"], d["kind"], d["category"], str(len(d["references"])), trained or "nothing yet"))
    print_table(_COLUMNS, rows)
    untrained = [d["name"] for d in documents if not d["embeddings"]]
    if not documents:
        out.say("No concepts yet. Start with: myvlm add-concept NAME PHOTOS")
    elif untrained:
        out.say("Next: myvlm train, so that sentences use the names; without it they are written as keywords.")
    else:
        out.say("Next: myvlm caption FOLDER, or myvlm concepts show NAME")


app.command("show")(show)
app.command("merge")(merge)
app.command("remove-photos")(remove_photos)


@app.command("rename")
def rename(name: o.Name, new: Annotated[str, typer.Argument(help="The new name.")], json: o.Json = False) -> None:
    """Give a concept another name. Nothing is trained again; captions change when photos are captioned again.

    Example: myvlm concepts rename rex "Rex the Second"
    """
    session = o.open_session(None, None, "auto", "auto", create=False)
    concept = session.store.rename(name, new)
    out.json_document(describe_concept(session, concept)) if json else out.text(f"{name} is now {concept.name}")


_Paths = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="[PATHS]...",
        help="With --scrub-sidecars: more photos or folders to check. Folders that runs on this machine wrote to are"
        " always checked.",
        show_default=False,
    ),
]
_SidecarDir = Annotated[
    Path | None,
    typer.Option(
        "--sidecar-dir",
        metavar="FOLDER",
        help="With PATHS: where caption --sidecar-dir kept the sidecars of these.",
        show_default=False,
    ),
]
_Anyway = Annotated[
    bool,
    typer.Option(
        "--anyway",
        help="With --scrub-sidecars: forget it also when sidecars cannot be scrubbed, as those on a disk that is"
        " gone for good; they keep the name.",
    ),
]


def forget(
    name: o.Name,
    paths: _Paths = None,
    scrub_sidecars: Annotated[
        bool,
        typer.Option("--scrub-sidecars", help="Also take the name out of what myvlm wrote into sidecars. No undo."),
    ] = False,
    sidecar_dir: _SidecarDir = None,
    anyway: _Anyway = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: o.Json = False,
) -> None:
    """Delete a concept: references, head, embeddings, its undo history. Photos and human words stay.

    With --scrub-sidecars it is deleted when all its sidecars are scrubbed; if interrupted, run it again to continue.

    Example: myvlm forget rex --scrub-sidecars --yes
    """
    from engine.concepts.forget import ForgetOutcome, Scrub
    from engine.concepts.forget import forget as forget_concept
    from engine.core.errors import UsageError

    if (paths or sidecar_dir or anyway) and not scrub_sidecars:
        raise UsageError(
            "PATHS, --sidecar-dir and --anyway are for --scrub-sidecars",
            hint="Add --scrub-sidecars, or leave them out.",
        )
    if sidecar_dir and not paths:
        raise UsageError("--sidecar-dir is for PATHS", hint="Give the photos whose sidecars are kept there.")
    if not anyway:  # what is on a disk that is gone for good is missing, too
        o.find_missing(paths or ())
    session = o.open_session(None, None, "auto", "auto", create=False)
    concept = session.store.find(name) if paths else session.store.get(name)
    count = len(concept.references) if concept else 0
    also = " and take the name out of sidecars" if scrub_sidecars else ""
    o.confirm(f"Forget {name} with its {count} references{also}?", yes=yes)
    folder = o.make_naming("auto", sidecar_dir).folder
    scrub = Scrub(tuple(paths or ()), folder, anyway) if scrub_sidecars else None
    with out.progress("scrubbing", None, "sidecars") as bar:
        done = forget_concept(session, name, scrub, bar.advance)
    out.json_document(_forgotten(done)) if json else _tell_forgotten(done)
    if any(s.outcome is ForgetOutcome.FAILED for s in done.sidecars):
        raise typer.Exit(SOME_FAILED)


app.command("forget", help=cleandoc(forget.__doc__ or "").replace("myvlm forget", "myvlm concepts forget"))(forget)


def _forgotten(done: Any) -> dict[str, Any]:
    sidecars = [
        {"file": path_text(s.path), "status": str(s.outcome), "human_words_kept": s.human, "reason": s.reason or None}
        for s in done.sidecars
    ]
    return {
        "forgotten": done.name,
        "complete": done.complete,
        "known": done.known,
        "references": done.references,
        "journal_entries": done.journal_entries,
        "cache_entries": done.cache_entries,
        "sidecars_looked_at": done.looked_at,
        "sidecars": sidecars,
    }


def _tell_forgotten(done: Any) -> None:
    if done.known and done.complete:
        out.text(f"{done.name} is forgotten")
    for s in done.sidecars:
        if s.outcome == "failed":
            out.warn(f"{path_text(s.path)}: {s.reason}; it may still hold the name")
        else:
            out.detail(f"{s.outcome}: {path_text(s.path)}")
    human = [s for s in done.sidecars if s.human]
    if human:
        out.say(
            f"{count(len(human), 'sidecar')} with {done.name} in words that are not myvlm's; these stay (-v lists them)"
        )
    for s in human:
        out.detail(f"{path_text(s.path)}: words that are not myvlm's name {done.name}")
    if done.looked_at:
        counts = Counter(s.outcome for s in done.sidecars)
        told = ", ".join(f"{n} {outcome}" for outcome, n in sorted(counts.items())) or "none named it"
        out.say(f"{count(done.looked_at, 'sidecar')} looked at: {told}")
    if done.journal_entries:
        out.say(f"{count(done.journal_entries, 'earlier change')} can now be undone only in part")
    if not done.complete:
        what = f"{done.name} is not forgotten yet" if done.known else "the name may still be there"
        out.warn(f"{what}: run the same command again when this is mended, or with --anyway")


@app.command("clear-cache")
def clear_cache(json: o.Json = False) -> None:
    """Empty the feature cache and the calibrations. Both may hold faces of bystanders.

    The next run takes longer.

    Example: myvlm concepts clear-cache
    """
    session = o.open_session(None, None, "auto", "auto", create=False)
    count = session.cache.clear()
    session.store.calibrations.forget()
    out.json_document({"cleared": count}) if json else out.text(f"{count} entries deleted")


@app.command("import")
def import_concept(
    file: Annotated[Path, typer.Argument(help="concept_embeddings_<VLM>_<TASK>.pt", show_default=False)],
    name: Annotated[str, typer.Option("--name", help="The concept's name.", show_default=False)],
    kind: Annotated[
        Kind | None,
        typer.Option("--kind", help="person, pet or thing. Default: the concept's own, or thing.", show_default=False),
    ] = None,
    category: Annotated[
        str | None, typer.Option("--category", help="Class word, such as mug.", show_default=False)
    ] = None,
    identifier: Annotated[
        str, typer.Option("--identifier", help="The word that the embedding was trained with.")
    ] = "sks",
    task: Annotated[
        Literal["caption", "vqa"] | None,
        typer.Option("--task", help="Default: as the file's name says.", show_default=False),
    ] = None,
    iteration: Annotated[
        int | None, typer.Option("--iteration", help="Default: the last one in the file.", min=0, show_default=False)
    ] = None,
    head: Annotated[
        Path | None,
        typer.Option("--head", help="Linear head: classifier.weight, classifier.bias.", show_default=False),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace an embedding or head that the concept has.")
    ] = False,
    vlm: o.Vlm = None,
    recogniser: o.Recogniser = None,
    json: o.Json = False,
) -> None:
    """Import a concept that the paper's authors published: an embedding, and a linear head if there is one.

    Example: myvlm concepts import concept_embeddings_llava_captioning.pt --name "My mug" --head mug_head.pt
    """
    from engine.concepts.import_published import Identity, Source, guess_vlm, import_published
    from engine.core.errors import UsageError

    vlm = vlm or guess_vlm(file)
    if vlm is None:
        raise UsageError(f"{file.name} does not say for which VLM it is", hint="Give --vlm; see myvlm models.")
    session = o.open_session(vlm, recogniser, "auto", "auto")
    who = Identity(name, kind, category, identifier)
    done = import_published(session, Source(file, head, iteration, task), who, replacing=replace)
    for warning in done.warnings:
        out.warn(warning)
    if json:
        out.json_document(describe_concept(session, done.concept))
    else:
        e = done.embedding
        out.text(
            f"{done.concept.name}: imported for {e.vlm}, task {e.task}, iteration {e.steps}, called {e.identifier}"
        )
