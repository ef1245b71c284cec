"""Print the decisions that the user made about concepts in photos."""

from typing import TYPE_CHECKING

from engine.core.types import Verdict
from myvlm_cli.output import Document, path_text

if TYPE_CHECKING:
    from engine.core.types import Decision

VERDICTS = {Verdict.CONFIRM: "confirmed", Verdict.REJECT: "rejected"}
"""Verdicts as words of a sentence."""
_NOT_VALID = {
    "holds": "",
    "changed": "; the photo has changed since, so the decision no longer counts: decide again",
    "not there": "; the photo is no longer at that place; the decision still counts for it",
}


def describe_decision(decision: "Decision") -> Document:
    """Return a decision as JSON."""
    return {
        "verdict": str(decision.verdict),
        "file": path_text(decision.path),
        "content_hash": decision.content_hash,
        "box": list(decision.box.rounded()) if decision.box else None,
        "decided": decision.decided,
    }


def describe_with_standing(decision: "Decision") -> Document:
    """Return a decision as JSON, with whether it still counts where it was made; this reads the photo."""
    from engine.concepts.decide import check_validity

    return describe_decision(decision) | {"standing": str(check_validity(decision))}


def decision_text(decision: "Decision") -> str:
    """Return a decision as text, with whether it still counts where it was made; this reads the photo."""
    from engine.concepts.decide import check_validity

    verdict = VERDICTS[decision.verdict]
    return f"{verdict} in {path_text(decision.path)}, decided {decision.decided}{_NOT_VALID[check_validity(decision)]}"
