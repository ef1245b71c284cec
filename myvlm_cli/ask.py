"""`myvlm ask`."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from myvlm_cli import options as o
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.output import out, path_text
from myvlm_cli.words import count, listed

if TYPE_CHECKING:
    from engine.session import Session


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
    from engine.captioning.answer import answer_question
    from engine.captioning.names_only import UNKNOWN_WORLD

    *photos, question = photos_and_question
    _check_question(photos, question)
    files = o.gather_photos([Path(p) for p in photos], None, null=False)
    session = o.open_session(
        vlm, recogniser, device, dtype, heads=heads, allow_body=allow_body, create=False, names=o.split_names(concepts)
    )
    o.warn_of_slow_faces(session)
    failed, unknown, untrained, documents = False, 0, set[str](), []
    with out.progress("asking", len(files)) as bar:
        for reply in answer_question(session, files, question, concepts=o.split_names(concepts)):
            failed = failed or reply.status == "failed"
            unknown += reply.reason == UNKNOWN_WORLD
            untrained |= set(reply.untrained)
            bar.advance()
            documents.append(_report(reply, many=len(files) > 1, json=json, jsonl=jsonl))
    if json:
        out.json_document({"question": question, "photos": documents})
    _tell_gaps(session, unknown, untrained)
    raise typer.Exit(SOME_FAILED if failed else OK)


def _check_question(photos: list[str], question: str) -> None:
    from engine.core.errors import UsageError

    example = 'Example: myvlm ask photo.jpg "What is Rex holding?"'
    words = [p for p in photos if not _exists(p) and not set(p) & set("/.\\*-")]
    if len(words) > 1 or (words and len(photos) > len(words)):
        raise UsageError(f"{words[0]!r} is not a photo; quote the question", hint=example)
    if not photos or not question.strip() or _exists(question):
        raise UsageError("a photo and a question are needed", hint=example)


def _exists(text: str) -> bool:
    """Whether there is a file of that name; a long question is none."""
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return False


def _tell_gaps(session: "Session", unknown: int, untrained: set[str]) -> None:
    """Say once what could not be answered, and whom the VLM cannot call by name."""
    if unknown:
        out.warn(
            f"{count(unknown, 'photo')} without an answer: no VLM for real photos is on this machine (myvlm models)"
        )
    if untrained:
        names = sorted(untrained, key=str.casefold)
        out.say(
            f"not trained yet for {session.vlm_config.name}, so answers call them by a class word: {listed(names)}."
            f" Run: myvlm train {' '.join(map(quote, names))}"
        )


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
        "absent": list(reply.absent),
        "seconds": round(reply.seconds, 3),
    }
    if jsonl:
        out.json_line(document)
    elif not json and reply.answer is not None:
        out.text(f"{document['file']}: {reply.answer}" if many else reply.answer)
    from engine.captioning.names_only import UNKNOWN_WORLD

    if reply.answer is None and reply.reason != UNKNOWN_WORLD:
        reason = str(reply.reason).removeprefix(f"{reply.path}: ")
        out.say(f"{document['file']}: {reason}")
    return document
