"""`myvlm confirm` and `myvlm reject`."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.recognition.confidence import label
from myvlm_cli import options as o
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.output import out, path_text

if TYPE_CHECKING:
    from engine.concepts.decide import DecisionRequest, DecisionResult
    from engine.core.errors import UsageError
    from engine.session import Session

Photo = Annotated[
    Path,
    typer.Argument(
        help='The photo; - reads lines such as {"photo": "a.jpg", "concept": "rex", "verdict": "confirm", "box":'
        " [x0, y0, x1, y1]} from stdin; verdict, concept and box may be left out.",
        show_default=False,
    ),
]
Concept = Annotated[
    str | None,
    typer.Argument(
        help="The concept's name; with -, the name for lines without one.",
        autocompletion=o.complete_concept,
        show_default=False,
    ),
]
Where = Annotated[
    str | None,
    typer.Option(
        "--box",
        metavar="X0,Y0,X1,Y1",
        help="Where it is, in pixels of the upright photo. Default: the region that looks most like it.",
        show_default=False,
    ),
]
Undo = Annotated[bool, typer.Option("--undo", help="Remove the decision about this photo and concept.")]


def confirm(
    photo: Photo,
    concept: Concept = None,
    box: Where = None,
    undo: Undo = False,
    vlm: o.Vlm = None,
    recogniser: o.Recogniser = None,
    device: o.Device = "auto",
    json: o.Json = False,
    jsonl: o.JsonLines = False,
) -> None:
    """Confirm that a concept is in a photo. It is named there from the next caption on, and recognition learns from it.

    Example: myvlm confirm beach.jpg rex --box 120,80,400,390

    Example: myvlm confirm - < decisions.jsonl
    """
    session = o.open_session(vlm, recogniser, device, "auto", create=False)
    raise typer.Exit(_run(session, "confirm", photo, concept, box, undo=undo, json=json, jsonl=jsonl))


def reject(
    photo: Photo,
    concept: Concept = None,
    box: Where = None,
    undo: Undo = False,
    vlm: o.Vlm = None,
    recogniser: o.Recogniser = None,
    device: o.Device = "auto",
    json: o.Json = False,
    jsonl: o.JsonLines = False,
) -> None:
    """Record that a concept is not in a photo. It is never named there again, and recognition learns from it.

    --box shows what was taken for the concept; the concept is named nowhere in the photo, with or without a box.

    Example: myvlm reject beach.jpg rex
    """
    session = o.open_session(vlm, recogniser, device, "auto", create=False)
    raise typer.Exit(_run(session, "reject", photo, concept, box, undo=undo, json=json, jsonl=jsonl))


def _run(
    session: "Session",
    verdict: str,
    photo: Path,
    concept: str | None,
    box: str | None,
    *,
    undo: bool,
    json: bool,
    jsonl: bool,
) -> int:
    """Decide about one photo, or all that stdin lists; the exit code."""
    if str(photo) == "-":
        return decide_many(session, _listed(verdict, concept, box, undo=undo), json=json, jsonl=jsonl)
    return decide_one(session, _wish(verdict, photo, concept, box, undo=undo), json=json, jsonl=jsonl)


def _listed(verdict: str, concept: str | None, box: str | None, *, undo: bool) -> "list[DecisionRequest | UsageError]":
    from engine.concepts.decide import read_decision_requests
    from engine.core.errors import UsageError
    from engine.core.files import LARGEST_DOCUMENT, read_stream
    from engine.core.types import Verdict

    if box is not None:
        raise UsageError("--box is for one photo", hint="Give each line a box of its own.")
    data = read_stream(sys.stdin.buffer, LARGEST_DOCUMENT).removeprefix(b"\xef\xbb\xbf")
    text = data.decode("utf-8", "surrogateescape")
    return read_decision_requests(text, Verdict(verdict), concept, undo=undo)


def _wish(verdict: str, photo: Path, concept: str | None, box: str | None, *, undo: bool) -> "DecisionRequest":
    from engine.concepts.decide import DecisionRequest, make_box
    from engine.core.errors import UsageError
    from engine.core.types import Verdict

    if concept is None:
        raise UsageError("no concept given", hint=f"Example: myvlm {verdict} {path_text(photo)} rex")
    try:
        place = make_box([float(v) for v in box.split(",")]) if box is not None else None
    except ValueError as err:
        raise UsageError(f"--box {box!r} is no box", hint="Write it as 120,80,400,390.") from err
    return DecisionRequest(photo, concept, Verdict(verdict), place, undo)


def decide_one(session: "Session", wish: "DecisionRequest", *, json: bool, jsonl: bool) -> int:
    """Decide one thing and tell what became of it; the exit code.

    Raises:
        EngineError: it cannot be decided.
    """
    from engine.concepts.decide import decide

    before = "" if json or jsonl or wish.undo else _confidence_before(session, wish)
    results = decide(session, [wish])
    if results[0].error is not None:
        raise results[0].error
    code = _tell(results, json=json, jsonl=jsonl, before=before)
    out.say(f"Next: myvlm caption {shlex.quote(path_text(wish.photo))} writes it to the sidecar.")
    return code


def _confidence_before(session: "Session", wish: "DecisionRequest") -> str:
    """How sure myvlm was of a concept in a photo that nobody had decided about; "" where it was not looked for."""
    from engine.core.errors import EngineError
    from engine.recognition.explain.explanation import explain_photo
    from engine.recognition.explain.picture import scores_in_words

    try:
        found = explain_photo(session, wish.concept, wish.photo)[1]
    except EngineError:  # what stops the decision, too, is told there
        return ""
    if found.score is None or found.outcome in ("confirmed", "rejected"):
        return ""
    words = scores_in_words(found)
    return f" ({label(found.scale)} before: {words.score}; named from {words.name})"


def decide_many(
    session: "Session", wishes: "Sequence[DecisionRequest | UsageError]", *, json: bool = False, jsonl: bool = False
) -> int:
    """Decide all that can be, and tell what became of each and how many there were; the exit code."""
    from engine.concepts.decide import decide

    results = decide(session, wishes)
    code = _tell(results, json=json, jsonl=jsonl)
    failed = sum(r.error is not None for r in results)
    out.say(f"{len(results) - failed} done, {failed} failed. Next: myvlm caption FOLDER writes them to sidecars.")
    return code


def _tell(results: "Sequence[DecisionResult]", *, json: bool, jsonl: bool, before: str = "") -> int:
    documents = [_document(r) for r in results]
    if json:
        out.json_document({"decisions": documents})
    for result, document in zip(results, documents, strict=True):
        if jsonl and not json:
            out.json_line(document)
        elif result.error is None and not json:
            out.text(f"{_told(document)}{before}")
        if result.error is not None:
            out.warn(document["reason"])
        for note in result.notes:
            out.warn(f"{document['file']}: {note}")
    return SOME_FAILED if any(r.error for r in results) else OK


def _document(result: Any) -> dict[str, Any]:
    wish, decision, was = result.wish, result.decision, result.replaced
    status = "failed" if result.error else "undone" if wish.undo else "replaced" if was else "decided"
    return {
        "file": path_text(wish.photo) if wish else None,
        "concept": wish.concept if wish else None,
        "status": status,
        "verdict": str(decision.verdict if decision else wish.verdict) if wish else None,
        "box": list(decision.box.rounded()) if decision and decision.box else None,
        "before": str(was.verdict) if was else None,
        "reason": str(result.error) if result.error else None,
        "notes": list(result.notes),
    }


def _told(document: dict[str, Any]) -> str:
    verdict = f"{document['concept']} {DECIDED[document['verdict']]}"
    if document["status"] == "undone":
        return f"{document['file']}: decision removed: {verdict}"
    before = f" (before: {DECIDED[document['before']]})" if document["before"] else ""
    return f"{document['file']}: {verdict}{before}"


DECIDED = {"confirm": "confirmed", "reject": "rejected"}
"""Verdicts for people."""


STANDINGS = {
    "holds": "",
    "changed": "; the photo has changed since, so it no longer counts: decide again",
    "not there": "; the photo is no longer at that place; the decision still counts for it",
}


def describe_decisions(session: Any, concept: Any) -> list[dict[str, Any]]:
    """What was decided about a concept, with whether it still counts where it was decided: photos are read."""
    from engine.concepts.decide import standing

    known = session.store.decisions.of(concept.id)
    return [describe_decision(d) | {"standing": standing(d)} for d in known]


def describe_decision(d: Any) -> dict[str, Any]:
    """A decision as plain data."""
    return {
        "verdict": str(d.verdict),
        "file": path_text(d.path),
        "content_hash": d.content_hash,
        "box": list(d.box.rounded()) if d.box else None,
        "decided": d.decided,
    }
