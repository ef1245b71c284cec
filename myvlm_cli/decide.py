"""`myvlm confirm` and `myvlm reject`."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.errors import EngineError, UsageError
from engine.core.types import Verdict
from engine.recognition.confidence import label
from myvlm_cli import options as o
from myvlm_cli.completion import complete_concept
from myvlm_cli.decisions import VERDICTS
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.output import Document, out, path_text
from myvlm_cli.parameters import Without

if TYPE_CHECKING:
    from engine.concepts.decide import DecisionRequest, DecisionResult
    from engine.core.boxes import Box
    from engine.session import Session

Models = Annotated[o.ModelChoice, Without("heads", "allow_body", "dtype", "quantise")]


@dataclass(frozen=True)
class DecisionChoice:
    """What to decide: the photo, the concept, where it is, and whether to remove the decision instead."""

    photo: Annotated[
        Path,
        typer.Argument(
            help='The photo; - reads lines such as {"photo": "a.jpg", "concept": "rex", "verdict": "confirm", "box":'
            " [x0, y0, x1, y1]} from stdin; verdict, concept and box are optional.",
            show_default=False,
        ),
    ]
    concept: Annotated[
        str | None,
        typer.Argument(
            help="The concept's name; with -, the name for lines without one.",
            autocompletion=complete_concept,
            show_default=False,
        ),
    ] = None
    box: Annotated[
        str | None,
        typer.Option(
            "--box",
            metavar="X0,Y0,X1,Y1",
            help="Where the concept is, in pixels of the upright photo. Default: the region that looks most like it.",
            show_default=False,
        ),
    ] = None
    undo: Annotated[bool, typer.Option("--undo", help="Remove the decision about this photo and concept.")] = False


def confirm(*, decision: DecisionChoice, models: Models, output: o.OutputChoice) -> None:
    """Confirm that a concept is in a photo. The next caption run names it there, and recognition learns from it.

    Example: myvlm confirm beach.jpg rex --box 120,80,400,390

    Example: myvlm confirm - < decisions.jsonl
    """
    _decide(Verdict.CONFIRM, decision, models, output)


def reject(*, decision: DecisionChoice, models: Models, output: o.OutputChoice) -> None:
    """Record that a concept is not in a photo. It is never named there again, and recognition learns from it.

    --box marks what was mistaken for the concept. With or without a box, the concept is not named anywhere in the
    photo.

    Example: myvlm reject beach.jpg rex
    """
    _decide(Verdict.REJECT, decision, models, output)


def _decide(verdict: Verdict, decision: DecisionChoice, models: o.ModelChoice, output: o.OutputChoice) -> None:
    """Decide about one photo, or about all photos that stdin lists."""
    session = models.open_session(create=False)
    if str(decision.photo) == "-":
        raise typer.Exit(decide_many(session, _read_stdin(verdict, decision), output))
    raise typer.Exit(decide_one(session, _make_request(verdict, decision), output))


def _read_stdin(verdict: Verdict, decision: DecisionChoice) -> "list[DecisionRequest | UsageError]":
    from engine.concepts.decide import read_decision_requests
    from engine.core.files import LARGEST_DOCUMENT, read_stream

    if decision.box is not None:
        raise UsageError("--box is for one photo", hint="Give each line a box of its own.")
    data = read_stream(sys.stdin.buffer, LARGEST_DOCUMENT).removeprefix(b"\xef\xbb\xbf")
    text = data.decode("utf-8", "surrogateescape")
    return read_decision_requests(text, verdict, decision.concept, undo=decision.undo)


def _make_request(verdict: Verdict, decision: DecisionChoice) -> "DecisionRequest":
    from engine.concepts.decide import DecisionRequest

    if decision.concept is None:
        raise UsageError("no concept given", hint=f"Example: myvlm {verdict} {path_text(decision.photo)} rex")
    return DecisionRequest(decision.photo, decision.concept, verdict, _read_box(decision.box), decision.undo)


def _read_box(text: str | None) -> "Box | None":
    """Read the value of --box.

    Raises:
        UsageError: it is not four numbers, or the box is empty.
    """
    from engine.concepts.decide import make_box

    if text is None:
        return None
    try:
        return make_box([float(v) for v in text.split(",")])
    except ValueError as err:
        raise UsageError(f"--box {text!r} is not a box", hint="Write it as 120,80,400,390.") from err


def decide_one(session: "Session", request: "DecisionRequest", output: o.OutputChoice) -> int:
    """Record one decision, print it, and return the exit code.

    Raises:
        EngineError: the decision cannot be recorded.
    """
    from engine.concepts.decide import decide

    before = _confidence_before(session, request) if output.is_text and not request.undo else ""
    results = decide(session, [request])
    if results[0].error is not None:
        raise results[0].error
    code = _report(results, output, before)
    _tell_of_encoding(session, results)
    out.say(f"Next: myvlm caption {shlex.quote(path_text(request.photo))} writes it to the sidecar.")
    return code


def _confidence_before(session: "Session", request: "DecisionRequest") -> str:
    """Return how certain the match was before the decision; "" if it was already decided, or not looked for."""
    from engine.recognition.explain.explain import explain_known, explain_photo
    from engine.recognition.explain.words import scores_in_words

    try:
        try:
            explanation = explain_known(session, request.concept, request.photo)
        except UsageError:  # the cache does not know the photo
            explanation = explain_photo(session, request.concept, request.photo)[1]
    except EngineError:  # if it prevents the decision, too, the error is reported there
        return ""
    if explanation.score is None or explanation.outcome in ("confirmed", "rejected"):
        return ""
    scores = scores_in_words(explanation)
    return f" ({label(explanation.scale)} before: {scores.score}; named from {scores.name})"


def _tell_of_encoding(session: "Session", results: "Sequence[DecisionResult]") -> None:
    """Say that models were loaded, which takes seconds: the cache did not hold what the heads learn from."""
    if session.extractor.loaded and any(r.error is None for r in results):
        out.say(f"The recogniser {session.recogniser_config.name} looked at the photos again, for the heads to learn.")


def decide_many(session: "Session", requests: "Sequence[DecisionRequest | UsageError]", output: o.OutputChoice) -> int:
    """Record all decisions that can be recorded, print each and how many there were, and return the exit code."""
    from engine.concepts.decide import decide

    results = decide(session, requests)
    code = _report(results, output)
    _tell_of_encoding(session, results)
    failed = sum(r.error is not None for r in results)
    out.say(f"{len(results) - failed} done, {failed} failed. Next: myvlm caption FOLDER writes them to sidecars.")
    return code


def _report(results: "Sequence[DecisionResult]", output: o.OutputChoice, before: str = "") -> int:
    """Print the results and return the exit code. before: what to add to the text about the match before."""
    if output.json:
        out.json_document({"decisions": [_describe(r) for r in results]})
    told: EngineError | None = None
    for result in results:
        if output.jsonl:
            out.json_line(_describe(result))
        elif output.is_text and result.request is not None and result.error is None:
            out.text(f"{_result_text(result, result.request)}{before}")
        if result.error is not None and result.error is not told:  # one that stops all is told once
            told = result.error
            out.warn(str(told))
        for note in result.notes:
            out.warn(f"{path_text(result.request.photo) if result.request else None}: {note}")
    return SOME_FAILED if any(r.error for r in results) else OK


def _describe(result: "DecisionResult") -> Document:
    request, decision, replaced = result.request, result.decision, result.replaced
    return {
        "file": path_text(request.photo) if request else None,
        "concept": request.concept if request else None,
        "status": _status_of(result),
        "verdict": str(decision.verdict if decision else request.verdict) if request else None,
        "box": list(decision.box.rounded()) if decision and decision.box else None,
        "before": str(replaced.verdict) if replaced else None,
        "reason": str(result.error) if result.error else None,
        "notes": [str(n) for n in result.notes],
    }


def _status_of(result: "DecisionResult") -> str:
    if result.error:
        return "failed"
    if result.request and result.request.undo:
        return "undone"
    return "replaced" if result.replaced else "decided"


def _result_text(result: "DecisionResult", request: "DecisionRequest") -> str:
    """Return a result as text."""
    verdict = VERDICTS[result.decision.verdict if result.decision else request.verdict]
    photo, concept = path_text(request.photo), request.concept
    if request.undo:
        return f"{photo}: decision removed: {concept} {verdict}"
    before = f" (before: {VERDICTS[result.replaced.verdict]})" if result.replaced else ""
    return f"{photo}: {concept} {verdict}{before}"
