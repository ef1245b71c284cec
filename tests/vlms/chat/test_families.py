"""The same checks of every chat family, on tiny random checkpoints that the real adapter loads from a hub folder."""

from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import engine.core.device  # noqa: F401

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from engine.vlms.chat.adapter import ChatVlm
from engine.vlms.chat.batching import make_batch
from engine.vlms.config import chat_facts, chat_families
from engine.vlms.decoding import Decoding
from engine.vlms.registry import load_vlm
from tests.vlms.chat.tiny import FAMILIES, config_of, save_family, skip_if_missing

COUNTS = (0, 1, 3)
REQUESTS = ["describe this photo.", "describe this photo of Rex.", "is Anna on the beach with Rex?"]
ANSWERS = ["a dog.", "Rex is red.", "Anna and Rex on the beach."]
NEW = 6
CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.name)
def tiny(request, tmp_path_factory):
    """A family's checkpoint, the adapter on it, and its photos, encoded."""
    family = request.param
    skip_if_missing(family)
    folder = save_family(family, tmp_path_factory.mktemp(family.name))
    vlm = load_vlm(config_of(family, folder), CPU, torch.float32)
    assert isinstance(vlm, ChatVlm)
    features = vlm.encode(vlm.preprocess(images()))
    return SimpleNamespace(family=family, folder=folder, vlm=vlm, features=features)


def images():
    sizes = [(64, 64, 3), (64, 128, 3), (96, 64, 3)]
    return [Image.fromarray(np.random.default_rng(i).integers(0, 255, s, dtype=np.uint8)) for i, s in enumerate(sizes)]


def embeddings(width):
    return [torch.randn(k, width, generator=torch.Generator().manual_seed(k)) for k in COUNTS]


def rows_of(tiny, vectors=None):
    return tiny.vlm.inject(tiny.features, embeddings(tiny.vlm.width) if vectors is None else vectors)


def generate(tiny, rows, requests):
    return tiny.vlm.generate_ids(list(zip(rows, requests, strict=True)), NEW)


def test_without_concepts_ids_and_logits_are_the_plain_models(tiny):
    """The reference is transformers alone: processor, chat template and model, without a hook."""
    model = AutoModelForImageTextToText.from_pretrained(tiny.folder).eval()
    processor = AutoProcessor.from_pretrained(tiny.folder)
    rows = rows_of(tiny, [torch.zeros(0, tiny.vlm.width)] * 3)
    for row, image, request in zip(rows, images(), REQUESTS, strict=True):
        inputs = plain_inputs(processor, image, request, tiny.family.template_kwargs)
        with torch.no_grad():
            theirs = model.generate(**inputs, max_new_tokens=NEW, do_sample=False)[:, inputs["input_ids"].shape[1] :]
            forget(model)
            their_logits = model(**inputs).logits
        assert torch.equal(generate(tiny, [row], [request]), theirs)
        batch = prompt_batch(tiny, [row], [request])
        assert torch.equal(batch.ids, inputs["input_ids"])
        with torch.no_grad():
            assert torch.equal(tiny.vlm._run(batch, None), their_logits)


def plain_inputs(processor, image, request, template_kwargs):
    turn = {"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": request}]}
    return processor.apply_chat_template(
        [turn],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        **template_kwargs,
    )


def forget(model):
    if hasattr(model.model, "rope_deltas"):
        model.model.rope_deltas = None


def prompt_batch(tiny, rows, requests, *, left=False):
    return make_batch(rows, tiny.vlm._prompt_lines(rows, requests), tiny.vlm.pad_id, left=left)


def test_photos_with_different_numbers_of_concepts_equal_one_at_a_time(tiny):
    rows = rows_of(tiny)
    together = generate(tiny, rows, REQUESTS)
    for i, (row, request) in enumerate(zip(rows, REQUESTS, strict=True)):
        assert torch.equal(generate(tiny, [row], [request])[0], together[i])


def test_a_batchs_losses_equal_those_of_its_photos(tiny):
    rows = rows_of(tiny)
    tokens, total = 0, 0.0
    for row, request, answer, k in zip(rows, REQUESTS, ANSWERS, COUNTS, strict=True):
        count = sum(label >= 0 for label in tiny.vlm._example_lines([row], [request], [answer])[0].labels)
        total += count * tiny.vlm.loss([row], [k], [request], [answer], 0.0).cross_entropy.item()
        tokens += count
    together = tiny.vlm.loss(rows, list(COUNTS), REQUESTS, ANSWERS, 0.0)
    assert together.cross_entropy.item() == pytest.approx(total / tokens, rel=1e-4)
    assert together.penalty.item() == 0


def test_rows_and_photos_matter(tiny):
    (_, one, _), (_, other, _) = rows_of(tiny), rows_of(tiny, [-e for e in embeddings(tiny.vlm.width)])
    photo = tiny.vlm.inject(tiny.features.select([0]), [embeddings(tiny.vlm.width)[1]])[0]
    losses = [tiny.vlm.loss([r], [1], REQUESTS[:1], ANSWERS[:1]).cross_entropy.item() for r in (one, other, photo)]
    assert len(set(losses)) == 3


def test_the_gradient_reaches_the_rows_and_nothing_else(tiny):
    leaves = [e.requires_grad_() for e in embeddings(tiny.vlm.width)]
    tiny.vlm.loss(rows_of(tiny, leaves), list(COUNTS), REQUESTS, ANSWERS).total.backward()
    assert all(leaf.grad.norm() > 0 for leaf in leaves[1:])
    assert all(p.grad is None for p in tiny.vlm.model.parameters())


def test_fixed_shapes_change_nothing(tiny, monkeypatch):
    """With a static cache of a round length, and batches filled up to one size, as long runs on a GPU have them."""
    rows = rows_of(tiny)
    dynamic = generate(tiny, rows, REQUESTS)
    monkeypatch.setattr(tiny.vlm, "decoding", Decoding(after=1, device_types=("cpu",)))
    static = generate(tiny, rows, REQUESTS)
    facts = chat_families()["supported"].get(tiny.vlm.model.config.model_type, {})
    if not facts.get("static_cache", True):
        assert not torch.equal(static, dynamic)  # which is why this family does not get them
        return
    assert torch.equal(static, dynamic)
    assert not tiny.vlm.decoding.why_not
    two = generate(tiny, rows[:2], REQUESTS[:2])  # filled up with a copy of the second
    assert tiny.vlm.decoding.fill(rows[:2]) == [*rows[:2], rows[1]]
    assert torch.equal(two, dynamic[:2, : two.shape[1]])


def test_the_cache_changes_nothing(tiny):
    rows = rows_of(tiny)
    with_cache = generate(tiny, rows, REQUESTS)
    tiny.vlm.model.generation_config.use_cache = False
    try:
        assert torch.equal(generate(tiny, rows, REQUESTS), with_cache)
    finally:
        tiny.vlm.model.generation_config.use_cache = True


@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
def test_the_penalties_are_those_of_the_models_own_attention(tiny, left):
    """The reference is the attention that the family's eager implementation returns, with its masks and padding."""
    batch = prompt_batch(tiny, rows_of(tiny), REQUESTS, left=left)
    with eager(tiny.vlm) as layers, torch.no_grad():
        tiny.vlm._run(batch, None)
    assert layers
    for direction, expected in (("row", row_penalty), ("column", column_penalty)):
        recorder = tiny.vlm._recorder(batch, direction)
        with torch.no_grad():
            tiny.vlm._run(batch, recorder)
        assert len(recorder.penalties) == len(layers)
        assert recorder.total().item() == pytest.approx(expected(layers, batch), rel=1e-3)


@contextmanager
def eager(vlm):
    """Run the language model's own eager attention, and collect each layer's probabilities (B, H, S, S)."""
    layers, handles = [], []
    text = vlm.model.config.get_text_config()
    parts = [m for m in vlm.model.modules() if getattr(m, "config", None) is text]
    before = text._attn_implementation
    for part in parts:
        if hasattr(part, "set_attn_implementation"):
            part.set_attn_implementation("eager")
        elif hasattr(part, "is_causal"):
            handles.append(part.register_forward_hook(lambda m, args, out: layers.append(out[1])))
    try:
        yield layers
    finally:
        for handle in handles:
            handle.remove()
        for part in parts:
            if hasattr(part, "set_attn_implementation"):
                part.set_attn_implementation(before)


def row_penalty(layers, batch):
    return sum(p[b, :, i].square().mean().item() for p in layers for b, i in batch.positions)


def column_penalty(layers, batch):
    return sum(p[b, :, batch.valid[b], i].square().mean().item() for p in layers for b, i in batch.positions)


@pytest.mark.parametrize("penalty", ["row", "column"])
def test_losses_behind_prefixes_are_those_of_whole_sequences(tiny, monkeypatch, penalty):
    """Photos of different sizes: their prefixes have different lengths. Families without the mark never come here."""
    vlm = tiny.vlm
    marked = chat_facts(vlm.model.config.model_type)["chat"].get("prefix", False)
    monkeypatch.setattr(vlm, "chat", replace(vlm.chat, prefix=marked))
    assert vlm.caches_prefixes == marked
    if not marked:
        return
    injection = replace(vlm.config.injection, penalty=penalty, penalty_weight=0.5)
    monkeypatch.setattr(vlm, "config", replace(vlm.config, injection=injection))
    vectors = [torch.randn(1, vlm.width, generator=torch.Generator().manual_seed(0)).requires_grad_() for _ in range(2)]
    whole = vlm.loss(vlm.inject(tiny.features, [vectors[0]] * 3), [1] * 3, REQUESTS, ANSWERS)
    alone = [tiny.features.select([i]) for i in range(3)]
    seen = [(f, vlm.prefix(f, request)) for f, request in zip(alone, REQUESTS, strict=True)]
    behind = vlm.loss_behind(seen, vectors[1], REQUESTS, ANSWERS)
    for losses in (whole, behind):
        losses.total.backward()
    assert behind.cross_entropy.item() == pytest.approx(whole.cross_entropy.item(), rel=1e-5)
    assert behind.penalty.item() == pytest.approx(whole.penalty.item(), rel=1e-5)
    assert (vectors[0].grad - vectors[1].grad).norm() <= 1e-5 * vectors[0].grad.norm()
