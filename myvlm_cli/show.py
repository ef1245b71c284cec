"""`myvlm concepts show`: what is stored of a concept, or why it is named in a photo or is not."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.core.types import Kind, Scale
from engine.recognition.confidence import confidence, in_words, label
from myvlm_cli import options as o
from myvlm_cli.decide import DECIDED, STANDINGS, describe_decision, describe_decisions
from myvlm_cli.output import out, path_text

if TYPE_CHECKING:
    from engine.recognition.explain.explanation import Explanation
    from engine.recognition.explain.nearest import Likeness

Photo = Annotated[
    Path | None,
    typer.Argument(metavar="[PHOTO]", help="Explain why it is named in this photo, or is not.", show_default=False),
]
Draw = Annotated[
    Path | None,
    typer.Option("--draw", metavar="FILE.png", help="With PHOTO: also draw the explanation.", show_default=False),
]


def show(
    name: o.Name,
    photo: Photo = None,
    draw: Draw = None,
    vlm: o.Vlm = None,
    recogniser: o.Recogniser = None,
    heads: o.Heads = "open-set",
    allow_body: o.AllowBody = False,
    device: o.Device = "auto",
    json: o.Json = False,
) -> None:
    """Show a concept. With a photo: explain why it is named there, or is not.

    Example: myvlm concepts show rex

    Example: myvlm concepts show rex beach.jpg --draw why.png
    """
    session = o.open_session(vlm, recogniser, device, "auto", heads=heads, allow_body=allow_body, create=False)
    if photo is not None:
        _explain(session, name, photo, draw, json=json)
        return
    if draw is not None:
        from engine.core.errors import UsageError

        raise UsageError("--draw is for a photo", hint=f"Example: myvlm concepts show {name} photo.jpg --draw why.png")
    concept = session.store.get(name)
    document = describe_concept(session, concept) | {"decisions": describe_decisions(session, concept)}
    out.json_document(document) if json else _tell_concept(document)


def _tell_concept(document: dict[str, Any]) -> None:
    name = shlex.quote(document["name"])
    out.text(
        f"{document['name']}: {document['kind']}, class word {document['category']}, version {document['version']}"
    )
    for r in document["references"]:
        out.text(f"  reference {r['file']}{_dated(r['taken'])}")
    for d in document["decisions"]:
        out.text(f"  {DECIDED[d['verdict']]} in {d['file']}, decided {d['decided']}{STANDINGS[d['standing']]}")
    for h in document["heads"]:
        out.text(f"  recognised by its {h['kind']} head for {h['encoder']}{_paper_threshold(h)}")
    for e in document["embeddings"]:
        out.text(
            f"  trained for {vlm_name(e['vlm'])}: task {e['task']}, {e['steps']} steps, seed {e['seed']}, loss"
            f" {e['loss']:.3f}, revision {e['revision']}"
        )
    if document["embeddings"]:
        out.say(f"Next: myvlm concepts show {name} PHOTO explains why it is named there, or is not.")
    else:
        out.say(f"{document['name']} is not trained yet: sentences do not use the name. Run: myvlm train {name}")


def _paper_threshold(head: dict[str, Any]) -> str:
    """From when on `--heads paper` names a concept by this head; bodies have no part in that."""
    if head["kind"] == "body":
        return ""
    scale = Scale.COSINE if head["kind"] == "face" else Scale.PROBABILITY
    return f"; with --heads paper named from {label(scale)} {in_words(scale, head['threshold'])[0]}"


def vlm_name(stored: str) -> str:
    """What a VLM is called for which an embedding is stored: its name where it has one, else its hub id or folder."""
    from engine.vlms.config import list_configs

    for config in list_configs():
        repo, plus, variant = stored.partition("+")
        if config.repo_id == repo:
            return f"{config.name}{plus}{variant}"
    return stored


def _dated(taken: str | None) -> str:
    """The day that a photo was taken on, for behind its name."""
    return f", taken {taken[:10]}" if taken else ""


def describe_concept(session: Any, concept: Any) -> dict[str, Any]:
    """What is stored of a concept, as plain data."""
    from engine.concepts.reference_dates import read_dates

    facts = session.store.facts(concept)
    taken = {content: day for h in facts["heads"] for content, day in read_dates(h["facts"]).items()}
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
        **facts,
    }


def _explain(session: Any, name: str, path: Path, draw: Path | None, *, json: bool) -> None:
    from engine.captioning.explain_pictures import save_why
    from engine.recognition.explain.explanation import explain_photo

    o.warn_of_slow_faces(session, people=session.store.get(name).kind is Kind.PERSON)
    photo, why = explain_photo(session, name, path)
    if draw is not None:
        save_why(photo, why, draw)
    if json:
        drawn = {"picture": path_text(draw) if draw else None}
        out.json_document({"file": path_text(path), "concept": why.concept.name} | describe_why(why) | drawn)
    else:
        _tell(why, path)


def _tell(why: "Explanation", path: Path) -> None:
    from engine.recognition.explain.picture import facts_of, scores_in_words

    name, words = why.concept.name, scores_in_words(why)
    out.text(f"{name} in {path_text(path)}: {_OUTCOMES.get(why.outcome, str(why.outcome))}: {why.reason}")
    if why.box is not None:
        out.text(f"  region: {' '.join(map(str, why.box.rounded()))} ({why.source})")
    suggested = f", suggested from {words.maybe}" if words.maybe else ""
    out.text(f"  {label(why.scale)}: {words.score or 'none'}; named from {words.name}{suggested}")
    if why.nearest is not None:
        kind = "confirmed photo" if why.nearest.of == "confirmed" else "reference"
        where = path_text(why.nearest.path) if why.nearest.path else "not known which"
        out.text(f"  nearest {kind}: {where}{_dated(why.nearest.taken)}, likeness {why.nearest.cosine:.2f}")
    for fact in facts_of(why):
        out.text(f"  {fact}")
    if why.evidence:
        parts = [f"{e.name} {e.contribution:+.2f}" for e in why.evidence]
        out.text(f"  log-odds {why.score:.2f}: {', '.join(parts)}, constant {why.bias:+.2f}")
    both = f"{shlex.quote(path_text(path))} {shlex.quote(name)}"
    if why.outcome in ("maybe", "unknown"):
        out.say(f"Next: if {name} is there, run: myvlm confirm {both}")
    elif why.outcome == "named":
        out.say(f"Wrong? Run: myvlm reject {both}")


_OUTCOMES = {
    "maybe": "suggested",
    "unknown": "not recognised",
    "declined": "not named",
}
"""Outcomes that are called otherwise for people."""


def describe_why(why: "Explanation") -> dict[str, Any]:
    """Why a concept is named or is not, as plain data; boxes are whole pixels of the upright photo."""
    basis, runner_up = why.basis, why.runner_up
    return {
        "outcome": str(why.outcome),
        "cause": str(why.cause),
        "reason": why.reason,
        "region": {"box": list(why.box.rounded()), "source": why.source} if why.box else None,
        "score": _round(why.score),
        "confidence": _round(None if why.score is None else confidence(why.score, why.scale)),
        "thresholds": {
            "name": _round(why.name),
            "maybe": _round(why.maybe),
            "from": basis.source,
            "folder": path_text(basis.folder) if basis.folder else None,
            "photos": basis.photos,
            "false_names_per_1000": basis.per_1000,
        },
        "nearest": _describe_likeness(why.nearest),
        "likeness": _round(why.likeness),
        "crowd": _round(why.crowd),
        "runner_up": {"name": runner_up.name, "score": _round(runner_up.score)} if runner_up else None,
        "rejection": _describe_likeness(why.rejection),
        "evidence": [
            {"name": e.name, "value": _round(e.value), "contribution": _round(e.contribution)} for e in why.evidence
        ],
        "bias": _round(why.bias),
    }


def _describe_likeness(found: "Likeness | None") -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "of": found.of,
        "file": path_text(found.path) if found.path else None,
        "box": list(found.box.rounded()) if found.box else None,
        "likeness": _round(found.cosine),
        "taken": found.taken,
    }


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
