"""`myvlm concepts show`: print what is stored about a concept, or why it is or is not named in a photo."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.errors import UsageError
from engine.core.types import Kind, Scale
from engine.recognition.confidence import in_words, label
from myvlm_cli import options as o
from myvlm_cli.decisions import decision_text, describe_decision, describe_with_standing
from myvlm_cli.explanation import dated, describe_explanation, tell_explanation
from myvlm_cli.output import Document, out, path_text
from myvlm_cli.parameters import Without
from myvlm_cli.sessions import warn_of_slow_faces

if TYPE_CHECKING:
    from engine.core.types import Concept
    from engine.session import Session

Photo = Annotated[
    Path | None,
    typer.Argument(
        metavar="[PHOTO]", help="Explain why the concept is or is not named in this photo.", show_default=False
    ),
]
Draw = Annotated[
    Path | None,
    typer.Option(
        "--draw", metavar="FILE.png", help="With PHOTO: also save the explanation as a picture.", show_default=False
    ),
]


def show(
    *,
    name: o.Name,
    photo: Photo = None,
    draw: Draw = None,
    models: Annotated[o.ModelChoice, Without("dtype", "quantise")],
    json: o.Json = False,
) -> None:
    """Show a concept. With a photo, explain why it is or is not named there.

    Example: myvlm concepts show rex

    Example: myvlm concepts show rex beach.jpg --draw why.png
    """
    session = models.open_session(create=False)
    if photo is not None:
        _explain(session, name, photo, draw, json=json)
        return
    if draw is not None:
        raise UsageError("--draw needs a photo", hint=f"Example: myvlm concepts show {name} photo.jpg --draw why.png")
    concept = session.store.get(name)
    if json:
        decisions = session.store.decisions.of(concept.id)
        document = describe_concept(session, concept)
        out.json_document(document | {"decisions": [describe_with_standing(d) for d in decisions]})
    else:
        _tell_concept(session, concept)


def _tell_concept(session: "Session", concept: "Concept") -> None:
    """Print what is stored about a concept as text."""
    stored, taken = session.store.facts(concept), _dates_taken(session, concept)
    out.text(f"{concept.name}: {concept.kind}, category {concept.category}, version {concept.version}")
    for r in concept.references:
        out.text(f"  reference {path_text(r.path)}{dated(taken.get(r.content_hash))}")
    for decision in session.store.decisions.of(concept.id):
        out.text(f"  {decision_text(decision)}")
    for h in stored.heads:
        out.text(f"  recognised by its {h.kind} head for {h.encoder}{_paper_threshold(h.kind, h.threshold)}")
    for e in stored.embeddings:
        out.text(
            f"  trained for {vlm_name(e.vlm)}: task {e.task}, {e.steps} steps, seed {e.seed}, loss"
            f" {e.loss:.3f}, revision {e.revision}"
        )
    name = shlex.quote(concept.name)
    if stored.embeddings:
        out.say(f"Next: myvlm concepts show {name} PHOTO explains why it is or is not named there.")
    else:
        out.say(f"{concept.name} is not trained yet: sentences do not use the name. Run: myvlm train {name}")


def _paper_threshold(kind: str, threshold: float) -> str:
    """Return from which score `--heads paper` names a concept by a head, to follow its name. It does not use bodies."""
    if kind == "body":
        return ""
    scale = Scale.COSINE if kind == "face" else Scale.PROBABILITY
    return f"; with --heads paper named from {label(scale)} {in_words(scale, threshold)[0]}"


def vlm_name(stored: str) -> str:
    """Return the name of the VLM that an embedding is stored for; a VLM without a name keeps its hub id or folder."""
    from engine.vlms.config import list_configs

    for config in list_configs():
        repo, plus, variant = stored.partition("+")
        if config.repo_id == repo:
            return f"{config.name}{plus}{variant}"
    return stored


def describe_concept(session: "Session", concept: "Concept") -> Document:
    """Return what is stored about a concept as JSON."""
    taken = _dates_taken(session, concept)
    return {
        "name": concept.name,
        "id": concept.id,
        "version": concept.version,
        "kind": str(concept.kind),
        "category": concept.category,
        "identifier": concept.identifier,
        "references": [
            {
                "file": path_text(r.path),
                "content_hash": r.content_hash,
                "box": list(r.box.rounded()) if r.box else None,
                "taken": taken.get(r.content_hash),
            }
            for r in concept.references
        ],
        "decisions": [describe_decision(d) for d in session.store.decisions.of(concept.id)],
        **asdict(session.store.facts(concept)),
    }


def _dates_taken(session: "Session", concept: "Concept") -> dict[str, str]:
    """Return when the reference photos were taken (ISO 8601), by content hash, as far as the heads record it."""
    from engine.store.head_codec import read_dates

    heads = session.store.facts(concept).heads
    return {content: day for head in heads for content, day in read_dates(head.facts).items()}


def _explain(session: "Session", name: str, path: Path, draw: Path | None, *, json: bool) -> None:
    """Print why a concept is or is not named in a photo, and draw it if the user asked for a picture."""
    from engine.captioning.explain_pictures import save_explanation
    from engine.recognition.explain.explain import explain_photo

    warn_of_slow_faces(session, people=session.store.get(name).kind is Kind.PERSON)
    photo, explanation = explain_photo(session, name, path)
    if draw is not None:
        save_explanation(photo, explanation, draw)
    if json:
        document: Document = {"file": path_text(path), "concept": explanation.concept.name}
        picture = {"picture": path_text(draw) if draw else None}
        out.json_document(document | describe_explanation(explanation) | picture)
    else:
        tell_explanation(explanation, path)
