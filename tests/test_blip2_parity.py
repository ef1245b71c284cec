"""Our BLIP-2 path against the numbers of the implementation published with the paper."""

import json
import shutil
from contextlib import contextmanager
from dataclasses import replace

import engine.device  # noqa: F401

import pytest
import torch
from safetensors.torch import load_file
from transformers import Blip2ForConditionalGeneration

from engine.vlms import blip2
from engine.vlms.blip2 import Blip2
from engine.vlms.config import Injection, find_config

pytestmark = pytest.mark.parity

FEATURES, PENALTY, GRADIENT, TRAJECTORY = 1e-5, 5e-5, 2e-4, 1e-4
"""Relative errors that the reference's README suggests; the regulariser of a trajectory gets ten times the last."""
CASES = ("no_concept", "initial", "trained", "two_concepts")


class Tokenizer:
    """The ids are given; only padding and the end are needed."""

    def __init__(self, text_config):
        self.pad_token_id, self.eos_token_id = text_config.pad_token_id, text_config.eos_token_id

    def batch_decode(self, ids, skip_special_tokens):
        return [" ".join(map(str, i.tolist())) for i in ids]


class Reference:
    def __init__(self, folder, tmp_path):
        shutil.copy(folder / "config.json", tmp_path / "config.json")
        shutil.copy(folder / "weights.safetensors", tmp_path / "model.safetensors")
        self.settings = json.loads((folder / "settings.json").read_text())
        self.inputs = load_file(folder / "inputs.safetensors")
        self.expected = load_file(folder / "expected.safetensors")
        self.model = Blip2ForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32)
        self.vlm = self.adapter()
        self.seen = self.vlm.encode(self.inputs["pixel_values"])
        self.prompts = [p.tolist() for p in self.inputs["prompt_ids"]]
        self.labels = [line.tolist() for line in self.inputs["labels"]]

    def adapter(self, penalty="column", weight=None):
        weight = self.settings["regulariser_weight"] if weight is None else weight
        injection = Injection(norm="unit", penalty=penalty, penalty_weight=weight)
        config = replace(find_config("blip-2"), injection=injection)
        return Blip2(self.model, None, Tokenizer(self.model.config.text_config), config)

    def embedding(self, case):
        """Raw embeddings of a case, (K, D), with a gradient."""
        first, second = self.inputs["initial_embedding"], self.inputs["second_embedding"]
        of = {"no_concept": first[:0], "trained": second, "two_concepts": torch.cat([first, second])}
        return of.get(case, first).clone().requires_grad_()

    def each(self, embedding, has=None):
        return [embedding if h else embedding[:0] for h in has or [1] * len(self.prompts)]

    def losses(self, embedding, vlm=None, has=None):
        vlm = vlm or self.vlm
        rows = vlm.inject(self.seen, self.each(embedding, has))
        return vlm.loss(rows, [len(e) for e in self.each(embedding, has)], self.prompts, self.labels)

    def greedy(self, embedding, has=None):
        with torch.no_grad():
            rows = self.vlm.inject(self.seen, self.each(embedding, has))
        out = self.vlm.generate(rows, self.prompts, self.settings["max_new_tokens"])
        return [until_end([int(i) for i in g.text.split()], self.vlm.tokenizer) for g in out]

    def expected_greedy(self, case):
        return [until_end(i, self.vlm.tokenizer) for i in self.expected[f"{case}.greedy_ids"].tolist()]

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


def until_end(ids, tokenizer):
    """Ids up to the end token; what follows is padding, whose amount depends on the batch."""
    return ids[: ids.index(tokenizer.eos_token_id)] if tokenizer.eos_token_id in ids else ids


@pytest.fixture(scope="module")
def reference(shared, tmp_path_factory):
    folder = shared / "parity" / "blip2"
    if not folder.is_dir():
        pytest.skip("../shared/parity/blip2 is not here")
    return Reference(folder, tmp_path_factory.mktemp("blip2"))


@pytest.fixture
def close(reference):
    """Compare with an expected tensor by relative L2 error; `pytest -rP` shows the errors."""

    def check(found, name, limit):
        error = relative(found, reference.expected[name])
        print(f"{name}: {error:.1e}")
        assert error < limit, f"{name}: {error:.1e}"

    return check


def relative(a, b):
    assert a.shape == b.shape
    return float(((a - b).norm() / b.norm()).detach())


def test_the_rows_are_those_of_the_config(reference):
    assert reference.seen.features.shape[1] == reference.settings["num_image_tokens"]
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
    monkeypatch.setattr(blip2.ConceptRows, "penalty", lambda self, form: kept.append(self) or torch.zeros(()))
    reference.losses(reference.embedding(case))
    received = torch.stack(kept[0].probabilities)[..., reference.settings["num_image_tokens"] :]
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
    has = reference.settings["mixed_has_concept"]
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
    assert reference.greedy(reference.embedding(case).detach()) == reference.expected_greedy(case)


def test_greedy_ids_of_a_mixed_batch(reference):
    e = reference.embedding("mixed").detach()
    assert reference.greedy(e, reference.settings["mixed_has_concept"]) == reference.expected_greedy("mixed")


def test_trajectory_of_training(reference):
    """Free-running steps of the optimiser that training uses."""
    settings = find_config("blip-2").training
    assert settings.learning_rate == reference.settings["learning_rate"]
    assert settings.weight_decay == reference.settings["weight_decay"]
    assert settings.clip == reference.settings["grad_clip_l2"]
    e = torch.nn.Parameter(reference.inputs["initial_embedding"].clone())
    optimizer = torch.optim.AdamW([e], lr=settings.learning_rate, weight_decay=settings.weight_decay)
    expected = {k.removeprefix("trajectory."): v for k, v in reference.expected.items() if "trajectory." in k}
    errors = []
    for step in range(reference.settings["steps"]):
        losses = reference.losses(e)
        optimizer.zero_grad()
        losses.total.backward()
        torch.nn.utils.clip_grad_norm_([e], settings.clip)
        optimizer.step()
        found = losses.total, losses.penalty, e.detach()[0]
        names = "loss", "reg", "embedding_after"
        errors.append([relative(v, expected[n][step]) for v, n in zip(found, names, strict=True)])
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
    expected = reference.expected
    errors = relative(found["logits"], expected["initial.logits"]), relative(gradient, expected["initial.grad_ce"])
    print("logits {:.1e}, gradient {:.1e}".format(*errors))
    return errors


def test_rows_appended_behind_the_layer_norm_would_be_noticed(reference, monkeypatch):
    norm, n = reference.model.vision_model.post_layernorm, reference.settings["num_image_tokens"]
    plain = norm.forward
    monkeypatch.setattr(norm, "forward", lambda x: torch.cat([plain(x[:, :n]), x[:, n:]], dim=1))
    logits, gradient = errors_of(reference)
    assert logits > 1e-2
    assert gradient > 1e-1


def test_a_class_token_left_out_of_the_norm_would_be_noticed(reference, monkeypatch):
    def without_class_token(states, image_rows):
        return torch.cat([states[:, :, :1], blip2_rescaled(states[:, :, 1:], image_rows - 1)], dim=2)

    blip2_rescaled = blip2.rescaled
    monkeypatch.setattr(blip2, "rescaled", without_class_token)
    logits, gradient = errors_of(reference)
    assert logits > FEATURES
    assert gradient > GRADIENT


def test_rows_that_keep_their_length_would_be_noticed(reference, monkeypatch):
    monkeypatch.setattr(blip2, "rescaled", lambda states, image_rows: states)
    logits, gradient = errors_of(reference)
    assert logits > 1e-3
    assert gradient > 1e-1


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
