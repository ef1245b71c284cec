"""Our LLaVA-1.6 path against the numbers of the implementation published with the paper."""

import json
import shutil
from dataclasses import replace

import engine.device  # noqa: F401

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlavaNextForConditionalGeneration

from engine.vlms.config import Injection, Training, find_config
from engine.vlms.llava_next import LlavaNext

pytestmark = pytest.mark.parity


class Tokenizer:
    """The ids are given; only padding and the end are needed."""

    def __init__(self, settings):
        self.pad_token_id, self.eos_token_id, self.bos_token_id = settings["pad_token_id"], settings["eos_token_id"], 1

    def batch_decode(self, ids, skip_special_tokens):
        return [" ".join(map(str, i.tolist())) for i in ids]


class Reference:
    def __init__(self, folder, tmp_path):
        shutil.copy(folder / "config.json", tmp_path / "config.json")
        shutil.copy(folder / "weights.safetensors", tmp_path / "model.safetensors")
        self.settings = json.loads((folder / "settings.json").read_text())
        self.inputs, self.expected = (
            load_file(folder / "inputs.safetensors"),
            load_file(folder / "expected.safetensors"),
        )
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
        return LlavaNext(self.model, None, Tokenizer(self.settings), config)

    def losses(self, embedding, vlm=None, has=None):
        vlm = vlm or self.vlm
        has = has or [1] * len(self.ids)
        rows = vlm.inject(self.seen, [embedding if h else embedding[:0] for h in has])
        return vlm.loss(rows, has, self.ids, self.labels)

    def embedding(self, case):
        name = {"initial": "initial_embedding", "trained": "second_embedding", "mixed": "initial_embedding"}[case]
        return self.inputs[name].clone().requires_grad_()

    def greedy(self, embeddings):
        with torch.no_grad():
            rows = self.vlm.inject(self.seen, embeddings)
        out = self.vlm.generate(rows, self.prompts, self.settings["max_new_tokens"])
        return [[int(i) for i in g.text.split()] for g in out]


@pytest.fixture(scope="module")
def reference(shared, tmp_path_factory):
    folder = shared / "parity" / "llava"
    if not folder.is_dir():
        pytest.skip("../shared/parity/llava is not here")
    return Reference(folder, tmp_path_factory.mktemp("llava"))


def relative(a, b):
    return float(((a - b).norm() / b.norm()).detach())


def test_image_features(reference):
    assert relative(reference.seen.features, reference.expected["no_concept.image_features"]) < 1e-5


def test_loss_without_a_concept(reference):
    losses = reference.losses(reference.inputs["initial_embedding"], has=[0] * 4)
    assert relative(losses.cross_entropy, reference.expected["no_concept.ce"]) < 1e-5
    assert losses.penalty == 0


@pytest.mark.parametrize("case", ["initial", "trained"])
def test_rows_loss_and_gradient(reference, case):
    e = reference.embedding(case)
    rows = torch.stack(reference.vlm.inject(reference.seen, [e] * 4))
    assert relative(rows, reference.expected[f"{case}.image_features"]) < 1e-5
    losses = reference.losses(e)
    assert relative(losses.cross_entropy, reference.expected[f"{case}.ce"]) < 1e-5
    assert relative(losses.penalty, reference.expected[f"{case}.reg_reference"]) < 5e-5
    (gradient,) = torch.autograd.grad(losses.total, e)
    assert relative(gradient, reference.expected[f"{case}.grad_total"]) < 1e-4


@pytest.mark.parametrize("case", ["initial", "trained"])
def test_the_papers_penalty_direction(reference, case):
    e = reference.embedding(case)
    losses = reference.losses(e, reference.adapter(penalty="column", penalty_weight=1.0))
    assert relative(losses.penalty, reference.expected[f"{case}.reg_column_mean_unweighted"]) < 5e-5
    (gradient,) = torch.autograd.grad(losses.penalty, e)
    assert relative(gradient, reference.expected[f"{case}.grad_reg_column_mean_unweighted"]) < 1e-4


def test_a_flipped_penalty_would_be_noticed(reference):
    e = reference.embedding("initial")
    row = reference.losses(e, reference.adapter(penalty="row", penalty_weight=1.0)).penalty
    assert relative(row, reference.expected["initial.reg_column_mean_unweighted"]) > 0.1


def test_two_concepts(reference):
    both = torch.cat([reference.inputs["initial_embedding"], reference.inputs["second_embedding"]]).requires_grad_()
    rows = reference.vlm.inject(reference.seen, [both] * 4)
    losses = reference.vlm.loss(rows, [2] * 4, reference.ids, reference.labels)
    assert relative(torch.stack(rows), reference.expected["two_concepts.image_features"]) < 1e-5
    assert relative(losses.cross_entropy, reference.expected["two_concepts.ce"]) < 1e-5


def test_photos_with_and_without_the_concept_in_one_batch(reference):
    has = reference.settings["mixed_has_concept"]
    e = reference.embedding("mixed")
    losses = reference.losses(e, has=has)
    assert relative(losses.cross_entropy, reference.expected["mixed.ce"]) < 1e-5
    (gradient,) = torch.autograd.grad(losses.cross_entropy, e)
    assert relative(gradient, reference.expected["mixed.grad_ce"]) < 1e-4
    found = reference.greedy([reference.inputs["initial_embedding"] if h else torch.zeros(0, 32) for h in has])
    assert found == trimmed(reference.expected["mixed.greedy_ids"], reference)


@pytest.mark.parametrize("case", ["no_concept", "initial", "trained", "two_concepts"])
def test_greedy_ids(reference, case):
    first, second = reference.inputs["initial_embedding"], reference.inputs["second_embedding"]
    e = {"no_concept": first[:0], "initial": first, "trained": second, "two_concepts": torch.cat([first, second])}[case]
    assert reference.greedy([e] * 4) == trimmed(reference.expected[f"{case}.greedy_ids"], reference)


def trimmed(ids, reference):
    """Ids up to the end token; what follows is padding, whose amount depends on the batch."""
    end = reference.settings["eos_token_id"]
    return [i.tolist() if end not in i.tolist() else i.tolist()[: len(i)] for i in ids]


@pytest.mark.parametrize("direction", ["row", "column"])
def test_trajectory_of_training(reference, direction):
    """Twenty free-running steps of the optimiser that training uses."""
    name = "trajectory" if direction == "row" else "trajectory_column"
    key = "regulariser_weight" if direction == "row" else "paper_regulariser_weight"
    vlm = reference.adapter(penalty=direction, penalty_weight=reference.settings[key])
    settings = Training()
    assert settings.learning_rate == reference.settings["learning_rate"]
    assert settings.weight_decay == reference.settings["weight_decay"]
    assert settings.clip == reference.settings["grad_clip_l2"]
    e = torch.nn.Parameter(reference.inputs["initial_embedding"].clone())
    optimizer = torch.optim.AdamW([e], lr=settings.learning_rate, weight_decay=settings.weight_decay)
    for step in range(20):
        losses = reference.losses(e, vlm)
        assert relative(losses.total, reference.expected[f"{name}.loss"][step]) < 1e-3
        optimizer.zero_grad()
        losses.total.backward()
        torch.nn.utils.clip_grad_norm_([e], settings.clip)
        optimizer.step()
        assert relative(e, reference.expected[f"{name}.embedding_after"][step]) < 1e-3


def test_a_weight_changed_by_one_percent_would_be_noticed(reference):
    with torch.no_grad():
        weight = reference.model.model.language_model.layers[0].self_attn.q_proj.weight
        weight.mul_(1.01)
        losses = reference.losses(reference.inputs["initial_embedding"])
        weight.div_(1.01)
    assert relative(losses.cross_entropy, reference.expected["initial.ce"]) > 1e-5


@pytest.mark.parametrize("case", ["initial", "trained"])
def test_attention_maps(reference, case):
    rows = reference.vlm.inject(reference.seen, [reference.embedding(case).detach()] * 4)
    maps = torch.stack(reference.vlm.concept_attention(rows, [1] * 4, reference.ids))
    assert maps.shape == (4, 1, 24, 24)
    concept = reference.settings["concept_position"]
    paid = reference.expected[f"{case}.attention_from_concept"].mean((0, 2))[:, concept - 576 : concept]
    assert relative(maps.reshape(4, 576), paid) < 5e-5


def test_the_variants_have_the_published_weights(reference):
    paper, theirs = find_config("llava-1.6+paper").injection, find_config("llava-1.6+reference").injection
    assert (paper.penalty, paper.penalty_weight) == ("column", reference.settings["paper_regulariser_weight"])
    assert (theirs.penalty, theirs.penalty_weight) == ("row", reference.settings["regulariser_weight"])
