"""`myvlm runs`, `myvlm undo` and `myvlm status`: what was written, how to take it back, how it stands."""

from collections import Counter
from typing import Annotated, Any

import typer

from myvlm_cli import options as o
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.output import out, path_text


def complete_run(incomplete: str) -> list[str]:
    """Ids of runs that start like this."""
    from engine.config import home
    from engine.store.journal import Journal

    return [r.id for r in Journal(home()).runs() if r.id.startswith(incomplete)]


def runs(
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep", min=0, help="Forget all but the newest N; those cannot be undone then.", show_default=False
        ),
    ] = None,
    json: o.Json = False,
) -> None:
    """List the runs that wrote sidecars, the newest first.

    Example: myvlm runs
    """
    from engine.config import home
    from engine.store.journal import Journal
    from engine.store.lock import run_lock

    journal = Journal(home())
    if keep is not None:
        with run_lock(home(), "runs --keep"):
            out.say(f"{journal.prune(keep)} runs forgotten; sidecars stay as they are")
    found = journal.runs()
    if json:
        out.json_document({"runs": [{**r.__dict__} for r in found]})
    for run in () if json else found:
        state = "undone" if run.undone else "" if run.finished else "not finished"
        out.text(f"{run.id}\t{run.command}\t{run.photos} photos\t{run.files} files\t{state}".rstrip())
    if not found:
        out.say("Nothing was written yet.")


def undo(
    run: Annotated[
        str | None,
        typer.Argument(
            help="The run's id or its beginning. Default: the last one not undone.",
            autocompletion=complete_run,
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would happen; write nothing.")] = False,
    json: o.Json = False,
    jsonl: o.JsonLines = False,
) -> None:
    """Take back a run: every sidecar becomes what it was, byte for byte. What somebody else changed since keeps
    the change and only loses what myvlm wrote.

    Example: myvlm undo
    """
    from engine.config import home
    from engine.pipeline.undo import undo as take_back

    found, outcomes = take_back(home(), run, dry=dry_run)
    counts: Counter[str] = Counter()
    documents = []
    for done in outcomes:
        counts[done.outcome] += 1
        document = {"file": path_text(done.path), "status": str(done.outcome), "reason": done.reason}
        if json:
            documents.append(document)
        elif jsonl:
            out.json_line(document)
        if done.reason and done.outcome != "cleaned":
            out.say(f"{document['status']}: {document['file']}: {done.reason}")
        else:
            out.detail(f"{document['status']}: {document['file']}")
    if json:
        out.json_document({"run": found.id, "files": documents, "summary": dict(counts)})
    told = ", ".join(f"{n} {outcome}" for outcome, n in sorted(counts.items())) or "no files"
    out.say(f"{'would undo' if dry_run else 'undid'} {found.id} ({found.command}, {found.started}): {told}")
    raise typer.Exit(SOME_FAILED if counts["failed"] or counts["later"] else OK)


def status(
    paths: o.Paths = None,  # type: ignore[assignment]
    concepts: o.Concepts = None,
    no_concepts: Annotated[bool, typer.Option("--no-concepts", help="As captioned with --no-concepts.")] = False,
    files_from: o.FilesFrom = None,
    null: o.Null = False,
    include: o.Include = None,
    exclude: o.Exclude = None,
    since: o.Since = None,
    until: o.Until = None,
    sidecar_naming: o.SidecarNaming = "auto",
    sidecar_dir: o.SidecarDir = None,
    vlm: o.Vlm = None,
    recogniser: o.Recogniser = None,
    heads: o.Heads = "open-set",
    allow_body: o.AllowBody = False,
    json: o.Json = False,
    jsonl: o.JsonLines = False,
) -> None:
    """Say how photos' sidecars stand: new, current, stale, dropped by another program, edited by a human.

    Example: myvlm status ~/Pictures
    """
    from engine.pipeline.standing import stand

    photos = o.find_photos(paths, files_from, null=null, selection=o.make_selection(include, exclude, since, until))
    names = () if no_concepts else o.split_names(concepts)
    session = o.open_session(
        vlm, recogniser, "auto", "auto", heads=heads, allow_body=allow_body, create=False, names=names
    )
    counts: Counter[str] = Counter()
    documents = []
    naming = o.make_naming(sidecar_naming, sidecar_dir)
    for standing in stand(session, photos, names=names, naming=naming, library=photos.folder):
        counts[standing.state] += 1
        document = _describe(standing)
        if json:
            documents.append(document)
        elif jsonl:
            out.json_line(document)
        elif standing.state != "current":
            out.text(f"{document['file']}: {standing.state}: {standing.reason}")
        for note in standing.notes:
            out.warn(f"{document['file']}: {note}")
    if json:
        out.json_document({"photos": documents, "summary": dict(counts)})
    out.say(", ".join(f"{n} {state}" for state, n in sorted(counts.items())) or "No photos found.")
    o.tell_tally(photos)
    raise typer.Exit(SOME_FAILED if counts["failed"] else OK)


def _describe(standing: Any) -> dict[str, Any]:
    return {
        "file": path_text(standing.path),
        "status": str(standing.state),
        "reason": standing.reason,
        "caption": standing.caption,
        "sidecar": path_text(standing.sidecar) if standing.sidecar else None,
        "run": standing.run or None,
        "notes": list(standing.notes),
    }
