"""`myvlm locate`."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from engine.core.types import Kind
from engine.recognition.confidence import confidence, in_words, label
from myvlm_cli import options as o
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.output import out, path_text
from myvlm_cli.words import count


def locate(
    name: o.Name,
    paths: o.Paths = None,  # type: ignore[assignment]
    draw: Annotated[
        Path | None,
        typer.Option(help="Put copies with the box drawn here: a folder, or a file for one photo.", show_default=False),
    ] = None,
    method: Annotated[
        Literal["regions", "refer"],
        typer.Option(help="regions: where it was recognised. refer: the VLM says where."),
    ] = "regions",
    explain: o.Explain = None,
    files_from: o.FilesFrom = None,
    null: o.Null = False,
    include: o.Include = None,
    exclude: o.Exclude = None,
    since: o.Since = None,
    until: o.Until = None,
    vlm: o.Vlm = None,
    recogniser: o.Recogniser = None,
    heads: o.Heads = "open-set",
    allow_body: o.AllowBody = False,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    json: o.Json = False,
    jsonl: o.JsonLines = False,
) -> None:
    """Find where a concept is in photos.

    Prints the box of the region in which it was recognised, or with --method refer the VLM's, in pixels.

    Example: myvlm locate rex photo.jpg --draw rex.png
    """
    from engine.captioning.locate import locate_concept
    from engine.captioning.names_only import UNKNOWN_WORLD

    selection = o.make_selection(include, exclude, since, until)
    photos = o.gather_photos(paths, files_from, null=null, selection=selection)
    session = o.open_session(
        vlm, recogniser, device, dtype, heads=heads, allow_body=allow_body, create=False, names=(name,)
    )
    o.warn_of_slow_faces(session, people=session.store.get(name).kind is Kind.PERSON)
    failed, unknown, documents = False, 0, []
    with out.progress("locating", len(photos)) as bar:
        for location in locate_concept(session, name, photos, draw=draw, method=method, explain=explain):
            failed = failed or location.status == "failed"
            unknown += location.reason == UNKNOWN_WORLD
            bar.advance()
            documents.append(_report(location, method, json=json, jsonl=jsonl))
    if json:
        out.json_document({"concept": name, "photos": documents})
    if unknown:
        out.warn(f"{count(unknown, 'photo')} without a box: no VLM for real photos is on this machine (myvlm models)")
    raise typer.Exit(SOME_FAILED if failed else OK)


def _report(location: Any, method: str, *, json: bool, jsonl: bool) -> dict[str, Any]:
    from engine.captioning.names_only import UNKNOWN_WORLD

    match = location.match
    document = {
        "file": path_text(location.path),
        "status": str(location.status),
        "method": method,
        "box": list(location.box.rounded()) if location.box else None,
        "width": location.size[0] if location.size else None,
        "height": location.size[1] if location.size else None,
        "score": round(match.score, 4) if match else None,
        "confidence": _confidence(match),
        "region": match.source if match else None,
        "pictures": [path_text(p) for p in location.pictures],
        "drawing": path_text(location.drawing) if location.drawing else None,
        "reason": location.reason,
        "notes": list(location.notes),
        "seconds": round(location.seconds, 3),
    }
    if jsonl:
        out.json_line(document)
    elif not json and location.reason != UNKNOWN_WORLD:
        where = (
            " ".join(map(str, document["box"]))
            if document["box"]
            else str(location.reason).removeprefix(f"{location.path}: ")
        )
        out.text(f"{document['file']}: {where}{describe_confidence(match) if match else ''}")
    for note in location.notes:
        out.warn(note)
    return document


def _confidence(match: Any) -> float | None:
    found = confidence(match.score, match.scale) if match else None
    return None if found is None else round(found, 4)


def describe_confidence(match: Any) -> str:
    """How sure a match is, for behind its box; one under its threshold is there because the user confirmed it."""
    if match.score < match.threshold:
        return " (confirmed by you)"
    found, needed = in_words(match.scale, match.score, match.threshold)
    return f" ({label(match.scale)} {found}, named from {needed})"
