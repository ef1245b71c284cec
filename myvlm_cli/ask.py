"""`myvlm ask`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from myvlm_cli import options as o
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.output import out, path_text


def ask(
    photos_and_question: Annotated[
        list[str],
        typer.Argument(metavar="PHOTO... QUESTION", help="Photos or folders, then the question.", show_default=False),
    ],
    concepts: o.Concepts = None,
    vlm: o.Vlm = None,
    recogniser: o.Recogniser = None,
    heads: o.Heads = "open-set",
    allow_body: o.AllowBody = False,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    json: o.Json = False,
    jsonl: o.JsonLines = False,
) -> None:
    """Ask a question about photos, calling your concepts by their names.

    Example: myvlm ask photo.jpg "What is Rex holding?"
    """
    from engine.errors import UsageError
    from engine.pipeline.respond import respond

    *photos, question = photos_and_question
    if not photos:
        raise UsageError(
            "a photo and a question are needed", hint='Example: myvlm ask photo.jpg "What is Rex holding?"'
        )
    files = o.gather_photos([Path(p) for p in photos], None, null=False)
    session = o.open_session(
        vlm, recogniser, device, dtype, heads=heads, allow_body=allow_body, create=False, names=o.split_names(concepts)
    )
    o.warn_of_slow_faces(session)
    failed, documents = False, []
    with out.progress("asking", len(files)) as bar:
        for reply in respond(session, files, question, concepts=o.split_names(concepts)):
            failed = failed or reply.status == "failed"
            bar.advance()
            documents.append(_report(reply, many=len(files) > 1, json=json, jsonl=jsonl))
    if json:
        out.json_document({"question": question, "photos": documents})
    raise typer.Exit(SOME_FAILED if failed else OK)


def _report(reply: Any, *, many: bool, json: bool, jsonl: bool) -> dict[str, Any]:
    from engine.sidecars.json_sidecar import describe_match

    tasks = dict(reply.tasks)
    trained = sorted(set(tasks.values()))
    document = {
        "file": path_text(reply.path),
        "status": str(reply.status),
        "answer": reply.answer,
        "task": "+".join(trained) if trained else None,
        "concepts": [{**describe_match(m), "task": tasks.get(m.concept_id)} for m in reply.matches],
        "reason": reply.reason,
        "notes": list(reply.notes),
        "seconds": round(reply.seconds, 3),
    }
    if jsonl:
        out.json_line(document)
    elif not json and reply.answer is not None:
        out.text(f"{document['file']}: {reply.answer}" if many else reply.answer)
    if reply.answer is None:
        out.say(f"{document['file']}: {reply.reason}")
    for note in reply.notes:
        out.warn(note)
    return document
