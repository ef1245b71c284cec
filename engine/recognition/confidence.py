"""Turn recognition scores into figures for people: a confidence in percent, or a likeness of faces. No numpy.

* Open-set scores are log-odds (`scoring.Scorer`). Confidence = 1 / (1 + exp(-score)): the probability that a region
  shows the concept and not somebody else, if both were equally likely beforehand. The head is fitted with equal
  weights for references and others (`scoring.fit`), so that is what its log-odds say. Most regions of a library show
  nobody enrolled, so 97 % does not mean that 3 % of names are wrong: that rate is set by the thresholds
  (`thresholds.calibrate`), which are shown on the same scale.
* The paper's linear head gives a probability by softmax (`linear_head.LinearHead`): it is the confidence.
* The paper's face head gives a cosine similarity (`assignment.face_scores`). Nothing in it says how many strangers
  reach the same value, so it has no confidence and is shown as a likeness from -1 to 1.
"""

import math

from engine.core.types import Scale

_DECIMALS = 3
"""Confidences over 99.999 % are not told apart, and neither are those under 1 %: nothing is decided there."""
_LOWEST, _HIGHEST = 0.01, 1.0 - 1e-5


def confidence(score: float, scale: Scale | None) -> float | None:
    """Return the confidence that a score stands for, 0..1; None for a likeness and for a score of unknown scale."""
    if scale is Scale.LOG_ODDS:
        return 1.0 / (1.0 + math.exp(-score)) if score >= 0 else 1.0 - 1.0 / (1.0 + math.exp(max(score, -700.0)))
    return score if scale is Scale.PROBABILITY else None


def label(scale: Scale | None) -> str:
    """Return what a score of a scale is called: confidence, likeness or (where the scale is not known) score."""
    known = {Scale.LOG_ODDS: "confidence", Scale.PROBABILITY: "confidence", Scale.COSINE: "likeness"}
    return known[scale] if scale else "score"


def in_words(scale: Scale | None, *scores: float) -> tuple[str, ...]:
    """Return scores of one scale for people: `97 %` or, where there is no confidence, `0.61`.

    Scores that differ get so many decimals, up to three, that they look different.
    """
    values = [confidence(s, scale) for s in scores]
    known = [v for v in values if v is not None]
    if len(known) < len(values):
        return tuple(f"{s:.2f}" for s in scores)
    between = {v for v in known if _LOWEST <= v <= _HIGHEST}
    for more in range(_DECIMALS + 1):
        if len({_percent(v, more) for v in between}) == len(between):
            return tuple(_percent(v, more) for v in known)
    return tuple(_percent(v, _DECIMALS) for v in known)


def _percent(value: float, more: int) -> str:
    """Return a probability in percent, with as many decimals as its distance from 1 needs, and `more` beside them."""
    if value > _HIGHEST:
        return f"over {100 * _HIGHEST:.{_DECIMALS}f} %"
    if value < _LOWEST:
        return f"under {100 * _LOWEST:.0f} %"
    needed = math.floor(-math.log10(1.0 - value)) - 1
    return f"{100 * value:.{max(0, min(_DECIMALS, needed + more))}f} %"
