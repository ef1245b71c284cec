"""Scores with weights that a recogniser brings along, and names where little is known of others."""

import numpy as np
import pytest

from engine.core.types import Kind
from engine.recognition.pair_features import ReferenceSet, Template
from engine.recognition.scoring import FEWEST_OTHERS, is_strict, make_scorer, restore
from engine.recognition.thresholds import prior_thresholds
from engine.vision.config import ScoringWeights, ThresholdPrior, find_recogniser

WIDTH = 8
GIVEN = ScoringWeights(likeness=18.0, nearest=4.0, bias=-14.0, rival=30.0)
PRIOR = ThresholdPrior(level=1.5, max_shift=0.5, floor_ratio=0.5, alone=0.9)
NONE = np.zeros((0, WIDTH), np.float32)


def axis(i: int) -> np.ndarray:
    return np.eye(WIDTH, dtype=np.float32)[i]


def at(cosine: float, i: int = 0, j: int = 7) -> np.ndarray:
    """A unit feature with this cosine to axis i."""
    return np.float32(cosine) * axis(i) + np.float32(np.sqrt(1 - cosine**2)) * axis(j)


def gallery(*centres: int, photos: int = 1, cohort: np.ndarray = NONE) -> ReferenceSet:
    concepts = (Template(np.stack([axis(i)] * photos), np.arange(photos), NONE) for i in centres)
    return ReferenceSet(tuple(concepts), cohort)


@pytest.mark.parametrize("cosine", [0.2, 0.7, 0.95])
def test_given_weights_make_log_odds_of_cosines(cosine):
    scorer = make_scorer(gallery(0), PRIOR, GIVEN)
    assert scorer.scores(at(cosine)[None])[0, 0] == pytest.approx(22 * cosine - 14, abs=1e-4)


def test_given_weights_do_not_depend_on_the_cohort_nor_on_other_concepts():
    crowd = np.stack([at(0.6, j=k) for k in range(1, 7)] * 10)
    alone = make_scorer(gallery(0), PRIOR, GIVEN).scores(at(0.8)[None])[0, 0]
    among = make_scorer(gallery(0, 1, 2, cohort=crowd), PRIOR, GIVEN).scores(at(0.8)[None])[0, 0]
    assert among == pytest.approx(alone, abs=1e-4)


def test_a_region_nearer_to_another_concept_loses_log_odds():
    """0.9 to the second and 0.4 to the first: the first loses 30 * 0.5, the second nothing."""
    region = np.float32(0.4) * axis(0) + np.float32(0.9) * axis(1)
    region = np.append(region[:7], np.sqrt(max(0.0, 1 - float(region @ region)))).astype(np.float32)
    first, second = make_scorer(gallery(0, 1), PRIOR, GIVEN).scores(region[None])[0]
    assert first == pytest.approx(22 * 0.4 - 14 - 30 * 0.5, abs=1e-3)
    assert second == pytest.approx(22 * 0.9 - 14, abs=1e-3)


def test_given_weights_survive_being_stored_with_a_calibration():
    scorer = make_scorer(gallery(0, 1), PRIOR, GIVEN)
    restored = restore(scorer.gallery, scorer.tensors())
    regions = np.stack([at(0.5), at(0.9, 1)])
    assert restored.scores(regions) == pytest.approx(scorer.scores(regions))


def test_where_nothing_of_others_is_known_only_the_likeness_of_the_prior_is_named():
    scorer = make_scorer(gallery(0, photos=3), PRIOR, None)
    names, suggestions, _ = prior_thresholds(scorer.held_out, PRIOR)
    sure, unsure, unlike = scorer.scores(np.stack([at(0.91), at(0.89), at(0.5)]))[:, 0]
    assert unsure < names[0] <= sure
    assert unlike < suggestions[0] < unsure


def test_with_enough_of_others_the_weights_are_fitted():
    cohort = np.stack([at(0.3, j=1 + k % 6) for k in range(FEWEST_OTHERS)])
    assert make_scorer(gallery(0, photos=3, cohort=cohort[:-1]), PRIOR, None).weights[1] == 0.0
    assert make_scorer(gallery(0, photos=3, cohort=cohort), PRIOR, None).weights[1] > 0.0


@pytest.mark.parametrize(
    ("recogniser", "others", "strict"), [("dfn5b", 5, True), ("dfn5b", 30, False), ("builtin", 0, False)]
)
def test_only_recognisers_without_weights_need_others(recogniser, others, strict):
    assert is_strict(find_recogniser(recogniser), Kind.PET, others) is strict
