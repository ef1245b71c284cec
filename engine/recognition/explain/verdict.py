"""Tell from a recognition what became of one concept, with the reason and the region that it is about."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.core.boxes import Box, iou
from engine.core.types import Decision, Match, Verdict
from engine.recognition.explain.explanation import Cause, Reason, RecognitionOutcome
from engine.recognition.explain.view import ConceptView
from engine.recognition.feedback import SAME_PLACE
from engine.recognition.recognise import Recognition


@dataclass(frozen=True)
class ConceptVerdict:
    """What became of a concept, why, and the region (row) that this is about; box: where it was placed."""

    outcome: RecognitionOutcome
    reason: Reason
    row: int | None = None
    box: Box | None = None


def find_verdict(view: ConceptView, recognition: Recognition, decision: Decision | None) -> ConceptVerdict:
    """Return what became of the concept of a view; decision: what the user decided about it in this photo."""
    named, suggested = (
        next((m for m in matches if m.concept_id == view.concept.id), None)
        for matches in (recognition.matches, recognition.suggestions)
    )
    if decision is not None and decision.verdict is Verdict.REJECT:
        return ConceptVerdict(RecognitionOutcome.REJECTED, Reason(Cause.DECIDED), _best(view.raw[:, view.column]))
    if named is not None:
        row = view.row_of(named)
        if decision is not None:
            box = named.box if named.box.area else None
            return ConceptVerdict(RecognitionOutcome.CONFIRMED, Reason(Cause.DECIDED), row, box)
        return ConceptVerdict(RecognitionOutcome.NAMED, Reason(Cause.SURE), row, named.box)
    if suggested is not None:
        reason = Reason(Cause.LOW_SCORE if view.separable else Cause.NOT_SEPARABLE, separable=view.separable)
        return ConceptVerdict(RecognitionOutcome.SUGGESTED, reason, view.row_of(suggested), suggested.box)
    return _unknown(view, (*recognition.matches, *recognition.suggestions))


def _unknown(view: ConceptView, others: Sequence[Match]) -> ConceptVerdict:
    """Return the verdict on a concept that is nowhere, with the region that is most like it."""
    best, usable = _best(view.raw[:, view.column]), _best(view.scores[:, view.column])
    if best is None:
        return ConceptVerdict(RecognitionOutcome.UNKNOWN, Reason(Cause.NO_REGION))
    flaws = view.flaws[best]
    if usable is None or (best != usable and flaws.flaws and view.raw[best, view.column] >= view.lowest):
        reason = Reason(Cause.POOR_FACE, flaws=flaws, is_only_face=len(view.regions) == 1)
        return ConceptVerdict(RecognitionOutcome.UNKNOWN, reason, best)
    rivals = [m for m in others if _is_there(m.box, view.regions[usable].box)]
    if float(view.scores[usable, view.column]) >= view.lowest and rivals:
        return ConceptVerdict(RecognitionOutcome.UNKNOWN, Reason(Cause.OTHER_SURER, rival=rivals[0].name), usable)
    suggestion = view.classifier.suggestion_thresholds[view.column]
    reason = Reason(Cause.LOW_SCORE, view.lowest, is_suggested=not suggestion > view.lowest, separable=view.separable)
    return ConceptVerdict(RecognitionOutcome.UNKNOWN, reason, usable)


def _is_there(box: Box, region: Box) -> bool:
    return box == region or iou(box, region) > SAME_PLACE


def _best(scores: np.ndarray) -> int | None:
    """Return the row with the highest of some scores (R,); None when there is none, or all are -inf."""
    return int(np.argmax(scores)) if np.isfinite(scores).any() else None
