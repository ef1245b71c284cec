"""Print what enrolling a concept did."""

import shlex
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from myvlm_cli.output import Document, out, path_text
from myvlm_cli.words import count, rounded

if TYPE_CHECKING:
    from engine.concepts.enrol import Enrolment
    from engine.concepts.object_heads import Negatives
    from engine.concepts.reference_crops import PhotoFinding
    from engine.session import Session


def tell_enrolment(
    session: "Session",
    enrolment: "Enrolment",
    *,
    json: bool,
    more: Document | None = None,
    command: str = "",
    doubts: Sequence[str] = (),
) -> None:
    """Print an enrolment, its warnings, and last the command to run next.

    more: what to add to the JSON document. command: the command, where it is known. doubts: further warnings.
    """
    before, command, after = ("Next:", command, "") if command else _next(session, enrolment)
    if json:
        out.json_document(_describe(enrolment) | {"next": command} | (more or {}))
    else:
        _tell(enrolment)
        if not session.recogniser_config.scoring_weights(enrolment.concept.kind) and enrolment.negatives_from.total:
            out.say(_negatives_text(enrolment.negatives_from))
    for warning in (*enrolment.warnings, *doubts):
        out.warn(str(warning))
    if not json:
        out.say(" ".join(w for w in (before, command, after) if w))


def _next(session: "Session", enrolment: "Enrolment") -> tuple[str, str, str]:
    """Return the command to run next, with the words before and after it."""
    from engine.concepts.drawn_photos import vlm_knows
    from engine.training.train import Need, training_need
    from engine.vlms.registry import find_weights

    concept = enrolment.concept
    command = f"myvlm train {shlex.quote(concept.name)}"
    ready = find_weights(session.vlm_config) is not None and vlm_knows(session.vlm_config, concept)
    need = training_need(session, concept) if ready else Need.NOTHING
    if need is Need.NEW_PHOTOS:
        return "Recognition uses all photos from now on. Run:", command, "to use the new photos in captions, too"
    if need is Need.UNTRAINED:
        return "Next:", command, ""
    return "Next:", "myvlm caption FOLDER", ""


def describe_finding(finding: "PhotoFinding") -> Document:
    """Return what was found in one photo as JSON."""
    return {
        "file": path_text(finding.path),
        "used": finding.used,
        "known": finding.known,
        "found": finding.found,
        "advice": finding.advice,
    }


def _describe(enrolment: "Enrolment") -> Document:
    c, n = enrolment.concept, enrolment.negatives_from
    return {
        "name": c.name,
        "id": c.id,
        "version": c.version,
        "kind": str(c.kind),
        "kind_guessed": enrolment.kind_guessed,
        "category": c.category,
        "category_guessed": enrolment.category_guessed,
        "identifier": c.identifier,
        "references": [
            {"file": path_text(r.path), "box": list(r.box.rounded()) if r.box else None} for r in c.references
        ],
        "added": enrolment.added,
        "kept": enrolment.kept,
        "replaced": enrolment.replaced,
        "negatives": enrolment.negatives,
        "negatives_from": {
            "photos": n.photos,
            "given": n.given,
            "concepts": n.concepts,
            "bank": n.bank,
            "rejected": n.rejected,
        },
        "photos": [describe_finding(f) for f in enrolment.findings],
        "unlike_the_others": [path_text(p) for p in enrolment.odd],
        "same_as": [{"name": s.concept.name, "likeness": rounded(s.likeness)} for s in enrolment.same_as],
        "shared_photos": [
            {"file": path_text(s.path), "name": s.concept.name, "same_part": s.same_part} for s in enrolment.shared
        ],
        "warnings": [str(w) for w in enrolment.warnings],
    }


def tell_findings(findings: "Iterable[PhotoFinding]") -> None:
    """Print what was found in each photo: + used, = a reference photo before, - not used."""
    for f in findings:
        mark = "=" if f.known else "+" if f.used else "-"
        out.text(f"{mark} {path_text(f.path)}: {f.found}" + (f". {f.advice}" if f.advice else ""))


def _tell(enrolment: "Enrolment") -> None:
    tell_findings(enrolment.findings)
    c = enrolment.concept
    kind = f"{c.kind}{' (guessed)' if enrolment.kind_guessed else ''}"
    category = f"{c.category}{' (guessed; --category changes it)' if enrolment.category_guessed else ''}"
    photos = count(len(c.references), "reference photo")
    out.text(f"{c.name}: {kind}, category {category}, {photos}{_change(enrolment)}")
    for s in enrolment.shared:
        if not s.same_part:
            out.say(f"{s.path.name} is also a reference photo of {s.concept.name}, with another part of it")


def _change(enrolment: "Enrolment") -> str:
    """Return what changed in the reference photos that the concept had before."""
    if enrolment.replaced:
        return f"; replaces {count(enrolment.replaced, 'reference photo')}"
    if enrolment.added and enrolment.kept:
        return f" ({enrolment.added} added to {enrolment.kept})"
    if enrolment.added or not enrolment.kept:
        return ""
    return "; no new photos" if enrolment.negatives_from.given else "; nothing new was given"


def _negatives_text(negatives: "Negatives") -> str:
    """Return how many views of other things the concept's head was trained against, and where they come from."""
    parts = (
        (negatives.bank, "shipped with the recogniser"),
        (negatives.photos, "from the background of its photos"),
        (negatives.given, "from --negatives"),
        (negatives.concepts, "of other concepts"),
        (negatives.rejected, "that you rejected"),
    )
    listed = ", ".join(f"{n} {source}" for n, source in parts if n)
    return f"Compared with {negatives.total} views of other things: {listed}"
