"""`myvlm caption`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from myvlm_cli import options as o
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.output import out, path_text


def caption(
    paths: o.Paths = None,  # type: ignore[assignment]
    concepts: o.Concepts = None,
    no_concepts: Annotated[
        bool, typer.Option("--no-concepts", help="Caption as the plain VLM does, without names.")
    ] = False,
    files_from: o.FilesFrom = None,
    null: o.Null = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Caption, but write nothing at all.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Caption again what is up to date. A human's words stay.")
    ] = False,
    explain: o.Explain = None,
    vlm: o.Vlm = None,
    recogniser: o.Recogniser = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    json: o.Json = False,
    jsonl: o.JsonLines = False,
) -> None:
    """Caption photos and folders, naming whom and what was recognised, into sidecar files.

    Example: myvlm caption ~/Pictures --concepts rex,anna
    """
    from engine.errors import UsageError
    from engine.pipeline.describe import Request

    if no_concepts and concepts is not None:
        raise UsageError("--concepts and --no-concepts exclude each other", hint="Use one of them.")
    if explain and dry_run:
        raise UsageError(
            "--dry-run writes nothing, --explain writes pictures",
            hint="Use myvlm locate NAME PHOTOS --explain FOLDER: it writes pictures and nothing else.",
        )
    photos = o.gather_photos(paths, files_from, null=null)
    session = o.open_session(vlm, recogniser, device, dtype)
    o.warn_of_slow_faces(session)
    request = Request(() if no_concepts else o.split_names(concepts), write=not dry_run, force=force, explain=explain)
    counts = _run(session, photos, request, json=json, jsonl=jsonl)
    raise typer.Exit(SOME_FAILED if counts.get("failed") else OK)


def _run(session: Any, photos: list[Path], request: Any, *, json: bool, jsonl: bool) -> dict[str, int]:
    from engine.pipeline.describe import describe, split_trained

    for concept in split_trained(session, request.concepts)[1]:
        if concept.references:
            out.warn(f"{concept.name} was never trained for {session.vlm_config.name} and is left out (myvlm train)")
        else:
            out.warn(f"{concept.name} was imported without a head or an embedding for this VLM and is left out")
    counts: dict[str, int] = {}
    documents = []
    with out.progress("captioning", len(photos)) as bar:
        for result in describe(session, photos, request):
            counts[result.status] = counts.get(result.status, 0) + 1
            bar.advance()
            documents.append(_report(result, json=json, jsonl=jsonl))
    if json:
        out.json_document({"photos": documents, "summary": counts})
    _summarise(counts, documents)
    return counts


def _report(result: Any, *, json: bool, jsonl: bool) -> dict[str, Any]:
    document = describe_result(result)
    if jsonl:
        out.json_line(document)
    elif not json and result.caption is not None:
        out.text(f"{document['file']}: {result.caption}")
    if result.status == "failed":
        out.say(f"failed: {result.reason}")
    for note in result.notes:
        out.detail(f"{document['file']}: {note}")
    return document


def describe_result(result: Any) -> dict[str, Any]:
    """A photo's result as plain data."""
    from engine.sidecars.json_sidecar import describe_match

    return {
        "file": path_text(result.path),
        "status": str(result.status),
        "caption": result.caption,
        "concepts": [describe_match(m) for m in result.matches],
        "sidecar": path_text(result.sidecars[0]) if result.sidecars else None,
        "pictures": [path_text(p) for p in getattr(result, "pictures", ())],
        "taken": result.facts.taken if result.facts else None,
        "reason": result.reason,
        "notes": list(result.notes),
        "seconds": round(result.seconds, 3),
    }


def _summarise(counts: dict[str, int], documents: list[dict[str, Any]]) -> None:
    if not documents:
        out.say("No photos found.")
        return
    if set(counts) == {"unchanged"}:
        out.say(f"Nothing to do: {counts['unchanged']} photos are up to date.")
        return
    out.say(", ".join(f"{n} {status}" for status, n in sorted(counts.items())))
    if any("storybook" in note for d in documents for note in d["notes"]):
        out.warn(
            "the storybook VLM only knows its own drawn world; what it says of real photos is noise. "
            "Get a real one: myvlm models"
        )
