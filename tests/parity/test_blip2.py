"""Our BLIP-2 path against the numbers of the implementation published with the paper."""

import shutil
from contextlib import contextmanager
from dataclasses import replace

import engine.core.device  # noqa: F401

import pytest
import torch
from transformers import Blip2ForConditionalGeneration

from engine.vlms import qformer_attention
from engine.vlms.blip2 import Blip2
from engine.vlms.config import Injection
from engine.vlms.find import find_config
from tests.parity.reference_numbers import (
    CASES,
    FEATURES,
    GRADIENT,
    PENALTY,
    IdTokenizer,
    Reference,
    check_training,
    relative,
)

pytestmark = pytest.mark.parity

TRAJECTORY = 1e-4
"""The regulariser of a trajectory gets ten times that, as the reference's README suggests."""


class Blip(Reference):
    def __init__(self, folder, tmp_path):
        super().__init__(folder)
        shutil.copy(folder / "config.json", tmp_path / "config.json")
        shutil.copy(folder / "weights.safetensors", tmp_path / "model.safetensors")
        self.model = Blip2ForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32)
        self.vlm = self.adapter()
        self.seen = self.vlm.encode(self.inputs["pixel_values"])
        self.ids = self.prompts = [p.tolist() for p in self.inputs["prompt_ids"]]
        self.labels = [line.tolist() for line in self.inputs["labels"]]

    def adapter(self, penalty="column", weight=None):
        weight = self.settings["regulariser_weight"] if weight is None else weight
        injection = Injection(norm="unit", penalty=penalty, penalty_weight=weight)
        text = self.model.config.text_config
        tokenizer = IdTokenizer(pad=text.pad_token_id, eos=text.eos_token_id)
        return Blip2(self.model, None, tokenizer, replace(find_config("blip-2"), injection=injection))

    @contextmanager
    def spied(self):
        """What three inner modules give: the layer norm behind the image, the Q-Former, the language model."""
        found = {}

        def keep(name, take):
            return lambda module, inputs, output: found.__setitem__(name, take(output).detach())

        hooks = [
            self.model.vision_model.post_layernorm.register_forward_hook(keep("image_features", lambda o: o)),
            self.model.qformer.register_forward_hook(keep("qformer_output", lambda o: o.last_hidden_state)),
            self.model.language_model.register_forward_hook(keep("logits", lambda o: o.logits)),
        ]
        try:
            yield found
        finally:
            for hook in hooks:
                hook.remove()


@pytest.fixture(scope="module")
def reference(parity, tmp_path_factory):
    return Blip(parity("blip2"), tmp_path_factory.mktemp("blip2"))


@pytest.fixture
def close(reference):
    """Compare with an expected tensor by relative L2 error; `pytest -rP` shows the errors."""

    def check(found, name, limit):
        error = reference.error(found, name)
        print(f"{name}: {error:.1e}")
        assert error < limit, f"{name}: {error:.1e}"

    return check


def test_the_rows_are_those_of_the_config(reference):
    assert reference.seen.features.shape[1] == reference.image_rows
    assert reference.vlm.width == reference.settings["injection_width"]
    blocks = reference.model.qformer.encoder.layer
    assert sum(b.has_cross_attention for b in blocks) == reference.settings["cross_attention_layers"]
    names = ("image_features", "qformer_output", "logits")
    assert all(f"{c}.{n}" in reference.expected for c in ("no_concept", "initial", "trained") for n in names)


@pytest.mark.parametrize("case", CASES)
def test_forward(reference, close, case):
    with reference.spied() as found:
        losses = reference.losses(reference.embedding(case))
    for name in found:
        if f"{case}.{name}" in reference.expected:
            close(found[name], f"{case}.{name}", FEATURES)
    close(losses.cross_entropy, f"{case}.ce", FEATURES)
    if case == "no_concept":
        assert losses.penalty == 0
    else:
        close(losses.penalty, f"{case}.reg_reference", PENALTY)


@pytest.mark.parametrize("case", ["initial", "trained", "two_concepts"])
def test_attention_to_the_concept(reference, close, monkeypatch, case):
    kept = []
    monkeypatch.setattr(
        qformer_attention.ConceptRows, "penalty", lambda self, form: kept.append(self) or torch.zeros(())
    )
    reference.losses(reference.embedding(case))
    received = torch.stack(kept[0].probabilities)[..., reference.image_rows :]
    close(received, f"{case}.attention_to_concept", PENALTY)


@pytest.mark.parametrize("case", ["initial", "trained"])
def test_gradients(reference, close, case):
    e = reference.embedding(case)
    losses = reference.losses(e)
    for name, value in (("ce", losses.cross_entropy), ("reg_reference", losses.penalty), ("total", losses.total)):
        close(torch.autograd.grad(value, e, retain_graph=True)[0], f"{case}.grad_{name}", GRADIENT)


@pytest.mark.parametrize("case", ["initial", "trained"])
def test_both_readings_of_the_penalty(reference, close, case):
    e = reference.embedding(case)
    close(reference.losses(e, reference.adapter(weight=1.0)).penalty, f"{case}.reg_mean_unweighted", PENALTY)
    summed = reference.losses(e, reference.adapter("column-sum", 1.0)).penalty
    close(summed, f"{case}.reg_sum_unweighted", PENALTY)
    close(torch.autograd.grad(summed, e)[0], f"{case}.grad_reg_sum_unweighted", GRADIENT)


def test_two_concepts(reference, close):
    e = reference.embedding("two_concepts")
    losses = reference.losses(e)
    close(torch.autograd.grad(losses.total, e)[0], "two_concepts.grad_total", GRADIENT)


def test_photos_with_and_without_the_concept_in_one_batch(reference, close):
    has = reference.mixed
    e = reference.embedding("mixed")
    with reference.spied() as found:
        losses = reference.losses(e, has=has)
    close(found["logits"], "mixed.logits", FEATURES)
    close(losses.cross_entropy, "mixed.ce", FEATURES)
    close(torch.autograd.grad(losses.cross_entropy, e, retain_graph=True)[0], "mixed.grad_ce", GRADIENT)
    alone = reference.expected["mixed.reg_per_image"]
    assert relative(losses.penalty, alone[torch.tensor(has).bool()].mean()) < PENALTY
    assert (alone > 0).int().tolist() == has


@pytest.mark.parametrize("case", CASES)
def test_greedy_ids(reference, case):
    assert reference.greedy(reference.embedding(case)) == reference.expected_greedy(f"{case}.greedy_ids")


def test_greedy_ids_of_a_mixed_batch(reference):
    found = reference.greedy(reference.embedding("mixed"), has=reference.mixed)
    assert found == reference.expected_greedy("mixed.greedy_ids")


def test_trajectory_of_training(reference):
    check_training(reference.settings, find_config("blip-2").training)
    errors = []
    for step, losses, embedding in reference.train(reference.vlm):
        found = {"loss": losses.total, "reg": losses.penalty, "embedding_after": embedding}
        errors.append([relative(v, reference.expected[f"trajectory.{n}"][step]) for n, v in found.items()])
    worst = [max(column) for column in zip(*errors, strict=True)]
    print("loss {:.1e}, regulariser {:.1e}, embedding {:.1e}".format(*worst))
    assert worst[0] < TRAJECTORY
    assert worst[1] < 10 * TRAJECTORY
    assert worst[2] < TRAJECTORY


def errors_of(reference):
    """Relative errors of logits and gradient in the initial case."""
    e = reference.embedding("initial")
    with reference.spied() as found:
        losses = reference.losses(e)
    gradient = torch.autograd.grad(losses.cross_entropy, e)[0]
    errors = reference.error(found["logits"], "initial.logits"), reference.error(gradient, "initial.grad_ce")
    print("logits {:.1e}, gradient {:.1e}".format(*errors))
    return errors


def test_rows_appended_behind_the_layer_norm_would_be_noticed(reference, monkeypatch):
    norm, n = reference.model.vision_model.post_layernorm, reference.image_rows
    plain = norm.forward
    monkeypatch.setattr(norm, "forward", lambda x: torch.cat([plain(x[:, :n]), x[:, n:]], dim=1))
    logits, gradient = errors_of(reference)
    assert logits > 10 * FEATURES
    assert gradient > 10 * GRADIENT


def test_a_class_token_left_out_of_the_norm_would_be_noticed(reference, monkeypatch):
    def without_class_token(states, image_rows):
        return torch.cat([states[:, :, :1], original(states[:, :, 1:], image_rows - 1)], dim=2)

    original = qformer_attention.rescale_concepts
    monkeypatch.setattr(qformer_attention, "rescale_concepts", without_class_token)
    logits, gradient = errors_of(reference)
    assert logits > FEATURES
    assert gradient > GRADIENT


def test_rows_that_keep_their_length_would_be_noticed(reference, monkeypatch):
    monkeypatch.setattr(qformer_attention, "rescale_concepts", lambda states, image_rows: states)
    logits, gradient = errors_of(reference)
    assert logits > 10 * FEATURES
    assert gradient > 10 * GRADIENT


def test_a_weight_changed_by_one_percent_would_be_noticed(reference):
    weight = reference.model.qformer.encoder.layer[0].crossattention.attention.value.weight
    kept = weight.clone()
    try:
        with torch.no_grad():
            weight.mul_(1.01)
        logits, gradient = errors_of(reference)
    finally:
        with torch.no_grad():
            weight.copy_(kept)
    assert logits > FEATURES
    assert gradient > GRADIENT
    assert errors_of(reference)[0] < FEATURES
