"""Our LLaVA-1.6 path against the numbers of the implementation published with the paper."""

import shutil
from dataclasses import replace
from math import isqrt

import engine.core.device  # noqa: F401

import pytest
import torch
from transformers import LlavaNextForConditionalGeneration

from engine.vlms.config import Injection, Training
from engine.vlms.find import find_config
from engine.vlms.llava_next import LlavaNext
from tests.parity.reference_numbers import (
    CASES,
    FEATURES,
    PENALTY,
    IdTokenizer,
    Reference,
    check_sensitivity,
    check_training,
    check_trajectory,
    relative,
)

pytestmark = pytest.mark.parity
GRADIENT, TRAJECTORY = 1e-4, 1e-3


class Llava(Reference):
    def __init__(self, folder, tmp_path):
        super().__init__(folder)
        shutil.copy(folder / "config.json", tmp_path / "config.json")
        shutil.copy(folder / "weights.safetensors", tmp_path / "model.safetensors")
        self.model = LlavaNextForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32)
        self.vlm = self.adapter()
        self.seen = self.vlm.encode(self.inputs["pixel_values"])
        mask = self.inputs["attention_mask"].bool()
        self.ids = [i[m].tolist() for i, m in zip(self.inputs["input_ids"], mask, strict=True)]
        self.labels = [i[m].tolist() for i, m in zip(self.inputs["labels"], mask, strict=True)]
        self.prompts = [p.tolist() for p in self.inputs["prompt_ids"]]

    def adapter(self, **injection):
        weight = injection.pop("penalty_weight", self.settings["regulariser_weight"])
        config = replace(find_config("llava-1.6"), injection=Injection(penalty_weight=weight, **injection))
        special = {k: self.settings[f"{k}_token_id"] for k in ("pad", "eos")}
        return LlavaNext(
            self.model, None, IdTokenizer(**special, bos=self.config["text_config"]["bos_token_id"]), config
        )


@pytest.fixture(scope="module")
def reference(parity, tmp_path_factory):
    return Llava(parity("llava"), tmp_path_factory.mktemp("llava"))


def test_our_settings_are_the_references(reference):
    check_training(reference.settings, Training())
    assert reference.vlm.width == reference.settings["injection_width"]


def test_image_features(reference):
    assert reference.error(reference.seen.features, "no_concept.image_features") < FEATURES


def test_loss_without_a_concept(reference):
    losses = reference.losses(reference.embedding("no_concept"))
    assert reference.error(losses.cross_entropy, "no_concept.ce") < FEATURES
    assert losses.penalty == 0


@pytest.mark.parametrize("case", ["initial", "trained"])
def test_rows_loss_and_gradient(reference, case):
    e = reference.embedding(case)
    assert reference.error(reference.rows(e), f"{case}.image_features") < FEATURES
    losses = reference.losses(e)
    assert reference.error(losses.cross_entropy, f"{case}.ce") < FEATURES
    assert reference.error(losses.penalty, f"{case}.reg_reference") < PENALTY
    (gradient,) = torch.autograd.grad(losses.total, e)
    assert reference.error(gradient, f"{case}.grad_total") < GRADIENT


@pytest.mark.parametrize("case", ["initial", "trained"])
def test_the_papers_penalty_direction(reference, case):
    e = reference.embedding(case)
    losses = reference.losses(e, reference.adapter(penalty="column", penalty_weight=1.0))
    assert reference.error(losses.penalty, f"{case}.reg_column_mean_unweighted") < PENALTY
    (gradient,) = torch.autograd.grad(losses.penalty, e)
    assert reference.error(gradient, f"{case}.grad_reg_column_mean_unweighted") < GRADIENT


def test_a_flipped_penalty_would_be_noticed(reference):
    e = reference.embedding("initial")
    row = reference.losses(e, reference.adapter(penalty="row", penalty_weight=1.0)).penalty
    assert reference.error(row, "initial.reg_column_mean_unweighted") > 100 * PENALTY


def test_two_concepts(reference):
    both = reference.embedding("two_concepts")
    assert reference.error(reference.rows(both), "two_concepts.image_features") < FEATURES
    assert reference.error(reference.losses(both).cross_entropy, "two_concepts.ce") < FEATURES


def test_photos_with_and_without_the_concept_in_one_batch(reference):
    e = reference.embedding("mixed")
    losses = reference.losses(e, has=reference.mixed)
    assert reference.error(losses.cross_entropy, "mixed.ce") < FEATURES
    (gradient,) = torch.autograd.grad(losses.cross_entropy, e)
    assert reference.error(gradient, "mixed.grad_ce") < GRADIENT
    assert reference.greedy(e, has=reference.mixed) == reference.expected_greedy("mixed.greedy_ids")


@pytest.mark.parametrize("case", CASES)
def test_greedy_ids(reference, case):
    assert reference.greedy(reference.embedding(case)) == reference.expected_greedy(f"{case}.greedy_ids")


@pytest.mark.parametrize("direction", ["row", "column"])
def test_trajectory_of_training(reference, direction):
    name = "trajectory" if direction == "row" else "trajectory_column"
    key = "regulariser_weight" if direction == "row" else "paper_regulariser_weight"
    vlm = reference.adapter(penalty=direction, penalty_weight=reference.settings[key])
    check_trajectory(reference, vlm, name, TRAJECTORY)


def test_a_weight_changed_by_one_percent_would_be_noticed(reference):
    check_sensitivity(reference, reference.model.model.language_model.layers[0].self_attn.q_proj.weight)


@pytest.mark.parametrize("case", ["initial", "trained"])
def test_attention_maps(reference, case):
    n, rows = reference.image_rows, list(reference.rows(reference.embedding(case).detach()))
    maps = torch.stack(reference.vlm.concept_attention(rows, [1] * reference.batch, reference.ids))
    assert maps.shape == (reference.batch, 1, isqrt(n), isqrt(n))
    concept = reference.settings["concept_position"]
    paid = reference.expected[f"{case}.attention_from_concept"].mean((0, 2))[:, concept - n : concept]
    assert relative(maps.reshape(reference.batch, n), paid) < PENALTY


def test_the_variants_have_the_published_weights(reference):
    paper, theirs = find_config("llava-1.6+paper").injection, find_config("llava-1.6+reference").injection
    assert (paper.penalty, paper.penalty_weight) == ("column", reference.settings["paper_regulariser_weight"])
    assert (theirs.penalty, theirs.penalty_weight) == ("row", reference.settings["regulariser_weight"])
