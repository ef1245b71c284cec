"""Convert recognition scores to figures for users: a confidence in percent, or a likeness of faces. No numpy.

* Open-set scores are log-odds (`scoring.Scorer`). Confidence = 1 / (1 + exp(-score)): the probability that a region
  shows the concept and not something else, if both were equally likely beforehand. This holds because the head is
  fitted with equal weights for references and others (`scoring.fit`). Most regions of a library show no enrolled
  concept, so 97 % does not mean that 3 % of names are wrong: that rate is set by the thresholds
  (`thresholds.calibrate`), which are shown on the same scale.
* The paper's linear head gives a softmax probability (`linear_head.LinearHead`), which is the confidence.
* The paper's face head gives a cosine similarity (`assignment.face_scores`). It does not tell how many other people
  reach the same value, so it has no confidence and is shown as a likeness from -1 to 1.

See docs/recognition.md, Confidence.
"""

import math

from engine.core.types import Scale

_DECIMALS = 3
"""The largest number of decimals of a percentage."""
_LOWEST, _HIGHEST = 0.01, 1.0 - 1e-5
"""Confidences under 1 % look alike, and so do those over 99.999 %: nothing is decided at such values."""


def confidence(score: float, scale: Scale | None) -> float | None:
    """Return the confidence of a score, 0..1; None for a likeness and for a score of unknown scale (None)."""
    if scale is Scale.LOG_ODDS:
        return 1.0 / (1.0 + math.exp(-score)) if score >= 0 else 1.0 - 1.0 / (1.0 + math.exp(max(score, -700.0)))
    return score if scale is Scale.PROBABILITY else None


def label(scale: Scale | None) -> str:
    """Return the word for a score on a scale: confidence, likeness or, if the scale is None, score."""
    labels = {Scale.LOG_ODDS: "confidence", Scale.PROBABILITY: "confidence", Scale.COSINE: "likeness"}
    return labels[scale] if scale else "score"


def in_words(scale: Scale | None, *scores: float) -> tuple[str, ...]:
    """Return scores on one scale as users see them: `97 %` or, where there is no confidence, `0.61`.

    Percentages have as many decimals, up to three, as it takes to show different scores differently.
    """
    values = [confidence(s, scale) for s in scores]
    confidences = [v for v in values if v is not None]
    if len(confidences) < len(values):
        return tuple(f"{s:.2f}" for s in scores)
    between = {v for v in confidences if _LOWEST <= v <= _HIGHEST}
    for more in range(_DECIMALS + 1):
        if len({_percent(v, more) for v in between}) == len(between):
            return tuple(_percent(v, more) for v in confidences)
    return tuple(_percent(v, _DECIMALS) for v in confidences)


def _percent(value: float, more: int) -> str:
    """Return a probability in percent: with the decimals that its distance from 1 requires and `more` further ones.

    There are at most `_DECIMALS` decimals. Values outside `_LOWEST`..`_HIGHEST` are "under 1 %" or "over 99.999 %".
    """
    if value > _HIGHEST:
        return f"over {100 * _HIGHEST:.{_DECIMALS}f} %"
    if value < _LOWEST:
        return f"under {100 * _LOWEST:.0f} %"
    needed = math.floor(-math.log10(1.0 - value)) - 1
    return f"{100 * value:.{max(0, min(_DECIMALS, needed + more))}f} %"
