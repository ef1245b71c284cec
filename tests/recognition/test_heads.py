from dataclasses import replace

import engine.core.device  # noqa: F401

import numpy as np
import pytest
import torch

from engine.core.types import Kind
from engine.photos.decode import load_photo
from engine.recognition.assignment import assign, choose_crops, face_scores
from engine.recognition.linear_head import HeadTraining, train_head
from engine.storybook.album import MUG
from engine.storybook.photos import save_photo
from engine.storybook.world.scenes import compose
from engine.vision.regions import crop, grid_regions


def unit(rng, n, d=32):
    x = rng.normal(size=(n, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def cluster(rng, centre, n, spread=0.25):
    x = centre + spread * rng.normal(size=(n, len(centre))) / np.sqrt(len(centre))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def test_a_head_separates_what_can_be_separated_and_is_deterministic():
    rng = np.random.default_rng(0)
    centre = unit(rng, 1)[0]
    settings = HeadTraining(learning_rate=0.02, scale=10.0, balanced=True)
    head = train_head(cluster(rng, centre, 30), unit(rng, 200), settings, seed=1)
    assert (head.scores(cluster(rng, centre, 50)) > 0.5).mean() > 0.95
    assert (head.scores(unit(rng, 200)) > 0.5).mean() < 0.05
    rng = np.random.default_rng(0)
    again = train_head(cluster(rng, unit(rng, 1)[0], 30), unit(rng, 200), settings, seed=1)
    assert np.array_equal(head.weight, again.weight)


def test_a_head_without_negatives_still_trains():
    rng = np.random.default_rng(0)
    head = train_head(unit(rng, 4), np.zeros((0, 32), np.float32), HeadTraining(), seed=0)
    assert head.scores(unit(rng, 4)).shape == (4,)


@pytest.mark.parametrize("settings", [HeadTraining(steps=60), HeadTraining(60, 0.02, 0.1, 8, 10.0, balanced=True)])
def test_a_head_is_trained_as_torch_trains_it(settings):
    rng = np.random.default_rng(5)
    positives, negatives = cluster(rng, unit(rng, 1)[0], 4), unit(rng, 40)
    head = train_head(positives, negatives, settings, seed=3)
    weight, bias = trained_by_torch(positives, negatives, settings, seed=3)
    assert head.weight == pytest.approx(weight, abs=1e-5)
    assert head.bias == pytest.approx(bias, abs=1e-5)
    assert np.abs(bias).max() > 1e-3


def trained_by_torch(positives, negatives, settings, seed):
    generator = torch.Generator().manual_seed(seed)
    classifier = torch.nn.Linear(positives.shape[1], 2)
    with torch.no_grad():
        classifier.weight.normal_(0, 0.01, generator=generator)
        classifier.bias.zero_()
    features = settings.scale * torch.from_numpy(np.concatenate([positives, negatives]))
    labels = torch.cat([torch.ones(len(positives)), torch.zeros(len(negatives))]).long()
    weights = torch.ones(len(labels))
    if settings.balanced:
        weights = torch.where(labels == 1, 0.5 / len(positives), 0.5 / len(negatives))
    adamw = torch.optim.AdamW(classifier.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adamw, settings.steps)
    for _ in range(settings.steps):
        rows = torch.multinomial(weights, settings.batch, replacement=True, generator=generator)
        adamw.zero_grad()
        torch.nn.functional.cross_entropy(classifier(features[rows]), labels[rows]).backward()
        adamw.step()
        schedule.step()
    return classifier.weight.detach().numpy(), classifier.bias.detach().numpy()


def test_assignment_is_one_to_one_and_leaves_the_unknown_alone():
    scores = np.array([[0.9, 0.8], [0.7, 0.6], [0.2, 0.1]])
    found = {(a.region, a.concept) for a in assign(scores, np.array([0.5, 0.5]))}
    assert found == {(0, 0), (1, 1)}


def test_overlapping_regions_show_one_thing():
    scores = np.array([[0.9, 0.8], [0.85, 0.7], [0.1, 0.6]])
    same = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], bool)
    found = {(a.region, a.concept) for a in assign(scores, np.array([0.5, 0.5]), same)}
    assert found == {(0, 0), (2, 1)}


def test_face_scores_take_the_nearest_template():
    rng = np.random.default_rng(0)
    faces = unit(rng, 3)
    scores = face_scores(faces, [faces[:1], unit(rng, 5)])
    assert scores.shape == (3, 2)
    assert scores[0, 0] == pytest.approx(1.0, abs=1e-5)
    assert face_scores(np.zeros((0, 1)), [faces]).shape == (0, 1)


def test_the_region_that_all_photos_share_is_chosen():
    rng = np.random.default_rng(0)
    wanted = unit(rng, 1)[0]
    features = [np.concatenate([unit(rng, 2), cluster(rng, wanted, 1)]) for _ in range(3)]
    sizes = [np.array([0.5, 0.3, 0.1])] * 3
    assert choose_crops(features, sizes) == [2, 2, 2]
    assert choose_crops(features[:1], sizes[:1]) == [0]


def test_grid_and_crops_stay_inside():
    from PIL import Image

    image = Image.new("RGB", (200, 100), "white")
    for region in grid_regions(200, 100):
        b = region.box
        assert 0 <= b.x0 < b.x1 <= 200.001
        assert 0 <= b.y0 < b.y1 <= 100.001
        part = crop(image, b)
        assert part.width == part.height


def test_scores_that_are_no_numbers_match_nobody():
    assert assign(np.full((2, 2), np.nan), np.array([0.5, 0.5])) == []
    assert [a.concept for a in assign(np.array([[np.nan, 0.9], [np.inf, 0.1]]), np.array([0.5, 0.5]))] == [1]


def test_ids_of_shipped_recognisers_name_the_weights_not_the_place(monkeypatch, tmp_path):
    """Heads and cached features must outlive a reinstallation elsewhere, and never be used with other weights."""
    import shutil

    from engine.vision import config

    before = config.find_recogniser("storybook")
    ids = before.id, before.faces_id
    shutil.copytree(config.STORYBOOK, tmp_path / "weights")
    monkeypatch.setattr(config, "STORYBOOK", tmp_path / "weights")
    moved = config.find_recogniser("storybook")
    assert (moved.id, moved.faces_id) == ids
    assert str(tmp_path) not in moved.id
    encoder = tmp_path / "weights" / "encoder"
    shipped = config.fingerprint(encoder)
    assert shipped in moved.id  # the recorded fingerprint is that of the files
    (encoder / "open_clip_config.json").write_text("{}")
    assert config.fingerprint(encoder) != shipped


def test_what_a_detector_takes_for_a_person_without_a_face_is_a_thing(session, tmp_path):
    """A person is known by faces: features of regions are no templates, whatever the detector's word."""
    from engine.concepts.enrol import Guess, enrol_crops
    from engine.concepts.reference_crops import crop_regions

    photo = load_photo(save_photo(compose(np.random.default_rng(4), (MUG,), place="beach"), tmp_path / "a.jpg").path)
    views, findings = crop_regions(session.extractor, [photo], np.random.default_rng(0))
    views = [replace(v, word="woman") for v in views]
    done = enrol_crops(session, "can", views, findings, Guess(Kind.THING, None, kind_guessed=True))
    assert (done.concept.kind, done.concept.category) == (Kind.THING, "thing")
    head = session.store.load_head(done.concept.id, session.recogniser_config.id)
    assert "weight" in head.encode()[0]
