"""`myvlm locate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from engine.core.types import Kind, Status
from engine.recognition.confidence import confidence, in_words, label
from myvlm_cli import options as o
from myvlm_cli.caption_choice import Speak
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.output import Document, out, path_text
from myvlm_cli.remote import AllowRemote
from myvlm_cli.sessions import warn_of_slow_faces
from myvlm_cli.words import rounded

if TYPE_CHECKING:
    from engine.captioning.locate import LocateResult
    from engine.core.types import Match


@dataclass(frozen=True)
class BoxChoice:
    """Which box to print, and which pictures to save."""

    draw: Annotated[
        Path | None,
        typer.Option(
            help="Save copies with the box drawn: a folder, or for a single photo a file.", show_default=False
        ),
    ] = None
    method: Annotated[
        Literal["regions", "refer"],
        typer.Option(help="regions: the region in which it was recognised. refer: the box that the VLM gives."),
    ] = "regions"
    explain: o.Explain = None


def locate(
    *,
    name: o.Name,
    choice: BoxChoice,
    photos: o.PhotoSelection,
    models: o.ModelChoice,
    speak: Speak = None,
    allow_remote: AllowRemote = False,
    output: o.OutputChoice,
) -> None:
    """Find where a concept is in photos.

    Prints the box, in pixels, of the region in which the concept was recognised, or with --method refer the VLM's box.

    Example: myvlm locate rex photo.jpg --draw rex.png
    """
    from engine.captioning.locate import locate_concept

    files = photos.gather()
    session = models.open_session(create=False, names=(name,), speak=speak, allow_remote=allow_remote)
    warn_of_slow_faces(session, people=session.store.get(name).kind is Kind.PERSON)
    results: list[LocateResult] = []
    with out.progress("locating", len(files)) as bar:
        for result in locate_concept(
            session, name, files, draw=choice.draw, method=choice.method, explain=choice.explain
        ):
            bar.advance()
            results.append(result)
            _report(result, choice.method, output)
    if output.json:
        out.json_document({"concept": name, "photos": [_describe(r, choice.method) for r in results]})
    raise typer.Exit(SOME_FAILED if any(r.status is Status.FAILED for r in results) else OK)


def _report(result: "LocateResult", method: str, output: o.OutputChoice) -> None:
    """Print one result; those for the JSON document are printed at the end."""
    if output.jsonl:
        out.json_line(_describe(result, method))
    elif output.is_text:
        reason = str(result.reason).removeprefix(f"{result.path}: ")
        where = " ".join(map(str, result.box.rounded())) if result.box else reason
        out.text(f"{path_text(result.path)}: {where}{_confidence_text(result.match) if result.match else ''}")
    for note in result.notes:
        out.warn(note)


def _describe(result: "LocateResult", method: str) -> Document:
    match = result.match
    return {
        "file": path_text(result.path),
        "status": str(result.status),
        "method": method,
        "box": list(result.box.rounded()) if result.box else None,
        "width": result.size[0] if result.size else None,
        "height": result.size[1] if result.size else None,
        "score": round(match.score, 4) if match else None,
        "confidence": rounded(confidence(match.score, match.scale)) if match else None,
        "region": match.source if match else None,
        "pictures": [path_text(p) for p in result.pictures],
        "drawing": path_text(result.drawing) if result.drawing else None,
        "reason": result.reason,
        "notes": list(result.notes),
        "seconds": round(result.seconds, 3),
    }


def _confidence_text(match: "Match") -> str:
    """Return how certain a match is, to follow its box. A match below its threshold was confirmed by the user."""
    if match.score < match.threshold:
        return " (confirmed by you)"
    score, threshold = in_words(match.scale, match.score, match.threshold)
    return f" ({label(match.scale)} {score}, named from {threshold})"
