"""Print why a concept was or was not named in a photo."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from engine.recognition.confidence import confidence, label
from myvlm_cli.output import Document, out, path_text
from myvlm_cli.words import rounded

if TYPE_CHECKING:
    from engine.recognition.explain.explanation import Explanation
    from engine.recognition.explain.nearest import Likeness

_OUTCOMES = {"maybe": "suggested", "unknown": "not recognised", "declined": "not named"}
"""The words for outcomes whose stored name is not the one for people."""


def tell_explanation(explanation: "Explanation", path: Path) -> None:
    """Print an explanation as text, and the command that corrects the outcome."""
    from engine.recognition.explain.words import facts_of, reason_in_words, scores_in_words

    name, scores = explanation.concept.name, scores_in_words(explanation)
    outcome = _OUTCOMES.get(explanation.outcome, str(explanation.outcome))
    out.text(f"{name} in {path_text(path)}: {outcome}: {reason_in_words(explanation)}")
    if explanation.box is not None:
        out.text(f"  region: {' '.join(map(str, explanation.box.rounded()))} ({explanation.source})")
    suggested = f", suggested from {scores.suggestion}" if scores.suggestion else ""
    out.text(f"  {label(explanation.scale)}: {scores.score or 'none'}; named from {scores.name}{suggested}")
    if explanation.nearest is not None:
        out.text(f"  {_nearest_text(explanation.nearest)}")
    for fact in facts_of(explanation):
        out.text(f"  {fact}")
    if explanation.pair_features:
        parts = [f"{e.name} {e.contribution:+.2f}" for e in explanation.pair_features]
        out.text(f"  log-odds {explanation.score:.2f}: {', '.join(parts)}, constant {explanation.bias:+.2f}")
    _tell_correction(explanation, path)


def _nearest_text(nearest: "Likeness") -> str:
    kind = "confirmed photo" if nearest.of == "confirmed" else "reference"
    where = path_text(nearest.path) if nearest.path else "unknown"
    return f"nearest {kind}: {where}{dated(nearest.taken)}, likeness {nearest.cosine:.2f}"


def _tell_correction(explanation: "Explanation", path: Path) -> None:
    """Print the command that confirms or rejects the concept in the photo."""
    name = explanation.concept.name
    arguments = f"{shlex.quote(path_text(path))} {shlex.quote(name)}"
    if explanation.outcome in ("maybe", "unknown"):
        out.say(f"Next: if {name} is in the photo, run: myvlm confirm {arguments}")
    elif explanation.outcome == "named":
        out.say(f"Wrong? Run: myvlm reject {arguments}")


def dated(taken: str | None) -> str:
    """Return the day on which a photo was taken, to follow its name."""
    return f", taken {taken[:10]}" if taken else ""


def describe_explanation(explanation: "Explanation") -> Document:
    """Return an explanation as JSON; boxes are whole pixels of the upright photo."""
    from engine.recognition.explain.words import reason_in_words

    runner_up, box, score = explanation.runner_up, explanation.box, explanation.score
    return {
        "outcome": str(explanation.outcome),
        "cause": str(explanation.cause),
        "reason": reason_in_words(explanation),
        "region": {"box": list(box.rounded()), "source": explanation.source} if box else None,
        "score": rounded(score),
        "confidence": rounded(None if score is None else confidence(score, explanation.scale)),
        "thresholds": _describe_thresholds(explanation),
        "nearest": _describe_likeness(explanation.nearest),
        "likeness": rounded(explanation.likeness),
        "crowd": rounded(explanation.impostor),
        "runner_up": {"name": runner_up.name, "score": rounded(runner_up.score)} if runner_up else None,
        "rejection": _describe_likeness(explanation.rejection),
        "evidence": [
            {"name": e.name, "value": rounded(e.value), "contribution": rounded(e.contribution)}
            for e in explanation.pair_features
        ],
        "bias": rounded(explanation.bias),
    }


def _describe_thresholds(explanation: "Explanation") -> Document:
    basis = explanation.threshold_source
    return {
        "name": rounded(explanation.name_threshold),
        "maybe": rounded(explanation.suggestion_threshold),
        "from": str(basis.origin),
        "folder": path_text(basis.folder) if basis.folder else None,
        "photos": basis.photos,
        "false_names_per_1000": basis.per_1000,
    }


def _describe_likeness(likeness: "Likeness | None") -> Document | None:
    if likeness is None:
        return None
    return {
        "of": likeness.of,
        "file": path_text(likeness.path) if likeness.path else None,
        "box": list(likeness.box.rounded()) if likeness.box else None,
        "likeness": rounded(likeness.cosine),
        "taken": likeness.taken,
    }
