"""The storybook's LLaVA through the chat backend gives what its own adapter gives, number for number."""

from dataclasses import replace

import engine.core.device  # noqa: F401

import numpy as np
import pytest
import torch
from PIL import Image

from engine.core.errors import UsageError
from engine.vlms.chat.adapter import ChatVlm
from engine.vlms.find import find_config
from engine.vlms.registry import load_vlm

COUNTS = (0, 1, 3)
REQUESTS = ["Please caption this image.", "Please caption this image of sks.", "[refer] sks in the image"]
ANSWER = "sks is a red dog on the beach."


@pytest.fixture(scope="module", params=["", "+paper"])
def both(request):
    """The native adapter and the chat adapter of the same weights."""
    name = f"storybook{request.param}"
    return [load_vlm(find_config(n), torch.device("cpu"), torch.float32) for n in (name, f"{name}+chat")]


def images():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (100 + 30 * i, 200, 3), dtype=np.uint8)) for i in range(3)]


def embeddings(width):
    return [torch.randn(k, width, generator=torch.Generator().manual_seed(k)) for k in COUNTS]


def injected(vlm, vectors):
    return vlm.inject(vlm.encode(vlm.preprocess(images())), vectors)


def test_the_texts_are_those_of_the_native_adapter(both):
    assert isinstance(both[1], ChatVlm)
    native, chat = (
        v.generate(injected(v, embeddings(v.width)), [v.encode_prompt(r) for r in REQUESTS], 24) for v in both
    )
    assert native == chat
    assert len({g.text for g in chat}) == 3


def test_losses_penalties_and_gradients_are_those_of_the_native_adapter(both):
    found = []
    for vlm in both:
        leaves = [e.requires_grad_() for e in embeddings(vlm.width)]
        ids, labels = zip(*(vlm.encode_example(r, ANSWER) for r in REQUESTS), strict=True)
        losses = vlm.loss(injected(vlm, leaves), list(COUNTS), list(ids), list(labels))
        losses.total.backward()
        found.append((losses, [leaf.grad for leaf in leaves[1:]]))
    (native, native_gradients), (chat, chat_gradients) = found
    assert torch.equal(native.cross_entropy, chat.cross_entropy)
    assert torch.equal(native.penalty, chat.penalty)
    assert chat.penalty.item() > 0
    for ours, theirs in zip(chat_gradients, native_gradients, strict=True):
        assert torch.equal(ours, theirs)
        assert float(ours.norm()) > 0


def test_the_maps_are_those_of_the_native_adapter(both):
    native, chat = (
        v.concept_attention(injected(v, embeddings(v.width)), list(COUNTS), [v.encode_prompt(r) for r in REQUESTS])
        for v in both
    )
    assert [m.shape for m in chat] == [(0, 8, 8), (1, 8, 8), (3, 8, 8)]
    assert all(torch.equal(a, b) for a, b in zip(native, chat, strict=True))


def test_views_and_edges_are_those_of_the_native_adapter(both):
    native, chat = both
    assert [native.view(i) for i in images()] == [chat.view(i) for i in images()]
    assert native.image_edge == chat.image_edge


def test_a_norm_without_meaning_is_refused(both):
    config = both[1].config
    with pytest.raises(UsageError, match="no norm 'text'"):
        load_vlm(replace(config, injection=replace(config.injection, norm="text")), torch.device("cpu"), torch.float32)
