"""The augmented views of training photos: drawn once, encoded once, kept as far as memory allows."""

import engine.core.device  # noqa: F401

import numpy as np
import pytest
import torch
from PIL import Image

from engine.training import optimiser
from engine.training.optimiser import MOST_PHOTOS, EmbeddingTrainer, TrainingExample
from engine.training.questions import Turn
from engine.training.views import Views, bytes_of
from engine.vlms.base import ImageFeatures
from engine.vlms.config import Training, list_configs
from engine.vlms.find import find_config
from engine.vlms.registry import load_vlm
from tests.tiny_blip2 import save_tiny_blip2
from tests.tiny_llava import save_tiny_llava

CPU = torch.device("cpu")
REQUEST = "Please caption this image of sks."


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """Load a tiny VLM by its family, once."""
    save = {"llava": save_tiny_llava, "blip2": save_tiny_blip2}
    kept = {}

    def load(family):
        if family not in kept:
            folder = tmp_path_factory.mktemp(family) / "tiny"
            save[family](folder)
            kept[family] = load_vlm(find_config(str(folder)), CPU, torch.float32)
        return kept[family]

    return load


@pytest.fixture
def vlm(loaded):
    return loaded("llava")


def images(n=3):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (40 + 9 * (i % 3), 90, 3), dtype=np.uint8)) for i in range(n)]


def trainer(vlm, *, photos=3, views=2, steps=6, turns=(), augment=True):
    examples = [TrainingExample(i, ("sks is red.", "Here, sks is blue."), turns) for i in images(photos)]
    settings = Training(steps=steps, learning_rate=0.05, views=views, augment=augment)
    return EmbeddingTrainer(vlm, examples, REQUEST, settings, 0)


def run(t):
    return [(s.cross_entropy, s.penalty) for s in t.run()]


def counted(monkeypatch, vlm, name):
    """Count the calls of a method of a VLM."""
    calls, method = [], getattr(vlm, name)
    monkeypatch.setattr(vlm, name, lambda *a, **k: calls.append(1) or method(*a, **k))
    return calls


@pytest.mark.parametrize(("views", "encoded", "prefixes"), [(2, 3 * 2, 3 * 2), (8, 3 * 6, 3 * 6), (0, 6, 0)])
def test_each_view_is_encoded_once(vlm, monkeypatch, views, encoded, prefixes):
    """Without views, each of the six steps encodes its batch anew."""
    encode, prefix = counted(monkeypatch, vlm, "encode"), counted(monkeypatch, vlm, "prefix")
    run(trainer(vlm, views=views))
    assert (len(encode), len(prefix)) == (encoded, prefixes)


def test_blip2_keeps_its_image_features(loaded, monkeypatch):
    vlm = loaded("blip2")
    encode = counted(monkeypatch, vlm, "encode")
    kept = run(trainer(vlm))
    assert len(encode) == 3 * 2
    assert len({penalty for _, penalty in kept}) == len(kept)


def test_without_augmentation_the_photo_is_the_only_view(vlm, monkeypatch):
    encode = counted(monkeypatch, vlm, "encode")
    run(trainer(vlm, views=8, augment=False))
    assert len(encode) == 3


@pytest.mark.parametrize("augment", [True, False])
def test_training_from_prefixes_is_training_over_whole_sequences(vlm, monkeypatch, augment):
    behind = trainer(vlm, augment=augment)
    losses = run(behind)
    monkeypatch.setattr(type(vlm), "caches_prefixes", False)
    prefix = counted(monkeypatch, vlm, "prefix")
    whole = trainer(vlm, augment=augment)
    np.testing.assert_allclose(losses, run(whole), rtol=1e-5)
    assert not prefix
    assert torch.allclose(behind.result(), whole.result(), atol=1e-5)


def test_without_augmentation_views_change_nothing_but_rounding(vlm):
    np.testing.assert_allclose(run(trainer(vlm, augment=False)), run(trainer(vlm, views=0, augment=False)), rtol=1e-5)


def test_questions_share_the_prefixes_of_their_photo(vlm, monkeypatch):
    prefix = counted(monkeypatch, vlm, "prefix")
    turns = tuple(Turn(f"Where is sks {k}?", ("At home.",)) for k in range(5))
    run(trainer(vlm, turns=turns, steps=12))
    assert len(prefix) == 3 * 2


def test_of_many_photos_each_step_takes_some(vlm):
    losses = run(trainer(vlm, photos=MOST_PHOTOS + 2, steps=3))
    assert np.isfinite(losses).all()


@pytest.mark.parametrize("family", ["llava", "blip2"])
def test_what_finds_no_room_is_computed_again_with_the_same_result(loaded, monkeypatch, family):
    vlm = loaded(family)
    whole = trainer(vlm)
    losses = run(whole)
    poor = trainer(vlm)
    poor.views = Views(vlm, images(), poor.settings, 0, limit=0)
    encode = counted(monkeypatch, vlm, "encode")
    assert run(poor) == losses
    assert len(encode) > 3 * 2
    assert torch.equal(poor.result(), whole.result())


def test_where_memory_runs_out_less_is_kept_and_the_step_is_done_again(vlm, monkeypatch):
    whole = trainer(vlm)
    losses = run(whole)
    real, failures = vlm.loss_behind, iter([False, False, False, True, False, True])

    def loss_behind(*arguments, **options):
        if next(failures, False):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*arguments, **options)

    monkeypatch.setattr(vlm, "loss_behind", loss_behind)
    short = trainer(vlm)
    room = short.views._prefixes.limit
    assert run(short) == losses
    assert torch.equal(short.result(), whole.result())
    assert short.views._prefixes.used <= short.views._prefixes.limit < room


def test_where_nothing_is_left_to_drop_the_error_is_passed_on(vlm, monkeypatch):
    def loss_behind(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(vlm, "loss_behind", loss_behind)
    with pytest.raises(torch.OutOfMemoryError):
        run(trainer(vlm))


@pytest.mark.parametrize("family", ["llava", "blip2"])
def test_an_interrupted_training_ends_at_the_same_bytes(loaded, family):
    vlm = loaded(family)
    whole = trainer(vlm)
    run(whole)
    half = trainer(vlm)
    for _ in range(3):
        half._advance()
    resumed = trainer(vlm)
    resumed.restore({k: v.clone() for k, v in half.state().items()})
    run(resumed)
    assert torch.equal(whole.result(), resumed.result())


def test_nothing_is_generated_while_training(vlm, monkeypatch):
    generate = counted(monkeypatch, vlm.model, "generate")
    run(trainer(vlm))
    assert not generate


def test_the_variants_of_paper_and_reference_draw_a_new_view_at_each_step(vlm, monkeypatch):
    named = [f"{c.name}+{v}" for c in list_configs() for v in c.variants if v in ("paper", "reference")]
    assert len(named) == 9
    assert {find_config(name).training.views for name in (*named, "blip-2", "storybook-blip2")} == {0}
    assert find_config("llava-1.6").training.views == find_config("qwen3-vl-2b").training.views == 8
    drawn = []
    monkeypatch.setattr(optimiser, "augment", lambda image, rng: drawn.append(rng.random()) or image)
    run(trainer(vlm, views=0))
    assert len(set(drawn)) == 3 * 6


def test_bytes_are_those_of_all_tensors():
    features = ImageFeatures([torch.zeros(2, 3), torch.zeros(1, 3)], torch.zeros(2))
    assert bytes_of(features) == 4 * (6 + 3 + 2)
    assert bytes_of({"a": (torch.zeros(5, dtype=torch.int8), "text")}) == 5


def test_views_are_drawn_from_the_seed(vlm):
    settings = Training(views=3)
    one, same, other = (Views(vlm, images(), settings, seed) for seed in (0, 0, 1))
    assert torch.equal(one.features(1, 2).features, same.features(1, 2).features)
    assert not torch.equal(one.features(1, 2).features, other.features(1, 2).features)
    assert not torch.equal(one.features(1, 2).features, one.features(1, 1).features)
    assert [one.view_at(step) for step in range(4)] == [0, 1, 2, 0]
