"""Our MiniGPT-v2 path against the numbers of the implementation published with the paper."""

import json
from dataclasses import replace
from types import SimpleNamespace

import engine.device  # noqa: F401

import pytest
import torch
from safetensors.torch import load_file

from engine.vlms.config import Training, find_config
from engine.vlms.minigpt_v2 import IMAGE, MiniGptConfig, MiniGptModel, MiniGptV2

pytestmark = pytest.mark.parity
CONCEPT = 260


class Tokenizer:
    """The ids are given; only padding and the end are needed."""

    def __init__(self, settings):
        self.pad_token_id = settings["output_pad_value"]
        self.eos_token_id, self.bos_token_id = settings["eos_token_id"], settings["bos_token_id"]

    def batch_decode(self, ids, skip_special_tokens):
        return [" ".join(map(str, i.tolist())) for i in ids]


class Reference:
    def __init__(self, folder):
        facts = json.loads((folder / "config.json").read_text())
        self.settings = json.loads((folder / "settings.json").read_text())
        self.inputs = load_file(folder / "inputs.safetensors")
        self.expected = load_file(folder / "expected.safetensors")
        shapes = {k: facts[k] for k in ("vision_config", "text_config")}
        self.model = MiniGptModel(MiniGptConfig(merge=facts["merge_factor"], **shapes))
        self.model.load_state_dict(load_file(folder / "weights.safetensors"))
        assert self.model.vision_model.post_layernorm.eps == facts["post_layernorm_eps"]
        self.vlm = self.adapter()
        self.seen = self.vlm.encode(self.inputs["pixel_values"])
        self.answers = [self.inputs[f"train.answer_ids_{i}"].tolist() for i in range(self.settings["batch_size"])]
        start = self.prompt("train")
        self.ids = [start + a for a in self.answers]
        self.labels = [[-100] * len(start) + a for a in self.answers]

    def prompt(self, name):
        return [*self.inputs[f"{name}.prefix_ids"].tolist(), IMAGE, *self.inputs[f"{name}.suffix_ids"].tolist()]

    def adapter(self, **injection):
        config = find_config("minigpt-v2")
        config = replace(config, injection=replace(config.injection, **injection))
        return MiniGptV2(self.model, None, Tokenizer(self.settings), config)

    def losses(self, embedding, vlm=None, has=None):
        vlm = vlm or self.vlm
        has = has or [1] * len(self.ids)
        rows = vlm.inject(self.seen, [embedding if h else embedding[:0] for h in has])
        return vlm.loss(rows, has, self.ids, self.labels)

    def embedding(self, case):
        name = {"initial": "initial_embedding", "trained": "second_embedding", "mixed": "initial_embedding"}[case]
        return self.inputs[name].clone().requires_grad_()

    def greedy(self, embeddings, prompt="generate_upstream", vlm=None):
        vlm = vlm or self.vlm
        rows = vlm.inject(self.seen, embeddings)
        out = vlm.generate(rows, [self.prompt(prompt)] * len(rows), self.settings["max_new_tokens"])
        found = [[int(i) for i in g.text.split()] for g in out]
        pad = self.settings["output_pad_value"]
        return [f + [pad] * (self.settings["max_new_tokens"] - len(f)) for f in found]


@pytest.fixture(scope="module")
def reference(shared):
    folder = shared / "parity" / "minigpt_v2"
    if not folder.is_dir():
        pytest.skip("../shared/parity/minigpt_v2 is not here")
    return Reference(folder)


def relative(a, b):
    return float(((a - b).norm() / b.norm()).detach())


def test_our_settings_are_the_references(reference):
    config, settings = find_config("minigpt-v2"), reference.settings
    assert config.injection.penalty_weight == settings["regulariser_weight"]
    assert config.training.learning_rate == settings["learning_rate"]
    assert config.training.weight_decay == settings["weight_decay"]
    assert config.training.clip == settings["grad_clip_l2"]
    assert reference.ids[0].index(IMAGE) + settings["num_image_tokens"] == settings["concept_position"] == CONCEPT


def test_image_features(reference):
    model, pixels = reference.model, reference.inputs["pixel_values"]
    vision = model.vision_model
    with torch.no_grad():
        hidden = vision.encoder(inputs_embeds=vision.embeddings(pixels)).last_hidden_state
        merged = vision(pixels).last_hidden_state[:, 1:].reshape(4, 256, -1)
    assert relative(hidden, reference.expected["no_concept.vision_hidden"]) < 1e-5
    assert relative(merged, reference.expected["no_concept.merged_features"]) < 1e-5
    assert relative(reference.seen.features, reference.expected["no_concept.image_features"]) < 1e-5


def test_loss_without_a_concept(reference):
    losses = reference.losses(reference.inputs["initial_embedding"], has=[0] * 4)
    assert relative(losses.cross_entropy, reference.expected["no_concept.ce"]) < 1e-5
    assert losses.penalty == 0


@pytest.mark.parametrize("case", ["initial", "trained"])
def test_rows_logits_loss_and_gradient(reference, case):
    e = reference.embedding(case)
    rows = reference.vlm.inject(reference.seen, [e] * 4)
    assert relative(torch.stack(rows), reference.expected[f"{case}.image_features"]) < 1e-5
    hidden = reference.vlm._run(rows, reference.ids, None)
    valid = reference.inputs["train.attention_mask_257_rows"].bool()
    logits = reference.model.language_model.lm_head(hidden)
    assert relative(logits[valid], reference.expected[f"{case}.logits"][valid]) < 1e-5
    losses = reference.losses(e)
    assert relative(losses.cross_entropy, reference.expected[f"{case}.ce"]) < 1e-5
    assert relative(losses.penalty, reference.expected[f"{case}.reg_reference"]) < 5e-5
    for part, name in (("cross_entropy", "grad_ce"), ("penalty", "grad_reg_reference"), ("total", "grad_total")):
        (gradient,) = torch.autograd.grad(getattr(losses, part), e, retain_graph=True)
        assert relative(gradient, reference.expected[f"{case}.{name}"]) < 2e-4


@pytest.mark.parametrize("case", ["initial", "trained"])
def test_the_papers_penalty_direction(reference, case):
    e = reference.embedding(case)
    losses = reference.losses(e, reference.adapter(penalty="column", penalty_weight=1.0))
    assert relative(losses.penalty, reference.expected[f"{case}.reg_column_mean_unweighted"]) < 5e-5
    (gradient,) = torch.autograd.grad(losses.penalty, e)
    assert relative(gradient, reference.expected[f"{case}.grad_reg_column_mean_unweighted"]) < 2e-4


def test_a_flipped_penalty_would_be_noticed(reference):
    row = reference.losses(reference.embedding("initial")).penalty
    assert relative(row, reference.expected["initial.reg_column_mean_unweighted"]) > 0.1


@pytest.mark.parametrize("case", ["initial", "trained"])
def test_attention_maps(reference, case):
    """Each of the 256 rows covers four raster patches of the 32 × 32 grid."""
    rows = reference.vlm.inject(reference.seen, [reference.embedding(case).detach()] * 4)
    maps = torch.stack(reference.vlm.concept_attention(rows, [1] * 4, reference.ids))
    assert maps.shape == (4, 1, 32, 32)
    paid = reference.expected[f"{case}.attention_from_concept"].mean((0, 2))[:, CONCEPT - 256 : CONCEPT]
    assert relative(maps.reshape(4, 256, 4).sum(-1), paid) < 5e-5


def both(reference):
    return torch.cat([reference.inputs["initial_embedding"], reference.inputs["second_embedding"]]).requires_grad_()


def test_two_concepts_as_in_the_reference(reference):
    """There the first concept's unit row counts in the mean norm, too."""
    vlm, e = reference.adapter(norm="all-but-last"), both(reference)
    rows = vlm.inject(reference.seen, [e] * 4)
    losses = vlm.loss(rows, [2] * 4, reference.ids, reference.labels)
    assert relative(torch.stack(rows), reference.expected["two_concepts.image_features"]) < 1e-5
    assert relative(losses.cross_entropy, reference.expected["two_concepts.ce"]) < 1e-5
    (gradient,) = torch.autograd.grad(losses.cross_entropy, e)
    assert relative(gradient, reference.expected["two_concepts.grad_ce"]) < 2e-4


def test_two_concepts_with_our_norm_differ_by_that_row_only(reference):
    rows = torch.stack(reference.vlm.inject(reference.seen, [both(reference).detach()] * 4))
    expected = reference.expected["two_concepts.image_features"]
    assert torch.equal(rows[:, :256], reference.seen.features)
    ratio = rows[:, 256:].norm(dim=-1) / expected[:, 256:].norm(dim=-1)
    norms = reference.seen.norms[:, None]
    assert torch.allclose(ratio, (257 * norms / (256 * norms + 1)).expand(4, 2), atol=1e-5)
    assert relative(rows, expected) < 1 / 257


def test_photos_with_and_without_the_concept_in_one_batch(reference):
    has = reference.settings["mixed_has_concept"]
    e = reference.embedding("mixed")
    losses = reference.losses(e, has=has)
    assert relative(losses.cross_entropy, reference.expected["mixed.ce"]) < 1e-5
    (gradient,) = torch.autograd.grad(losses.cross_entropy, e)
    assert relative(gradient, reference.expected["mixed.grad_ce"]) < 2e-4
    found = reference.greedy([e.detach() if h else torch.zeros(0, 32) for h in has])
    assert found == reference.expected["mixed.greedy_ids"].tolist()


@pytest.mark.parametrize("prompt", ["", "_reference_prompt", "_refer_prompt"])
@pytest.mark.parametrize("case", ["no_concept", "initial", "trained", "two_concepts"])
def test_greedy_ids(reference, case, prompt):
    first, second = reference.inputs["initial_embedding"], reference.inputs["second_embedding"]
    e = {"no_concept": first[:0], "initial": first, "trained": second, "two_concepts": torch.cat([first, second])}[case]
    name = {"": "generate_upstream", "_reference_prompt": "generate_reference", "_refer_prompt": "generate_refer"}
    found = reference.greedy([e] * 4, name[prompt], reference.adapter(norm="all-but-last"))
    assert found == reference.expected[f"{case}.greedy_ids{prompt}"].tolist()


@pytest.mark.parametrize("direction", ["row", "column"])
def test_trajectory_of_training(reference, direction):
    """Twenty free-running steps of the optimiser that training uses."""
    name = "trajectory" if direction == "row" else "trajectory_column"
    key = "regulariser_weight" if direction == "row" else "column_trajectory_weight"
    vlm = reference.adapter(penalty=direction, penalty_weight=reference.settings[key])
    settings = Training()
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
        weight = reference.model.language_model.model.layers[0].self_attn.q_proj.weight
        weight.mul_(1.01)
        losses = reference.losses(reference.inputs["initial_embedding"])
        weight.div_(1.01)
    assert relative(losses.cross_entropy, reference.expected["initial.ce"]) > 1e-5


class WordTokenizer(Tokenizer):
    """The table of the settings: a text is cut at its words, a tag is three ids."""

    def __init__(self, settings):
        super().__init__(settings)
        self.table = settings["token_table"]

    def __call__(self, text, add_special_tokens):
        assert not add_special_tokens
        spaced = text.replace("<s>", " <s> ").replace("Img>[", "Img> [").replace("sks:", "sks :")
        ids = []
        for word in spaced.split():
            ids += [self.table[word + c] for c in "abc"] if word.endswith("Img>") else [self.table[word]]
        return SimpleNamespace(input_ids=ids)


def test_ids_of_the_published_prompts(reference):
    strings = reference.settings["strings"]
    model, tokenizer = reference.model, WordTokenizer(reference.settings)
    ours = MiniGptV2(model, None, tokenizer, find_config("minigpt-v2"))
    theirs = MiniGptV2(model, None, tokenizer, find_config("minigpt-v2+reference"))
    request = theirs.config.request("caption_of", ("sks",))
    assert ours.prompt(request) == strings["generate_upstream.prompt"]
    assert theirs.prompt(request) == strings["generate_reference.prompt"]
    assert ours.encode_prompt(request) == reference.prompt("generate_upstream")
    assert theirs.encode_prompt(request) == reference.prompt("generate_reference")
    assert theirs.encode_prompt(theirs.config.request("refer", ("sks",))) == reference.prompt("generate_refer")
    for i, answer in enumerate(strings["answers"]):
        assert theirs.encode_example(request, answer) == (reference.ids[i], reference.labels[i])
