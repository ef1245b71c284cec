"""`myvlm review`: what myvlm is not sure of, for the user to decide."""

import os
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from myvlm_cli import options as o
from myvlm_cli.calibrate import calibrate_unseen
from myvlm_cli.decide import decide_many
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.output import out, path_text

if TYPE_CHECKING:
    from engine.errors import UsageError
    from engine.pipeline.decide import Wish
    from engine.pipeline.review import Example, Maybe, NotLookedFor, Review
    from engine.pipeline.session import Session

Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=1,
        help="List at most this many, the most promising. Default: all, on a page 500.",
        show_default=False,
    ),
]
Html = Annotated[
    Path | None,
    typer.Option(
        "--html",
        metavar="FILE",
        help="Write a page on which they are decided; it works without network and saves a file for --apply.",
        show_default=False,
    ),
]
Apply = Annotated[
    Path | None,
    typer.Option(
        "--apply", metavar="FILE", help="Confirm and reject what the page saved; - is stdin.", show_default=False
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
    """List who or what may be in your photos: not sure enough for a caption, so that you can say yes or no.

    Example: myvlm review ~/Pictures

    Example: myvlm review ~/Pictures --html review.html

    Example: myvlm review --apply ~/Downloads/myvlm-decisions.jsonl
    """
    _check(apply, looks=[paths, concepts, files_from, include, exclude, since, until, limit, html])
    if apply is not None:
        wishes = _read(apply)
        raise typer.Exit(decide_many(o.open_session(vlm, recogniser, device, dtype, create=False), wishes, json=json))
    if html is not None:
        from engine.pipeline.review_page import check_target

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
    from engine.errors import UsageError

    if apply is not None and any(looks):
        hint = "Use myvlm review --apply FILE alone, then review the photos again."
        raise UsageError("--apply takes decisions from a file and looks at no photos", hint=hint)


def _read(path: Path) -> "list[Wish | UsageError]":
    """What to confirm and reject; each line says which."""
    from engine.errors import UsageError
    from engine.pipeline.decide import read_wishes

    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as err:
        hint = "Give the file that the page of myvlm review --html saved."
        raise UsageError(f"{path_text(path)}: {err.strerror or err}", hint=hint) from err
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    return read_wishes(text, None, None, undo=False)


def _look(session: "Session", photos: o.Photos, names: tuple[str, ...] | None) -> "Review":
    from engine.pipeline.review import find_maybes

    o.warn_of_slow_faces(session)
    calibrate_unseen(session, photos, kept=True)
    with out.progress("looking", None) as bar:
        photos.count_onto(bar)
        return find_maybes(session, photos, names, photos.folder, step=bar.advance)


def _show(found: "Review", limit: int | None, html: Path | None, *, json: bool) -> None:
    from engine.pipeline.review_page import PAGE_LIMIT

    most = limit or (PAGE_LIMIT if html else None)
    shown = found.maybes[:most]
    more = len(found.maybes) - len(shown)
    for _, reason in found.unreadable:
        out.warn(reason)
    for left_out in found.not_looked_for:
        out.warn(f"{left_out.error}. {left_out.error.hint}")
    if html is not None and shown:
        _write(shown, html, more)
    if json:
        out.json_document(_document(found, shown, html))
    elif html is None and shown:
        _list(shown)
    elif shown:
        out.text(path_text(html))
    if not shown:
        _tell_of_none(found, html)
        return
    told = f"{len(shown)} to review" + (f", and {more} more (--limit)" if more else "")
    out.say(f"{told}. " + _WHAT_NOW[html is not None])


def _tell_of_none(found: "Review", html: Path | None) -> None:
    if found.looked_for:
        out.say("Nothing to review.")
    elif found.not_looked_for:
        out.say("No concept can be looked for.")
    else:
        out.say("There is no concept to look for; start with: myvlm add-concept NAME PHOTOS")
    if html is not None and os.path.lexists(html):  # a page of ours, or it would have been refused
        out.warn(f"{path_text(html)} is from before, and was left as it is; it shows your photos, so delete it")


_WHAT_NOW = {
    False: "myvlm confirm and myvlm reject decide them; --html FILE makes a page for it.",
    True: "Open the page in a browser; it shows your photos, so delete it when you are done.",
}


def _write(shown: "Sequence[Maybe]", html: Path, more: int) -> None:
    from engine.pipeline.review_page import write_page

    with out.progress("writing the page", len(shown)) as bar:
        write_page(shown, html, more=more, step=bar.advance)


def _list(maybes: "Sequence[Maybe]") -> None:
    """A table for people, or tab-separated lines."""
    if sys.stdout.isatty():
        out.table(_table(maybes))
        return
    for maybe in maybes:
        out.text("\t".join(_cells(maybe)))


def _table(maybes: "Sequence[Maybe]") -> Any:
    """The most important of what the lines tell, for 80 columns."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Not sure enough for a caption")
    for heading in ("photo", "perhaps", "score", "named from", "most like", "next"):
        justify = "right" if heading in ("score", "named from") else "left"
        table.add_column(heading, justify=justify, overflow="fold")
    for maybe in maybes:
        file, concept, _, score, named_from, _, nearest, likeness, rival = _cells(maybe)
        most_like = f"{Path(nearest).name} {likeness}".strip()
        table.add_row(*(Text(t) for t in (file, concept, score, named_from, most_like, rival)))
    return table


def _cells(maybe: "Maybe") -> list[str]:
    """Photo, concept, box, score, name threshold, maybe threshold, nearest reference, its likeness, runner-up."""
    d = describe_maybe(maybe)
    near, rival = d["nearest_reference"], d["runner_up"]
    cells = [
        d["file"],
        d["concept"],
        ",".join(map(str, d["box"])),
        f"{d['score']:.2f}",
        f"{d['name_threshold']:.2f}",
        f"{d['maybe_threshold']:.2f}",
        near["file"] if near else "",
        f"{near['likeness']:.2f}" if near and near["likeness"] is not None else "",
        f"{rival['concept']} {rival['score']:.2f}" if rival else "",
    ]
    return [_on_one_line(c) for c in cells]


def _on_one_line(text: str) -> str:
    """Text without tabs, line ends and what a terminal would obey, which appear as escapes."""
    strange = ("Cc", "Zl", "Zp")
    return "".join(repr(c)[1:-1] if unicodedata.category(c) in strange else c for c in text)


def _document(found: "Review", shown: "Sequence[Maybe]", html: Path | None) -> dict[str, Any]:
    return {
        "maybes": [describe_maybe(m) for m in shown],
        "more": len(found.maybes) - len(shown),
        "unreadable": [{"file": path_text(path), "reason": reason} for path, reason in found.unreadable],
        "html": path_text(html) if html and shown else None,
        "not_looked_for": [_describe_left_out(n) for n in found.not_looked_for],
    }


def _describe_left_out(left_out: "NotLookedFor") -> dict[str, Any]:
    return {"concept": left_out.concept.name, "reason": str(left_out.error)}


def describe_maybe(maybe: "Maybe") -> dict[str, Any]:
    """A maybe as plain data."""
    near, rival = next(iter(maybe.nearest), None), maybe.runner_up
    return {
        "file": path_text(maybe.path),
        "concept": maybe.match.name,
        "kind": str(maybe.match.kind),
        "box": list(maybe.match.box.rounded()),
        "score": round(maybe.match.score, 4),
        "name_threshold": round(maybe.match.threshold, 4),
        "maybe_threshold": round(maybe.maybe_from, 4),
        "nearest_reference": None if near is None else _describe_example(near),
        "runner_up": None if rival is None else {"concept": rival.name, "score": round(rival.score, 4)},
    }


def _describe_example(example: "Example") -> dict[str, Any]:
    return {
        "file": path_text(example.path),
        "likeness": None if example.likeness is None else round(example.likeness, 4),
        "confirmed": example.confirmed,
    }
