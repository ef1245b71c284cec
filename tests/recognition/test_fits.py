"""What was fitted to the enrolled concepts is read the next time, and only while nothing that it depends on changed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.core.types import Concept, Kind
from engine.recognition import fits
from engine.recognition.classifier import calibrated_classifier
from engine.recognition.enrolled import METHOD
from engine.store.calibrations import StoredCalibration, Thresholds
from engine.store.fits import StoredFits
from engine.store.heads import FeedbackFeatures, ObjectHead
from engine.vision.config import find_recogniser
from tests.heads import object_head

WIDTH = 128  # that of the storybook's bank


def unit(rng, n, around=0.0):
    rows = around + rng.normal(size=(n, WIDTH)) / np.sqrt(WIDTH)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def draw_heads(count=3) -> dict[Concept, ObjectHead]:
    rng = np.random.default_rng(4)
    heads = {}
    for i in range(count):
        views = unit(rng, 6, around=2 * unit(rng, 1))
        concept = Concept(f"id{i}", f"pet{i}", Kind.PET, "dog", "sks", 1, ())
        head = object_head(concept.id, width=WIDTH)
        heads[concept] = replace(head, views=views, photos=np.repeat(np.arange(3), 2), background=unit(rng, 5))
    return heads


def values_of(classifier):
    probe = unit(np.random.default_rng(9), 20)
    return (
        classifier.fingerprint,
        classifier.name_thresholds.tolist(),
        classifier.suggestion_thresholds.tolist(),
        classifier.separable.tolist(),
        classifier.score(probe).tobytes(),
    )


@pytest.fixture
def counted(monkeypatch):
    """Count the fits."""
    calls = []
    real = fits.prior_thresholds
    monkeypatch.setattr(fits, "prior_thresholds", lambda *given: calls.append(1) or real(*given))
    return calls


@pytest.mark.parametrize("recogniser", ["storybook", "builtin"])
def test_what_is_read_is_what_was_fitted(tmp_path, counted, recogniser):
    config, heads, stored = find_recogniser(recogniser), draw_heads(), StoredFits(tmp_path)
    anew = values_of(calibrated_classifier(config, heads, None))
    assert values_of(calibrated_classifier(config, heads, None, stored)) == anew
    assert values_of(calibrated_classifier(config, heads, None, StoredFits(tmp_path))) == anew
    assert len(counted) == 2


def changed_view(concept, head):
    return replace(head, views=np.roll(head.views, 1, axis=1))


def changed_photos(concept, head):
    return replace(head, photos=np.array([0, 0, 1, 1, 1, 1]))


def changed_background(concept, head):
    return replace(head, background=head.background[1:])


def confirmed(concept, head):
    return replace(head, feedback=FeedbackFeatures(confirmed={"a": head.views[:1]}))


def rejected(concept, head):
    return replace(head, feedback=FeedbackFeatures(rejected={"a": head.background[:1]}))


@pytest.mark.parametrize("change", [changed_view, changed_photos, changed_background, confirmed, rejected])
def test_a_changed_head_is_fitted_anew(tmp_path, counted, change):
    config, heads, stored = find_recogniser("storybook"), draw_heads(), StoredFits(tmp_path)
    calibrated_classifier(config, heads, None, stored)
    first = next(iter(heads))
    other = heads | {first: change(first, heads[first])}
    assert values_of(calibrated_classifier(config, other, None, stored)) == values_of(
        calibrated_classifier(config, other, None)
    )
    assert len(counted) == 3


def test_another_prior_bank_method_or_set_of_concepts_is_fitted_anew(tmp_path, counted, monkeypatch):
    config, heads, stored = find_recogniser("storybook"), draw_heads(), StoredFits(tmp_path)
    calibrated_classifier(config, heads, None, stored)
    calibrated_classifier(config, dict(list(heads.items())[:2]), None, stored)
    prior = replace(config.open_set["regions"], level=9.0)
    calibrated_classifier(replace(config, open_set=config.open_set | {"regions": prior}), heads, None, stored)
    calibrated_classifier(replace(config, bank=None), heads, None, stored)
    monkeypatch.setattr(fits, "METHOD", METHOD + 1)
    calibrated_classifier(config, heads, None, stored)
    assert len(counted) == 5


def test_a_concept_enrolled_after_a_calibration_has_stored_thresholds(tmp_path, counted):
    config, heads, stored = find_recogniser("storybook"), draw_heads(), StoredFits(tmp_path)
    scorer = calibrated_classifier(config, heads, None).scorer
    strangers = unit(np.random.default_rng(8), 40)
    thresholds = {c.id: Thresholds(1.0, 0.5, True) for c in list(heads)[:2]}
    found = StoredCalibration(
        Path("/photos"), "m", "g", 1.0, 99, 0.1, thresholds, scorer.tensors() | {"strangers": strangers}
    )
    anew = values_of(calibrated_classifier(config, heads, found))
    assert values_of(calibrated_classifier(config, heads, found, stored)) == anew
    assert values_of(calibrated_classifier(config, heads, found, stored)) == anew
    assert len(counted) == 3
    calibrated_classifier(config, dict(list(heads.items())[:2]), found, stored)  # all are calibrated: nothing is fitted
    assert len(counted) == 3


def flipped(data):
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("damage", [lambda data: data[:-8], flipped, lambda _: b""])
def test_a_damaged_fit_is_noticed_and_replaced(tmp_path, counted, damage):
    config, heads, stored = find_recogniser("storybook"), draw_heads(), StoredFits(tmp_path)
    anew = values_of(calibrated_classifier(config, heads, None, stored))
    (file,) = (tmp_path / "cache" / "fits").iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert values_of(calibrated_classifier(config, heads, None, stored)) == anew
    assert values_of(calibrated_classifier(config, heads, None, stored)) == anew
    assert len(counted) == 2


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path, counted):
    (tmp_path / "cache").write_text("a file in the place of the folder")
    config, heads, stored = find_recogniser("storybook"), draw_heads(), StoredFits(tmp_path)
    anew = values_of(calibrated_classifier(config, heads, None))
    assert values_of(calibrated_classifier(config, heads, None, stored)) == anew
    stored.clear()
    assert (tmp_path / "cache").is_file()


def test_the_latest_fits_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("engine.store.fits._MOST", 2)
    stored = StoredFits(tmp_path)
    for digest in ("a" * 32, "b" * 32, "c" * 32):
        stored.save(digest, {"x": np.ones(1)})
    assert stored.load("a" * 32) is None
    assert stored.load("c" * 32)["x"].tolist() == [1.0]
    stored.clear()
    assert stored.load("c" * 32) is None
