"""Open-set scores and their calibration, on made-up features: no model runs."""

from dataclasses import replace

import numpy as np
import pytest

from engine.recognition.pair_features import PAIR_FEATURES, ReferenceSet, Template, compute_pair_features, find_cohort
from engine.recognition.scoring import fit, restore
from engine.recognition.thresholds import OBJECTS, best_in_photos, calibrate, fit_tail

WIDTH = 48


def _unit(rows: np.ndarray) -> np.ndarray:
    found: np.ndarray = (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)
    return found


def _near(rng: np.random.Generator, centre: np.ndarray, n: int, noise: float = 0.4) -> np.ndarray:
    return _unit(centre + noise * _unit(rng.normal(size=(n, WIDTH))))


def _gallery(seed: int = 0, concepts: int = 5) -> tuple[ReferenceSet, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = _unit(rng.normal(size=(concepts, WIDTH)))
    none = np.zeros((0, WIDTH), np.float32)
    own = tuple(Template(_near(rng, c, 12), np.repeat(np.arange(4), 3), none) for c in centres)
    return ReferenceSet(own, _unit(rng.normal(size=(400, WIDTH)))), centres


def test_tells_concepts_from_strangers_and_from_each_other() -> None:
    gallery, centres = _gallery()
    rng = np.random.default_rng(1)
    scorer = fit(gallery)
    own = scorer.scores(np.concatenate([_near(rng, c, 20) for c in centres]))
    strange = scorer.scores(_unit(rng.normal(size=(500, WIDTH))))
    assert (own.argmax(axis=1) == np.repeat(np.arange(5), 20)).all()
    assert own.max(axis=1).min() > strange.max()


def test_same_every_time() -> None:
    gallery, centres = _gallery()
    assert np.array_equal(fit(gallery).scores(centres), fit(gallery).scores(centres))


def test_stored_and_read_back() -> None:
    gallery, centres = _gallery()
    scorer = fit(gallery)
    np.testing.assert_allclose(restore(gallery, scorer.tensors()).scores(centres), scorer.scores(centres), atol=1e-5)


def test_finds_sure_strangers() -> None:
    gallery, centres = _gallery()
    rng = np.random.default_rng(9)
    own = np.concatenate([_near(rng, c, 20) for c in centres])
    strange = _unit(rng.normal(size=(200, WIDTH)))
    assert not find_cohort(own, gallery.concepts).any()
    assert find_cohort(strange, gallery.concepts).all()


def test_order_of_concepts_does_not_matter() -> None:
    gallery, centres = _gallery()
    turned = replace(gallery, concepts=gallery.concepts[::-1])
    np.testing.assert_allclose(fit(turned).scores(centres)[:, ::-1], fit(gallery).scores(centres), atol=1e-3)


def test_only_angles_matter() -> None:
    gallery, centres = _gallery()
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(WIDTH, WIDTH)))[0].astype(np.float32)
    own = tuple(replace(t, views=t.views @ turn) for t in gallery.concepts)
    turned = ReferenceSet(own, gallery.cohort @ turn)
    np.testing.assert_allclose(fit(turned).scores(centres @ turn), fit(gallery).scores(centres), atol=1e-3)


def test_held_out_references_say_what_to_expect() -> None:
    gallery, centres = _gallery()
    scorer = fit(gallery)
    fresh = scorer.scores(np.concatenate([_near(np.random.default_rng(5), c, 40) for c in centres]))
    own = fresh.reshape(5, 40, 5)[np.arange(5), :, np.arange(5)].mean()
    held = np.concatenate(scorer.held_out)
    assert len(held) == 20
    assert abs(held.mean() - own) < 1.0


def test_a_rejection_lowers_what_looks_like_it() -> None:
    gallery, centres = _gallery()
    rng = np.random.default_rng(7)
    lookalike = _unit(centres[0] + 0.7 * _unit(rng.normal(size=WIDTH)))
    told = replace(gallery.concepts[0], rejected=_near(rng, lookalike, 4, 0.2))
    after = fit(replace(gallery, concepts=(told, *gallery.concepts[1:])))
    seen = _near(rng, lookalike, 10, 0.2)
    own = _near(rng, centres[0], 10)
    before = fit(gallery)
    lost = before.scores(seen)[:, 0].mean() - after.scores(seen)[:, 0].mean()
    assert lost > before.scores(own)[:, 0].mean() - after.scores(own)[:, 0].mean()


@pytest.mark.parametrize("photos", [1, 2])
def test_few_references(photos: int) -> None:
    gallery, centres = _gallery()
    few = tuple(
        replace(t, views=t.views[t.photos < photos], photos=t.photos[t.photos < photos]) for t in gallery.concepts
    )
    scorer = fit(replace(gallery, concepts=few))
    scores = scorer.scores(centres)
    assert (scores.argmax(axis=1) == np.arange(5)).all()
    assert all(len(h) == (photos if photos > 1 else 0) for h in scorer.held_out)


def test_no_strangers_and_one_concept() -> None:
    gallery, centres = _gallery(concepts=1)
    scorer = fit(ReferenceSet(gallery.concepts, np.zeros((0, WIDTH), np.float32)))
    assert np.isfinite(scorer.scores(centres)).all()
    assert scorer.scores(np.zeros((0, WIDTH), np.float32)).shape == (0, 1)


def test_evidence_has_its_columns() -> None:
    gallery, centres = _gallery()
    found = compute_pair_features(centres, gallery.concepts, gallery.cohort)
    assert found.shape == (5, 5, len(PAIR_FEATURES))
    assert (np.abs(found) <= 1.001).all()


def _library(seed: int, photos: int = 2000) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Best scores (P, C), who is there (P, C), left-out references: impostors' tails are exponential, the enrolled
    are at 3.8 ± 0.25, some of them badly seen.
    """
    rng = np.random.default_rng((901, seed))
    there = rng.random((photos, 10)) < 0.02
    best = -6.0 + rng.exponential(0.75, (photos, 10))
    best[rng.random(best.shape) < 0.5] = -np.inf
    seen = rng.normal(3.8, 0.25, there.sum())
    seen[rng.random(len(seen)) < 0.02] -= 3.0
    best[there] = seen
    return best, there, [rng.normal(3.75, 0.25, 4) for _ in range(10)]


def test_keeps_its_promise_on_simulated_libraries() -> None:
    kept, recalls = 0, []
    for seed in range(20):
        best, there, held_out = _library(seed)
        found = calibrate(best, held_out, OBJECTS)
        accepted = best >= found.name_thresholds
        kept += int((accepted & ~there).sum()) <= 2
        recalls.append(float(accepted[there].mean()))
        assert found.separable.all()
    assert kept >= 19
    assert np.mean(recalls) > 0.93


def test_maybes_are_under_names_and_include_more() -> None:
    best, there, held_out = _library(30)
    found = calibrate(best, held_out, OBJECTS)
    assert (found.suggestion_thresholds < found.name_thresholds).all()
    assert (best >= found.suggestion_thresholds)[there].mean() >= (best >= found.name_thresholds)[there].mean()


def test_says_what_cannot_be_told_apart() -> None:
    best, _, held_out = _library(31)
    found = calibrate(best, [np.full(4, 1.0), *held_out[1:]], OBJECTS)
    assert not found.separable[0]
    assert found.separable[1:].all()
    assert found.name_thresholds[0] > 1.0


def test_a_stricter_promise_is_a_higher_threshold() -> None:
    best, _, held_out = _library(32)
    free = replace(OBJECTS, max_shift=10.0, floor_ratio=0.0)
    strict, usual = (calibrate(best, held_out, free, per_1000=n).name_thresholds for n in (0.1, 1.0))
    assert (strict > usual).all()


def test_the_tail_of_an_exponential_is_found() -> None:
    best, there, held_out = _library(33, photos=20_000)
    tail = fit_tail(np.where(there, -np.inf, best), np.full(10, 3.0))
    true = (~there).sum() * 0.5 * np.exp(-(tail.start + 6.0 + 1.0) / 0.75)
    assert 0.4 < tail.above(np.full(10, tail.start + 1.0)) / true < 2.5
    assert len(held_out) == 10


def test_only_the_best_concept_of_a_region_counts() -> None:
    scores = np.array([[1.0, 2.0], [0.5, -1.0], [3.0, 4.0]])
    found = best_in_photos(scores, np.array([0, 0, 2]))
    expected = np.array([[0.5, 2.0], [-np.inf, -np.inf], [-np.inf, 4.0]])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("photos", [0, 1, 5])
def test_tiny_libraries(photos: int) -> None:
    best, _, held_out = _library(34)
    found = calibrate(best[:photos], held_out, OBJECTS)
    assert np.isfinite(found.name_thresholds).all()
    assert np.isfinite(found.suggestion_thresholds).all()
