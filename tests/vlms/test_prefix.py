"""Losses and gradients from cached prefixes are those of the whole sequence."""

from dataclasses import replace

import engine.core.device  # noqa: F401

import numpy as np
import pytest
import torch
from PIL import Image

from engine.vlms.find import find_config
from engine.vlms.prefix import Continuation, Prefix, has_causal_layers
from engine.vlms.registry import load_vlm
from tests.tiny_llava import save_tiny_llava
from tests.tiny_minigpt import save_tiny_minigpt

CPU = torch.device("cpu")
TURNS = (("Please caption this image of sks.", "sks is red."), ("What color is sks?", "In this image, sks is blue."))


@pytest.fixture(scope="module", params=["llava", "minigpt"])
def vlm(request, tmp_path_factory):
    """A tiny VLM whose weights are large enough for the photo to matter."""
    folder = tmp_path_factory.mktemp(request.param) / "tiny"
    (save_tiny_llava if request.param == "llava" else save_tiny_minigpt)(folder)
    vlm = load_vlm(find_config(str(folder)), CPU, torch.float32)
    with torch.no_grad():
        for values in vlm.model.parameters():
            if values.dim() > 1:
                values.mul_(3.0)
    return vlm


def images():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (40, 60 + 70 * i, 3), dtype=np.uint8)) for i in range(2)]


def both_ways(vlm, features, weight=None):
    """Losses and gradients of the whole sequences, and of those behind prefixes."""
    ids, labels = map(list, zip(*(vlm.encode_example(*turn) for turn in TURNS), strict=True))
    found = []
    for behind in (False, True):
        embedding = torch.rand(1, vlm.width, generator=torch.Generator().manual_seed(0)).requires_grad_()
        if behind:
            alone = [features.select([i]) for i in range(2)]
            seen = [(f, vlm.prefix(f, i)) for f, i in zip(alone, ids, strict=True)]
            losses = vlm.loss_behind(seen, embedding, ids, labels, weight)
        else:
            losses = vlm.loss(vlm.inject(features, [embedding] * 2), [1, 1], ids, labels, weight)
        losses.total.backward()
        found.append((losses.cross_entropy.detach(), losses.penalty.detach(), embedding.grad))
    return found


def assert_equal(whole, behind, tolerance=1e-5):
    for a, b in zip(whole, behind, strict=True):
        assert (a - b).abs().max() <= tolerance * max(1.0, float(a.abs().max()))
    assert (whole[2] - behind[2]).norm() <= tolerance * whole[2].norm()


@pytest.mark.parametrize("weight", [None, 10.0])
@pytest.mark.parametrize("penalty", ["row", "column", "none"])
def test_losses_and_gradient_are_those_of_the_whole_sequence(vlm, monkeypatch, penalty, weight):
    monkeypatch.setattr(vlm, "config", replace(vlm.config, injection=replace(vlm.config.injection, penalty=penalty)))
    whole, behind = both_ways(vlm, vlm.encode(vlm.preprocess(images())), weight)
    assert (whole[1] > 0) == (penalty != "none")
    assert_equal(whole, behind)


def test_prefixes_of_different_lengths_share_a_batch(vlm):
    features = vlm.encode(vlm.preprocess(images()))
    features = type(features)([features.features[0], features.features[1][:-1]], features.norms)
    assert_equal(*both_ways(vlm, features))


def test_the_gradient_in_bfloat16_differs_by_its_rounding_only(vlm):
    features = vlm.encode(vlm.preprocess(images()))
    exact = both_ways(vlm, features)[0]
    vlm.model.bfloat16()
    try:
        features = vlm.encode(vlm.preprocess(images()))
        whole, behind = both_ways(vlm, features)
    finally:
        vlm.model.float()
    rounding = (whole[2] - exact[2]).norm()
    assert (behind[2] - whole[2]).norm() <= 2 * rounding
    assert rounding > 0


def test_a_prefix_depends_on_the_text_before_the_photo_only(vlm):
    features = vlm.encode(vlm.preprocess(images()[:1]))
    first, second = (vlm.encode_example(*turn)[0] for turn in TURNS)
    assert vlm.head_of(features, first) == vlm.head_of(features, second)
    one, other = vlm.prefix(features, first), vlm.prefix(features, second)
    pairs = [(a, b) for x, y in zip(one.layers, other.layers, strict=True) for a, b in zip(x, y, strict=True)]
    assert all(torch.equal(a, b) for a, b in pairs)
    assert one.nbytes == sum(t.numel() * 4 for layer in one.layers for t in layer) > 0
    assert not any(t.requires_grad for layer in one.layers for t in layer)


def test_padding_stands_around_each_sequence():
    def prefix(length):
        return Prefix(((torch.ones(1, 1, length, 2), torch.ones(1, 1, length, 2)),), torch.tensor(1.0))

    layout = Continuation([prefix(3), prefix(1)], [1, 2])
    assert (layout.at, layout.lengths) == (3, [4, 3])
    assert layout.mask().int().tolist() == [[1, 1, 1, 1, 0], [0, 0, 1, 1, 1]]
    assert layout.positions().tolist() == [[3, 4], [1, 2]]
    assert layout.cache().get_seq_length() == 3


class _Config:
    def __init__(self, **facts):
        self.__dict__ |= facts


@pytest.mark.parametrize(
    ("facts", "is_causal"),
    [
        ({}, True),
        ({"sliding_window": None}, True),
        ({"sliding_window": 4096}, False),
        ({"sliding_window": 4096, "use_sliding_window": False}, True),
        ({"layer_types": ["full_attention"] * 2}, True),
        ({"layer_types": ["full_attention", "sliding_attention"]}, False),
        ({"layer_types": ["full_attention", "linear_attention"]}, False),
        ({"rope_parameters": {"rope_type": "default"}}, True),
        ({"rope_parameters": {"rope_type": "dynamic"}}, False),
    ],
)
def test_only_decoders_whose_layers_see_all_earlier_rows_have_prefixes(facts, is_causal):
    assert has_causal_layers(_Config(**facts)) == is_causal
