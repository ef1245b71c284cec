from dataclasses import replace

import engine.core.device  # noqa: F401

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Blip2ForConditionalGeneration, Blip2Processor

from engine.core.boxes import Box
from engine.core.errors import ArtefactError, UsageError
from engine.training.optimiser import EmbeddingTrainer, TrainingExample
from engine.vlms.blip2 import Blip2
from engine.vlms.config import Injection, Training
from engine.vlms.find import find_config
from engine.vlms.qformer_attention import rescale_concepts
from engine.vlms.registry import find_weights, load_vlm
from tests.tiny_blip2 import SIDE, WIDTH, save_opt_config, save_tiny_blip2

ROWS, GRID = 17, 4
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_blip2(tmp_path_factory.mktemp("tiny-blip2"))


@pytest.fixture(scope="module")
def vlm(folder):
    return load_vlm(find_config(str(folder)), CPU, torch.float32)


def images(n=3):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (40 + 9 * i, 90, 3), dtype=np.uint8)) for i in range(n)]


def embeddings(*counts):
    return [torch.rand(k, WIDTH, generator=torch.Generator().manual_seed(k)) for k in counts]


def rows_of(vlm, *counts):
    return vlm.inject(vlm.encode(vlm.preprocess(images(len(counts)))), embeddings(*counts))


def answered(vlm, *answers, request=""):
    ids, labels = zip(*(vlm.encode_example(request, a) for a in answers), strict=True)
    return list(ids), list(labels)


def test_the_hub_layout_loads_by_its_folder(folder, vlm):
    config = find_config(str(folder))
    assert (config.name, config.backend) == (folder.name, "blip-2")
    assert find_weights(config) == folder
    assert vlm.width == WIDTH
    assert vlm.image_edge == SIDE
    assert vlm.preprocess(images()).shape == (3, 3, SIDE, SIDE)
    seen = vlm.encode(vlm.preprocess(images()))
    assert seen.features.shape == (3, ROWS, WIDTH)
    assert seen.norms.tolist() == [1.0] * 3


def test_the_whole_photo_is_seen(vlm):
    image = Image.new("RGB", (4000, 3))
    assert vlm.view(image) == Box(0, 0, 4000, 3)
    assert vlm.preprocess([image]).shape == (1, 3, SIDE, SIDE)


def test_the_prompt_is_empty_for_captions_and_a_question_otherwise(vlm):
    end = vlm.tokenizer.eos_token_id
    assert [vlm.encode_prompt(vlm.config.request(k, ("sks",))) for k in ("caption", "caption_of")] == [[end], [end]]
    assert vlm.prompt("What color is sks?") == "Question: What color is sks? Answer:"
    ids, labels = vlm.encode_example("What color is sks?", "a red ball")
    assert ids == vlm.encode_prompt("What color is sks?")
    assert vlm.tokenizer.decode(labels) == "a red ball</s>"


@pytest.mark.parametrize("request_", ["", "What color is the dog?"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_no_concept_is_exactly_the_plain_model(folder, dtype, request_):
    """Logits and ids as transformers' own forward and generate give them for a batch of photos."""
    vlm = load_vlm(find_config(str(folder)), CPU, dtype)
    plain = Blip2ForConditionalGeneration.from_pretrained(folder, dtype=dtype).eval()
    inputs = Blip2Processor(vlm.image_processor, vlm.tokenizer, num_query_tokens=8)(
        images=images(), text=[vlm.prompt(request_)] * 3, return_tensors="pt"
    ).to(dtype)
    theirs = plain.generate(**inputs, max_new_tokens=12, do_sample=False, num_beams=1)
    rows, ids = rows_of(vlm, 0, 0, 0), [vlm.encode_prompt(request_)] * 3
    texts = [t.strip() for t in vlm.tokenizer.batch_decode(theirs, skip_special_tokens=True)]
    assert [g.text for g in vlm.generate(rows, ids, 12)] == texts
    _, labels = answered(vlm, *["a red dog."] * 3)
    with torch.no_grad():
        logits = plain(**inputs, labels=torch.tensor(labels)).logits.float()
        ours = vlm.loss(rows, [0] * 3, ids, labels)
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor(labels).flatten())
    assert torch.equal(ours.cross_entropy, expected)
    assert ours.penalty == 0


def test_photos_with_different_numbers_of_concepts_equal_one_at_a_time(vlm):
    rows = rows_of(vlm, 0, 1, 3)
    prompts = [vlm.encode_prompt(r) for r in ("", "What color is sks?", "What?")]
    together = vlm.generate(rows, prompts, 12)
    assert together == [vlm.generate([r], [p], 12)[0] for r, p in zip(rows, prompts, strict=True)]
    assert all(g.capped == (len(vlm.tokenizer(g.text).input_ids) > 1) for g in together)
    _, labels = answered(vlm, *["a red dog."] * 3)
    whole = vlm.loss(rows, [0, 1, 3], prompts, labels)
    parts = [vlm.loss([rows[i]], [k], [prompts[i]], [labels[i]]) for i, k in enumerate((0, 1, 3))]
    assert float(whole.cross_entropy) == pytest.approx(np.mean([float(p.cross_entropy) for p in parts]), rel=1e-5)
    assert float(whole.penalty) == pytest.approx(np.mean([float(p.penalty) for p in parts[1:]]), rel=1e-5)
    assert parts[0].penalty == 0


@pytest.mark.parametrize("layers", [1, 3])
def test_a_decoder_may_be_as_deep_as_it_likes(tmp_path, layers):
    """`generate` says what a decoder without a cache says, though the encoder has 2 layers."""
    vlm = load_vlm(find_config(str(save_tiny_blip2(tmp_path / "deep", decoder_layers=layers))), CPU, torch.float32)
    rows, ids = rows_of(vlm, 1), [vlm.encode_prompt("What color is sks?")]
    embeds, mask = vlm._encoder_inputs(rows, ids, vlm._concept_rows(rows))
    plain = vlm.model.language_model.generate(
        inputs_embeds=embeds, attention_mask=mask, use_cache=False, max_new_tokens=12, do_sample=False
    )
    assert vlm.generate(rows, ids, 12) == vlm.decode(plain)


def test_a_concept_changes_what_is_seen(vlm):
    _, labels = answered(vlm, "a red dog.")
    losses = [vlm.loss(rows_of(vlm, k), [k], [[1]], labels).cross_entropy for k in (0, 1, 2)]
    assert len({round(float(v), 4) for v in losses}) == 3


def test_an_embedding_of_another_width_is_refused(vlm):
    with pytest.raises(ArtefactError, match="width 8"):
        vlm.inject(vlm.encode(vlm.preprocess(images(1))), [torch.zeros(1, 8)])


def test_concepts_take_the_mean_length_of_the_image(vlm):
    states = torch.randn(2, 3, 7, 5)
    found = rescale_concepts(states, 4)
    norms = found.transpose(1, 2).flatten(2).norm(dim=-1)
    assert torch.equal(found[:, :, :4], states[:, :, :4])
    assert torch.allclose(norms[:, 4:], norms[:, :4].mean(1, keepdim=True).expand(-1, 3))
    assert torch.isfinite(rescale_concepts(torch.zeros(1, 3, 7, 5), 4)).all()


def test_the_weight_of_the_penalty_can_be_given(vlm):
    rows, (ids, labels) = rows_of(vlm, 1, 1), answered(vlm, "a red dog.", "the cat")
    usual, doubled = (vlm.loss(rows, [1, 1], ids, labels, w).penalty for w in (None, 0.08))
    assert usual > 0
    assert float(doubled) == pytest.approx(2 * float(usual))


@pytest.mark.parametrize(("form", "times"), [("none", 0), ("column-sum", 4 * 8)])
def test_the_other_penalties(vlm, form, times):
    other = Blip2(
        vlm.model,
        vlm.image_processor,
        vlm.tokenizer,
        replace(vlm.config, injection=Injection(norm="unit", penalty=form, penalty_weight=0.04)),
    )
    rows, (ids, labels) = rows_of(vlm, 1), answered(vlm, "a red dog.")
    mean = vlm.loss(rows, [1], ids, labels).penalty
    assert float(other.loss(rows, [1], ids, labels).penalty) == pytest.approx(times * float(mean))


def test_a_penalty_that_blip2_does_not_have_is_refused(vlm):
    config = replace(vlm.config, injection=Injection(penalty="row"))
    with pytest.raises(UsageError, match="cannot penalise 'row'"):
        Blip2(vlm.model, None, None, config)


def test_the_papers_variant_and_its_steps():
    config = find_config("blip-2+paper")
    assert (config.injection.penalty, config.injection.penalty_weight) == ("column-sum", 0.04)
    assert (config.training.steps, config.training.person_steps) == (75, 100)


def test_concept_attention_is_a_map_for_each_concept(vlm):
    rows = rows_of(vlm, 0, 1, 3)
    maps = vlm.concept_attention(rows, [0, 1, 3], [[1]] * 3)
    assert [m.shape for m in maps] == [(k, GRID, GRID) for k in (0, 1, 3)]
    assert all(m.dtype == torch.float32 and (m >= 0).all() for m in maps)
    assert maps[1].std() > 0
    alone = vlm.concept_attention(rows[2:], [3], [[1]])[0]
    assert torch.allclose(alone, maps[2], rtol=1e-4)
    assert vlm.concept_attention(rows[:1], [0], [[1]])[0].shape == (0, GRID, GRID)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_training_learns_and_leaves_the_model_frozen(folder, dtype):
    vlm = load_vlm(find_config(str(folder)), CPU, dtype)
    before = {n: p.clone() for n, p in vlm.model.named_parameters()}
    words = ("red", "blue", "green")
    examples = [TrainingExample(i, (f"sks is {w}.", f"here sks is {w}.")) for i, w in zip(images(), words, strict=True)]
    trainer = EmbeddingTrainer(vlm, examples, "", Training(steps=30, learning_rate=0.05), seed=0)
    steps = list(trainer.run())
    assert trainer.embedding.dtype == torch.float32
    assert np.mean([s.cross_entropy for s in steps[-5:]]) < steps[0].cross_entropy
    assert all(s.penalty > 0 for s in steps)
    assert trainer.result().norm() == pytest.approx(1.0, abs=1e-5)
    assert all(torch.equal(p, before[n]) and not p.requires_grad for n, p in vlm.model.named_parameters())


def test_an_opt_is_refused_before_its_weights_are_read(tmp_path):
    folder = save_opt_config(tmp_path / "opt")
    with pytest.raises(UsageError, match="'opt'; only T5"):
        load_vlm(find_config(str(folder)), CPU, torch.float32)
