"""`myvlm review`: suggestions, which are uncertain matches for the user to confirm or reject."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.recognition.confidence import confidence, in_words
from myvlm_cli import options as o
from myvlm_cli.calibrate import calibrate_unseen
from myvlm_cli.decide import decide_many
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.output import out, path_text
from myvlm_cli.tables import Column, print_table
from myvlm_cli.words import count

if TYPE_CHECKING:
    from engine.concepts.decide import DecisionRequest
    from engine.concepts.review import Example, NotLookedFor, Review, Suggestion
    from engine.core.errors import UsageError
    from engine.session import Session

Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=1,
        help="List at most this many, the most likely first. Default: all; on a page 500.",
        show_default=False,
    ),
]
Html = Annotated[
    Path | None,
    typer.Option(
        "--html",
        metavar="FILE",
        help="Write a page for a browser to decide on; it works offline and saves a file for --apply.",
        show_default=False,
    ),
]
Apply = Annotated[
    Path | None,
    typer.Option(
        "--apply", metavar="FILE", help="Confirm and reject as the page's file says; - is stdin.", show_default=False
    ),
]


def review(
    paths: o.Paths = None,  # type: ignore[assignment]
    concepts: o.Concepts = None,
    files_from: o.FilesFrom = None,
    null: o.Null = False,
    include: o.Include = None,
    exclude: o.Exclude = None,
    since: o.Since = None,
    until: o.Until = None,
    limit: Limit = None,
    html: Html = None,
    apply: Apply = None,
    vlm: o.Vlm = None,
    recogniser: o.Recogniser = None,
    heads: o.Heads = "open-set",
    allow_body: o.AllowBody = False,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    json: o.Json = False,
) -> None:
    """List suggestions to confirm or reject. Suggestions are uncertain matches, which are never written to sidecars.

    Example: myvlm review ~/Pictures

    Example: myvlm review ~/Pictures --html review.html

    Example: myvlm review --apply ~/Downloads/myvlm-decisions.jsonl
    """
    _check(apply, looks=[paths, concepts, files_from, include, exclude, since, until, limit, html])
    if apply is not None:
        wishes = _read(apply)
        raise typer.Exit(decide_many(o.open_session(vlm, recogniser, device, dtype, create=False), wishes, json=json))
    if html is not None:
        from engine.concepts.review_page import check_target

        check_target(html)
    photos = o.find_photos(paths, files_from, null=null, selection=o.make_selection(include, exclude, since, until))
    session = o.open_session(
        vlm, recogniser, device, dtype, heads=heads, allow_body=allow_body, create=False, names=o.split_names(concepts)
    )
    found = _look(session, photos, o.split_names(concepts))
    _show(found, limit, html, json=json)
    o.tell_tally(photos)
    raise typer.Exit(SOME_FAILED if found.unreadable else OK)


def _check(apply: Path | None, *, looks: Sequence[Any]) -> None:
    from engine.core.errors import UsageError

    if apply is not None and any(looks):
        hint = "Use myvlm review --apply FILE alone, then review the photos again."
        raise UsageError("--apply takes decisions from a file and looks at no photos", hint=hint)


def _read(path: Path) -> "list[DecisionRequest | UsageError]":
    """What to confirm and reject; each line says which."""
    from engine.concepts.decide import read_decision_requests
    from engine.core.errors import UsageError
    from engine.core.files import LARGEST_DOCUMENT, read_list_bytes, read_stream

    try:
        limit = LARGEST_DOCUMENT
        data = read_stream(sys.stdin.buffer, limit) if str(path) == "-" else read_list_bytes(path, limit)
    except OSError as err:
        hint = "Give the file that the page of myvlm review --html saved."
        raise UsageError(f"{path_text(path)}: {err.strerror or err}", hint=hint) from err
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    return read_decision_requests(text, None, None, undo=False)


def _look(session: "Session", photos: o.Photos, names: tuple[str, ...] | None) -> "Review":
    from engine.concepts.review import find_suggestions

    o.warn_of_slow_faces(session)
    calibrate_unseen(session, photos, kept=True)
    with out.progress("Looking", None) as bar:
        photos.count_onto(bar)
        return find_suggestions(session, photos, names, photos.folder, step=bar.advance)


def _show(found: "Review", limit: int | None, html: Path | None, *, json: bool) -> None:
    from engine.concepts.review_page import PAGE_LIMIT

    most = limit or (PAGE_LIMIT if html else None)
    shown = found.maybes[:most]
    more = len(found.maybes) - len(shown)
    for _, reason in found.unreadable:
        out.warn(reason)
    for left_out in found.not_looked_for:
        out.warn(f"{left_out.error}. {left_out.error.hint}")
    if html is not None:
        _write(shown, html, more)
    if json:
        out.json_document(_document(found, shown, html))
    elif html is None:
        print_table(_COLUMNS, [_cells(m) for m in shown])
    else:
        out.text(path_text(html))
    if not shown:
        _tell_of_none(found, html)
        return
    told = count(len(shown), "suggestion") + (f", and {more:,} more (--limit)" if more else "")
    out.say(
        f"{told}. "
        + (_PAGE_NEXT if html else f"Next: {_command(shown[0])} (or reject). --html FILE makes a page to decide on.")
    )


def _tell_of_none(found: "Review", html: Path | None) -> None:
    page = " The page says so, too." if html else ""
    if found.looked_for:
        out.say(f"Nothing to review: there are no suggestions in these photos.{page}")
    elif found.not_looked_for:
        out.say(f"Nothing to review: none of the concepts can be looked for.{page}")
    else:
        out.say(f"Nothing to review: there are no concepts yet. Start with: myvlm add-concept NAME PHOTOS{page}")


_PAGE_NEXT = "Next: open the page in a browser. It shows your photos: delete it when you are done."


def _command(maybe: "Suggestion") -> str:
    """How to confirm a suggestion."""
    return f"myvlm confirm {shlex.quote(path_text(maybe.path))} {shlex.quote(maybe.match.name)}"


def _write(shown: "Sequence[Suggestion]", html: Path, more: int) -> None:
    from engine.concepts.review_page import write_page

    with out.progress("Writing the page", len(shown)) as bar:
        write_page(shown, html, more=more, step=bar.advance)


_COLUMNS = (
    Column("photo", "photo"),
    Column("concept", "concept"),
    Column("", "box"),
    Column("", "score"),
    Column("", "name_threshold"),
    Column("", "maybe_threshold"),
    Column("", "nearest_reference"),
    Column("", "likeness"),
    Column("", "runner_up"),
    Column("confidence", "confidence", "right"),
    Column("named from", "named_from", "right"),
    Column("most like", ""),
    Column("next best", "", optional=True),
)
"""Scripts get the raw scores and thresholds; people get confidences, and the most important of the rest."""


def _cells(maybe: "Suggestion") -> list[str]:
    d = describe_maybe(maybe)
    match, near, rival = maybe.match, d["nearest_reference"], maybe.runner_up
    found, needed, *others = in_words(match.scale, match.score, match.threshold, *([rival.score] if rival else []))
    likeness = f"{near['likeness']:.2f}" if near and near["likeness"] is not None else ""
    return [
        d["file"],
        d["concept"],
        ",".join(map(str, d["box"])),
        f"{d['score']:.2f}",
        f"{d['name_threshold']:.2f}",
        f"{d['maybe_threshold']:.2f}",
        near["file"] if near else "",
        likeness,
        f"{rival.name} {rival.score:.2f}" if rival else "",
        found,
        needed,
        f"{Path(near['file']).name} {likeness}".strip() if near else "",
        f"{rival.name} {others[0]}" if rival else "",
    ]


def _document(found: "Review", shown: "Sequence[Suggestion]", html: Path | None) -> dict[str, Any]:
    """What was found as plain data; "maybes" are the suggestions."""
    return {
        "maybes": [describe_maybe(m) for m in shown],
        "more": len(found.maybes) - len(shown),
        "unreadable": [{"file": path_text(path), "reason": reason} for path, reason in found.unreadable],
        "html": path_text(html) if html else None,
        "not_looked_for": [_describe_left_out(n) for n in found.not_looked_for],
    }


def _describe_left_out(left_out: "NotLookedFor") -> dict[str, Any]:
    return {"concept": left_out.concept.name, "reason": str(left_out.error)}


def describe_maybe(maybe: "Suggestion") -> dict[str, Any]:
    """A suggestion as plain data."""
    near, rival = next(iter(maybe.nearest), None), maybe.runner_up
    return {
        "file": path_text(maybe.path),
        "concept": maybe.match.name,
        "kind": str(maybe.match.kind),
        "box": list(maybe.match.box.rounded()),
        "score": round(maybe.match.score, 4),
        "confidence": _rounded(confidence(maybe.match.score, maybe.match.scale)),
        "name_threshold": round(maybe.match.threshold, 4),
        "maybe_threshold": round(maybe.maybe_from, 4),
        "nearest_reference": None if near is None else _describe_example(near),
        "runner_up": None if rival is None else {"concept": rival.name, "score": round(rival.score, 4)},
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _describe_example(example: "Example") -> dict[str, Any]:
    return {
        "file": path_text(example.path),
        "likeness": None if example.likeness is None else round(example.likeness, 4),
        "confirmed": example.confirmed,
    }
