"""Our MiniGPT-v2 path against the numbers of the implementation published with the paper."""

import re
from dataclasses import replace
from math import isqrt
from types import SimpleNamespace

import engine.core.device  # noqa: F401

import pytest
import torch
from safetensors.torch import load_file

from engine.vlms.find import find_config
from engine.vlms.minigpt_v2 import IMAGE, MiniGptConfig, MiniGptModel, MiniGptV2
from tests.parity.reference_numbers import (
    CASES,
    FEATURES,
    GRADIENT,
    PENALTY,
    IdTokenizer,
    Reference,
    check_sensitivity,
    check_training,
    check_trajectory,
    relative,
)

pytestmark = pytest.mark.parity
TRAJECTORY = 1e-3


def special_ids(settings):
    return {"pad": settings["output_pad_value"], "eos": settings["eos_token_id"], "bos": settings["bos_token_id"]}


class MiniGpt(Reference):
    def __init__(self, folder):
        super().__init__(folder)
        self.merge = self.config["merge_factor"]
        shapes = {k: self.config[k] for k in ("vision_config", "text_config")}
        self.model = MiniGptModel(MiniGptConfig(merge=self.merge, **shapes))
        self.model.load_state_dict(load_file(folder / "weights.safetensors"))
        assert self.model.vision_model.post_layernorm.eps == self.config["post_layernorm_eps"]
        self.vlm = self.adapter()
        self.seen = self.vlm.encode(self.inputs["pixel_values"])
        answers = [self.inputs[f"train.answer_ids_{i}"].tolist() for i in range(self.batch)]
        start = self.prompt("train")
        self.ids = [start + a for a in answers]
        self.labels = [[-100] * len(start) + a for a in answers]
        self.prompts = self.prompts_of("generate_upstream")

    def prompt(self, name):
        return [*self.inputs[f"{name}.prefix_ids"].tolist(), IMAGE, *self.inputs[f"{name}.suffix_ids"].tolist()]

    def prompts_of(self, name):
        return [self.prompt(name)] * self.batch

    def adapter(self, **injection):
        config = find_config("minigpt-v2")
        injection = {"penalty_weight": self.settings["regulariser_weight"], **injection}
        config = replace(config, injection=replace(config.injection, **injection))
        return MiniGptV2(self.model, None, IdTokenizer(**special_ids(self.settings)), config)


@pytest.fixture(scope="module")
def reference(parity):
    return MiniGpt(parity("minigpt_v2"))


def test_our_settings_are_the_references(reference):
    config, settings = find_config("minigpt-v2"), reference.settings
    assert config.injection.penalty_weight == settings["regulariser_weight"]
    check_training(settings, config.training)
    assert reference.ids[0].index(IMAGE) + reference.image_rows == settings["concept_position"]
    assert reference.vlm.width == settings["injection_width"]


def test_image_features(reference):
    vision, pixels = reference.model.vision_model, reference.inputs["pixel_values"]
    with torch.no_grad():
        hidden = vision.encoder(inputs_embeds=vision.embeddings(pixels)).last_hidden_state
        merged = vision(pixels).last_hidden_state[:, 1:].reshape(reference.batch, reference.image_rows, -1)
    assert reference.error(hidden, "no_concept.vision_hidden") < FEATURES
    assert reference.error(merged, "no_concept.merged_features") < FEATURES
    assert reference.error(reference.seen.features, "no_concept.image_features") < FEATURES


def test_loss_without_a_concept(reference):
    losses = reference.losses(reference.embedding("no_concept"))
    assert reference.error(losses.cross_entropy, "no_concept.ce") < FEATURES
    assert losses.penalty == 0


@pytest.mark.parametrize("case", ["initial", "trained"])
def test_rows_logits_loss_and_gradient(reference, case):
    e = reference.embedding(case)
    rows = reference.rows(e)
    assert reference.error(rows, f"{case}.image_features") < FEATURES
    hidden = reference.vlm._run(list(rows), reference.ids, None)
    valid = reference.inputs[f"train.attention_mask_{reference.image_rows + 1}_rows"].bool()
    logits = reference.model.language_model.lm_head(hidden)
    assert relative(logits[valid], reference.expected[f"{case}.logits"][valid]) < FEATURES
    losses = reference.losses(e)
    assert reference.error(losses.cross_entropy, f"{case}.ce") < FEATURES
    assert reference.error(losses.penalty, f"{case}.reg_reference") < PENALTY
    for part, name in (("cross_entropy", "grad_ce"), ("penalty", "grad_reg_reference"), ("total", "grad_total")):
        (gradient,) = torch.autograd.grad(getattr(losses, part), e, retain_graph=True)
        assert reference.error(gradient, f"{case}.{name}") < GRADIENT


@pytest.mark.parametrize("case", ["initial", "trained"])
def test_the_papers_penalty_direction(reference, case):
    e = reference.embedding(case)
    losses = reference.losses(e, reference.adapter(penalty="column", penalty_weight=1.0))
    assert reference.error(losses.penalty, f"{case}.reg_column_mean_unweighted") < PENALTY
    (gradient,) = torch.autograd.grad(losses.penalty, e)
    assert reference.error(gradient, f"{case}.grad_reg_column_mean_unweighted") < GRADIENT


def test_a_flipped_penalty_would_be_noticed(reference):
    row = reference.losses(reference.embedding("initial"), reference.adapter(penalty="row", penalty_weight=1.0)).penalty
    assert reference.error(row, "initial.reg_column_mean_unweighted") > 100 * PENALTY


@pytest.mark.parametrize("case", ["initial", "trained"])
def test_attention_maps(reference, case):
    """Each row covers as many patches, one after another in the raster, as are merged."""
    n, batch, rows = reference.image_rows, reference.batch, list(reference.rows(reference.embedding(case).detach()))
    maps = torch.stack(reference.vlm.concept_attention(rows, [1] * batch, reference.ids))
    assert maps.shape == (batch, 1, isqrt(n * reference.merge), isqrt(n * reference.merge))
    concept = reference.settings["concept_position"]
    paid = reference.expected[f"{case}.attention_from_concept"].mean((0, 2))[:, concept - n : concept]
    assert relative(maps.reshape(batch, n, reference.merge).sum(-1), paid) < PENALTY


def test_two_concepts_as_in_the_reference(reference):
    """There the first concept's unit row counts in the mean norm, too."""
    vlm, e = reference.adapter(norm="all-but-last"), reference.embedding("two_concepts")
    losses = reference.losses(e, vlm)
    assert reference.error(reference.rows(e, vlm), "two_concepts.image_features") < FEATURES
    assert reference.error(losses.cross_entropy, "two_concepts.ce") < FEATURES
    (gradient,) = torch.autograd.grad(losses.cross_entropy, e)
    assert reference.error(gradient, "two_concepts.grad_ce") < GRADIENT


def test_two_concepts_with_our_norm_differ_by_that_row_only(reference):
    n, rows = reference.image_rows, reference.rows(reference.embedding("two_concepts").detach())
    expected = reference.expected["two_concepts.image_features"]
    assert torch.equal(rows[:, :n], reference.seen.features)
    ratio = rows[:, n:].norm(dim=-1) / expected[:, n:].norm(dim=-1)
    norms = reference.seen.norms[:, None]
    assert torch.allclose(ratio, ((n + 1) * norms / (n * norms + 1)).expand_as(ratio), atol=FEATURES)
    assert relative(rows[:, n:] / ratio[..., None], expected[:, n:]) < FEATURES


def test_photos_with_and_without_the_concept_in_one_batch(reference):
    e = reference.embedding("mixed")
    losses = reference.losses(e, has=reference.mixed)
    assert reference.error(losses.cross_entropy, "mixed.ce") < FEATURES
    (gradient,) = torch.autograd.grad(losses.cross_entropy, e)
    assert reference.error(gradient, "mixed.grad_ce") < GRADIENT
    assert reference.greedy(e, has=reference.mixed) == reference.expected_greedy("mixed.greedy_ids")


PROMPTS = {"": "generate_upstream", "_reference_prompt": "generate_reference", "_refer_prompt": "generate_refer"}


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("case", CASES)
def test_greedy_ids(reference, case, prompt):
    vlm, prompts = reference.adapter(norm="all-but-last"), reference.prompts_of(PROMPTS[prompt])
    found = reference.greedy(reference.embedding(case), prompts=prompts, vlm=vlm)
    assert found == reference.expected_greedy(f"{case}.greedy_ids{prompt}")


@pytest.mark.parametrize("direction", ["row", "column"])
def test_trajectory_of_training(reference, direction):
    name = "trajectory" if direction == "row" else "trajectory_column"
    key = "regulariser_weight" if direction == "row" else "column_trajectory_weight"
    vlm = reference.adapter(penalty=direction, penalty_weight=reference.settings[key])
    check_trajectory(reference, vlm, name, TRAJECTORY)


def test_a_weight_changed_by_one_percent_would_be_noticed(reference):
    check_sensitivity(reference, reference.model.language_model.model.layers[0].self_attn.q_proj.weight)


class TableTokenizer(IdTokenizer):
    """The table of the settings: pieces of a text by their ids, a tag (`<Img>a`, `b`, `c` in the table) by three."""

    def __init__(self, settings):
        super().__init__(**special_ids(settings))
        self.table = settings["token_table"]
        self.tags = {k[:-1] for k in self.table if k.endswith(">a")}
        pieces = sorted(self.tags | self.table.keys(), key=len, reverse=True)
        self.pattern = re.compile("|".join(map(re.escape, pieces)))

    def __call__(self, text, add_special_tokens):
        assert not add_special_tokens
        pieces = self.pattern.findall(text)
        assert "".join(pieces) == text.replace(" ", ""), text
        keys = [k for p in pieces for k in ([p + c for c in "abc"] if p in self.tags else [p])]
        return SimpleNamespace(input_ids=[self.table[k] for k in keys])


def test_ids_of_the_published_prompts(reference):
    strings = reference.settings["strings"]
    model, tokenizer = reference.model, TableTokenizer(reference.settings)
    ours = MiniGptV2(model, None, tokenizer, find_config("minigpt-v2"))
    theirs = MiniGptV2(model, None, tokenizer, find_config("minigpt-v2+reference"))
    names = (strings["identifier"],)
    request = theirs.config.request("caption_of", names)
    assert ours.prompt(request) == strings["generate_upstream.prompt"]
    assert theirs.prompt(request) == strings["generate_reference.prompt"]
    assert theirs.config.training_template.format(request=request) == strings["train.instruction"]
    assert ours.encode_prompt(request) == reference.prompt("generate_upstream")
    assert theirs.encode_prompt(request) == reference.prompt("generate_reference")
    assert theirs.encode_prompt(theirs.config.request("refer", names)) == reference.prompt("generate_refer")
    for i, answer in enumerate(strings["answers"]):
        assert theirs.encode_example(request, answer) == (reference.ids[i], reference.labels[i])
