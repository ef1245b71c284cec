"""`myvlm review`: list suggestions, the uncertain matches that the user confirms or rejects, or show them on a page."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.errors import UsageError
from engine.recognition.confidence import confidence, in_words
from myvlm_cli import options as o
from myvlm_cli.again import typed_again
from myvlm_cli.calibration import calibrate_unseen
from myvlm_cli.decide import decide_many
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.given import Photos, tell_tally
from myvlm_cli.output import Document, out, path_text
from myvlm_cli.parameters import Without
from myvlm_cli.review_open import nothing_to_review, open_review, warn_of_gaps
from myvlm_cli.sessions import warn_of_slow_faces
from myvlm_cli.tables import Column, print_table
from myvlm_cli.words import count, rounded

if TYPE_CHECKING:
    from engine.concepts.decide import DecisionRequest
    from engine.concepts.review import Example, Review, Suggestion
    from engine.session import Session


@dataclass(frozen=True)
class ReviewChoice:
    """How many suggestions to list, and whether to decide about them on a page instead."""

    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            min=1,
            help="List at most this many, the most likely first. Default: all; with --html 500.",
            show_default=False,
        ),
    ] = None
    open: Annotated[
        bool,
        typer.Option("--open", help="Confirm and reject on a page in your browser, which only this machine can reach."),
    ] = False
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="FILE",
            help="Write the page to a file that works offline; it saves decisions for --apply.",
            show_default=False,
        ),
    ] = None
    apply: Annotated[
        Path | None,
        typer.Option(
            "--apply", metavar="FILE", help="Apply the decisions in the page's file; - is stdin.", show_default=False
        ),
    ] = None


def review(
    *,
    concepts: Annotated[o.ConceptChoice, Without("only", "no_concepts")],
    photos: o.PhotoSelection,
    choice: ReviewChoice,
    models: Annotated[o.ModelChoice, Without("quantise")],
    json: o.Json = False,
) -> None:
    """List suggestions to confirm or reject. Suggestions are uncertain matches, which are never written to sidecars.

    With --open, each decision is stored at once and can be undone on the page. It ends when you are done, 90 seconds
    after its last tab was closed, half an hour after the last decision, or with Ctrl-C.

    Example: myvlm review ~/Pictures

    Example: myvlm review ~/Pictures --open

    Example: myvlm review ~/Pictures --html review.html

    Example: myvlm review --apply ~/Downloads/myvlm-decisions.jsonl
    """
    if choice.apply is not None:
        _refuse_photos(concepts, photos, choice)
        requests = _read_decisions(choice.apply)
        session = _without_heads(models).open_session(create=False)
        raise typer.Exit(decide_many(session, requests, o.OutputChoice(json=json)))
    _check_output(choice, json=json)
    files = photos.find()
    session = models.open_session(create=False, names=concepts.names)
    suggestions = _find_suggestions(session, files, concepts.names)
    if choice.open:
        caption, again = typed_again(photos, models), typed_again(photos, concepts, choice, models)
        open_review(
            session, suggestions, choice.limit, caption=f"myvlm caption {caption}", again=f"myvlm review {again}"
        )
    else:
        _print(suggestions, choice, json=json)
    tell_tally(files)
    raise typer.Exit(SOME_FAILED if suggestions.unreadable else OK)


def _check_output(choice: ReviewChoice, *, json: bool) -> None:
    """Refuse options about what is printed or written beside --open, and a file that must not be replaced."""
    if choice.open and (choice.html is not None or json):
        other = "--html" if choice.html else "--json"
        hint = "Leave out --open for a list or a file."
        raise UsageError(f"--open shows the page in the browser, and {other} does not", hint=hint)
    if choice.html is not None:
        from engine.pages.page_file import check_target
        from engine.pages.review_page import MARK

        check_target(choice.html, MARK)


def _refuse_photos(concepts: o.ConceptChoice, photos: o.PhotoSelection, choice: ReviewChoice) -> None:
    """Refuse options about photos beside --apply."""
    if concepts.concepts or photos.is_given or choice.limit or choice.html or choice.open:
        hint = "Use myvlm review --apply FILE alone, then review the photos again."
        raise UsageError("--apply takes decisions from a file and looks at no photos", hint=hint)


def _without_heads(models: o.ModelChoice) -> o.ModelChoice:
    """Return the choice without --heads and --allow-body, which --apply does not use."""
    return o.ModelChoice(models.vlm, models.recogniser, device=models.device, dtype=models.dtype)


def _read_decisions(path: Path) -> "list[DecisionRequest | UsageError]":
    """Read the file that the page saved; each line holds a verdict."""
    from engine.concepts.decide import read_decision_requests
    from engine.core.files import LARGEST_DOCUMENT, read_list_bytes, read_stream

    try:
        limit = LARGEST_DOCUMENT
        data = read_stream(sys.stdin.buffer, limit) if str(path) == "-" else read_list_bytes(path, limit)
    except OSError as err:
        hint = "Give the file that the page of myvlm review --html saved."
        raise UsageError(f"{path_text(path)}: {err.strerror or err}", hint=hint) from err
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    return read_decision_requests(text, None, None, undo=False)


def _find_suggestions(session: "Session", photos: Photos, names: tuple[str, ...] | None) -> "Review":
    from engine.concepts.review import find_suggestions

    warn_of_slow_faces(session)
    calibrate_unseen(session, photos, kept=True)
    with out.progress("looking", None) as bar:
        photos.count_onto(bar)
        return find_suggestions(session, photos, names, photos.folder, step=bar.advance)


def _print(review: "Review", choice: ReviewChoice, *, json: bool) -> None:
    """Print or write the suggestions, and what to do next."""
    from engine.pages.review_page import PAGE_LIMIT

    html = choice.html
    shown = review.suggestions[: choice.limit or (PAGE_LIMIT if html else None)]
    more = len(review.suggestions) - len(shown)
    warn_of_gaps(review)
    if html is not None:
        _write_page(shown, html, more)
    if json:
        out.json_document(_describe(review, shown, html))
    elif html is None:
        print_table(_COLUMNS, [_cells(m) for m in shown])
    else:
        out.text(path_text(html))
    out.say(_next(shown, more, html) if shown else nothing_to_review(review, html))


def _next(shown: "Sequence[Suggestion]", more: int, html: Path | None) -> str:
    """Return how many suggestions there are, and what to do with them."""
    first = shown[0]
    counted = count(len(shown), "suggestion") + (f", and {more:,} more (--limit)" if more else "")
    if html:
        return f"{counted}. Next: open the page in a browser. It shows your photos: delete it when you are done."
    command = f"myvlm confirm {shlex.quote(path_text(first.path))} {shlex.quote(first.match.name)}"
    return f"{counted}. Next: {command} (or reject). --open shows a page on which to decide."


def _write_page(shown: "Sequence[Suggestion]", html: Path, more: int) -> None:
    from engine.pages.review_page import write_page

    with out.progress("writing the page", len(shown)) as bar:
        write_page(shown, html, more=more, step=bar.advance)


_COLUMNS = (
    Column("photo"),
    Column("concept"),
    Column("box", only="pipe"),
    Column("score", only="pipe"),
    Column("name_threshold", only="pipe"),
    Column("maybe_threshold", only="pipe"),
    Column("nearest_reference", only="pipe"),
    Column("likeness", only="pipe"),
    Column("runner_up", only="pipe"),
    Column("confidence", "right"),
    Column("named_from", "right"),
    Column("most_like", only="terminal"),
    Column("next_best", only="terminal", optional=True),
)
"""Scripts get the raw scores and thresholds; people get confidences and the most important of the rest."""


def _cells(suggestion: "Suggestion") -> list[str]:
    match, near, rival = suggestion.match, next(iter(suggestion.nearest), None), suggestion.runner_up
    scores = in_words(match.scale, match.score, match.threshold, *([rival.score] if rival else []))
    likeness = f"{near.likeness:.2f}" if near and near.likeness is not None else ""
    return [
        path_text(suggestion.path),
        match.name,
        ",".join(map(str, match.box.rounded())),
        f"{round(match.score, 4):.2f}",
        f"{round(match.threshold, 4):.2f}",
        f"{round(suggestion.suggested_from, 4):.2f}",
        path_text(near.path) if near else "",
        likeness,
        f"{rival.name} {rival.score:.2f}" if rival else "",
        scores[0],
        scores[1],
        f"{Path(path_text(near.path)).name} {likeness}".strip() if near else "",
        f"{rival.name} {scores[2]}" if rival else "",
    ]


def _describe(review: "Review", shown: "Sequence[Suggestion]", html: Path | None) -> Document:
    """Return the review as JSON; "maybes" are the suggestions."""
    return {
        "maybes": [describe_suggestion(m) for m in shown],
        "more": len(review.suggestions) - len(shown),
        "unreadable": [{"file": path_text(path), "reason": reason} for path, reason in review.unreadable],
        "html": path_text(html) if html else None,
        "not_looked_for": [{"concept": n.concept.name, "reason": str(n.error)} for n in review.not_looked_for],
    }


def describe_suggestion(suggestion: "Suggestion") -> Document:
    """Return a suggestion as JSON."""
    match, near, rival = suggestion.match, next(iter(suggestion.nearest), None), suggestion.runner_up
    return {
        "file": path_text(suggestion.path),
        "concept": match.name,
        "kind": str(match.kind),
        "box": list(match.box.rounded()),
        "score": rounded(match.score),
        "confidence": rounded(confidence(match.score, match.scale)),
        "name_threshold": rounded(match.threshold),
        "maybe_threshold": rounded(suggestion.suggested_from),
        "nearest_reference": None if near is None else _describe_example(near),
        "runner_up": None if rival is None else {"concept": rival.name, "score": rounded(rival.score)},
    }


def _describe_example(example: "Example") -> Document:
    return {
        "file": path_text(example.path),
        "likeness": rounded(example.likeness),
        "confirmed": example.confirmed,
    }
