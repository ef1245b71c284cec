"""The words of explanations: reasons, scores, thresholds and pair features as people read them."""

from collections.abc import Iterator
from dataclasses import dataclass

from engine.core.types import Kind
from engine.recognition.classifier import ThresholdOrigin, ThresholdSource
from engine.recognition.confidence import in_words, label
from engine.recognition.explain.explanation import Cause, Explanation, RecognitionOutcome
from engine.recognition.quality import FaceFlaw, FaceFlaws

PAIR_FEATURE_WORDS = {
    "likeness": "like all references",
    "nearest": "like each of them",
    "rival": "like another concept",
    "crowd": "like strangers",
    "twins": "references like strangers",
    "rejected": "like a rejected one",
}
"""The names of pair features (`recognition.pair_features.PAIR_FEATURES`) in pictures."""


def reason_in_words(explanation: Explanation) -> str:
    """Return why a concept was or was not named, as a clause without a full stop."""
    words = _reason(explanation)
    return f"no face was recognised; by the body: {words}" if explanation.reason.by_body else words


def _reason(explanation: Explanation) -> str:
    name, reason, score_name = explanation.concept.name, explanation.reason, label(explanation.scale)
    if reason.cause is Cause.DECIDED:
        return {
            RecognitionOutcome.REJECTED: f"you said that {name} is not in this photo",
            RecognitionOutcome.CONFIRMED: f"you said that {name} is in this photo",
        }.get(explanation.outcome, "the name was removed from the photo's sidecar")
    if reason.cause is Cause.SURE:
        return f"the {score_name} is high enough, and no other concept fits better there"
    if reason.cause is Cause.NO_REGION:
        return f"{'no face' if explanation.concept.kind is Kind.PERSON else 'nothing'} was found in this photo"
    if reason.cause is Cause.POOR_FACE:
        which = "the only face" if reason.is_only_face else f"the face that is most like {name}"
        return f"{which} is {_flaws(reason.flaws or FaceFlaws())}"
    if reason.cause is Cause.OTHER_SURER:
        return f"{reason.rival} fits better there, and a region shows only one concept"
    return _low_score(explanation)


def _low_score(explanation: Explanation) -> str:
    """Return the reason for a score that is too low for a name, or for a suggestion as well."""
    name, reason, score_name = explanation.concept.name, explanation.reason, label(explanation.scale)
    hardly = (
        ""
        if reason.separable
        else f"; {name} looks much like others in these photos and is seldom named: add reference photos"
    )
    if explanation.outcome is RecognitionOutcome.SUGGESTED:
        return f"the {score_name} is too low for a name, high enough for a suggestion{hardly}"
    score = explanation.score if explanation.score is not None else 0.0
    score_words, lowest = in_words(explanation.scale, score, reason.lowest)
    done = "suggested" if reason.is_suggested else "named"
    return f"the {score_name} {score_words} is too low: {name} is {done} from {lowest}{hardly}"


def _flaws(flaws: FaceFlaws) -> str:
    words = {
        FaceFlaw.SMALL: f"too small ({int(flaws.side)} pixels; {flaws.min_side:g} are needed)",
        FaceFlaw.BLURRED: "blurred",
        FaceFlaw.TURNED: "turned away",
    }
    return " and ".join(words[flaw] for flaw in flaws.flaws)


@dataclass(frozen=True)
class ScoreWords:
    """Score and thresholds of a concept in a photo as people read them; "" for those that do not exist."""

    score: str
    name: str
    suggestion: str
    runner_up: str


def scores_in_words(explanation: Explanation) -> ScoreWords:
    """Return the scores of an explanation as confidences in percent, or as likenesses."""
    runner_up = explanation.runner_up.score if explanation.runner_up else None
    values = (explanation.score, explanation.name_threshold, explanation.suggestion_threshold, runner_up)
    words = iter(in_words(explanation.scale, *(v for v in values if v is not None)))
    return ScoreWords(*("" if v is None else next(words) for v in values))


def facts_of(explanation: Explanation) -> Iterator[str]:
    """Yield what is known besides region, nearest reference and score, in sentences without a full stop."""
    runner_up, score = explanation.runner_up, explanation.score
    if runner_up is not None:
        ahead = score is not None and runner_up.score > score
        what = "likelier in this region" if ahead else "runner-up in this region"
        yield f"{what}: {runner_up.name}, {label(explanation.scale)} {scores_in_words(explanation).runner_up}"
    if explanation.likeness is not None:
        impostor = explanation.impostor
        cohort = f"; the strangers most like it: {impostor:.2f}" if impostor is not None else ""
        yield f"likeness to the mean of the references: {explanation.likeness:.2f}{cohort}"
    if explanation.rejection is not None:
        r = explanation.rejection
        yield f"nearest rejection: {r.path.name if r.path else 'not known which'}, likeness {r.cosine:.2f}"
    yield f"thresholds: {_threshold_source(explanation.threshold_source)}"


def _threshold_source(source: ThresholdSource) -> str:
    if source.origin is ThresholdOrigin.CALIBRATED:
        return f"calibrated on {source.photos} photos in {source.folder}"
    if source.origin is ThresholdOrigin.PRIOR:
        return "the built-in ones; myvlm calibrate fits them to your photos"
    return "the paper's"
