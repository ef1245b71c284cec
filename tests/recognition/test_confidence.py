"""Scores as people read them: one function, and the same figure wherever a score is shown."""

import math

import numpy as np
import pytest

from engine.core.types import Scale
from engine.recognition.confidence import confidence, in_words, label
from engine.recognition.pair_features import ReferenceSet, Template, left_out_pairs, negative_pairs
from engine.recognition.scoring import fit


@pytest.mark.parametrize(
    ("score", "scale", "expected"),
    [
        (0.0, Scale.LOG_ODDS, 0.5),
        (math.log(9), Scale.LOG_ODDS, 0.9),
        (-math.log(9), Scale.LOG_ODDS, 0.1),
        (1e6, Scale.LOG_ODDS, 1.0),
        (-1e6, Scale.LOG_ODDS, 0.0),
        (0.85, Scale.PROBABILITY, 0.85),
        (0.85, Scale.COSINE, None),
        (0.85, None, None),
    ],
)
def test_what_a_score_stands_for(score, scale, expected):
    assert confidence(score, scale) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("scale", "scores", "words"),
    [
        (Scale.LOG_ODDS, (2.197, 3.45, 0.0), ("90 %", "97 %", "50 %")),
        (Scale.LOG_ODDS, (3.44, 3.45), ("96.89 %", "96.92 %")),  # two that differ look different
        (Scale.LOG_ODDS, (3.45, 3.45), ("97 %", "97 %")),
        (Scale.LOG_ODDS, (-3.0, -8.0, 6.0), ("5 %", "under 1 %", "99.8 %")),
        (Scale.LOG_ODDS, (80.0, 90.0), ("over 99.999 %", "over 99.999 %")),
        (Scale.PROBABILITY, (0.85, 0.5), ("85 %", "50 %")),
        (Scale.PROBABILITY, (1.0, 0.0), ("over 99.999 %", "under 1 %")),
        (Scale.COSINE, (0.611, -0.2), ("0.61", "-0.20")),
        (None, (2.5,), ("2.50",)),
    ],
)
def test_scores_for_people(scale, scores, words):
    assert in_words(scale, *scores) == words


def test_every_scale_has_a_name():
    assert [label(s) for s in (*Scale, None)] == ["confidence", "confidence", "likeness", "score"]


def test_the_head_is_fitted_as_if_both_were_equally_likely():
    """What makes log-odds a confidence: over references that were left out and over others, weighted alike, the mean
    confidence is one half, which is how many of them are references.
    """
    rng = np.random.default_rng(0)

    def near(centre, count):
        found = centre + 0.35 * rng.normal(size=(count, 32))
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)

    none = np.zeros((0, 32), np.float32)
    templates = tuple(Template(near(c, 6), np.arange(6), none) for c in near(np.zeros(32), 12))
    scorer = fit(ReferenceSet(templates, near(np.zeros(32), 400)))

    def mean(evidence):
        return np.mean([confidence(float(s), Scale.LOG_ODDS) for s in scorer._odds(evidence)])

    references = np.concatenate([e for c in range(12) for e in left_out_pairs(scorer.gallery, c)])
    right, wrong = mean(references), mean(negative_pairs(scorer.gallery))
    assert right > 0.7
    assert (right + wrong) / 2 == pytest.approx(0.5, abs=0.01)


def test_every_judge_says_what_its_scores_are(session):
    from engine.recognition.gallery import load_gallery
    from engine.session import Session, SessionOptions

    paper = Session(SessionOptions("storybook", heads="paper"), session.folder)
    both = session.store.all()
    assert {
        j.scale
        for j in load_gallery(session.store, session.recogniser_config, session.recognition, both).classifiers.values()
    } == {Scale.LOG_ODDS}
    judges = load_gallery(paper.store, paper.recogniser_config, paper.recognition, both)
    assert (judges.faces.scale, judges.regions.scale) == (Scale.COSINE, Scale.PROBABILITY)
