from dataclasses import replace

import engine.core.device  # noqa: F401

import numpy as np
import pytest
import torch
from PIL import Image

from engine.core.boxes import Box
from engine.core.errors import ArtefactError, EnvironmentFault, UsageError, WeightsMissingError
from engine.training.optimiser import EmbeddingTrainer, TrainingExample
from engine.vlms.config import Training
from engine.vlms.find import find_config
from engine.vlms.llava_next import LlavaNext
from engine.vlms.registry import find_weights, load_vlm, revision_of
from tests.tiny_llava import save_tiny_llava


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_llava(tmp_path_factory.mktemp("tiny-llava"))


@pytest.fixture(scope="module")
def vlm(folder):
    return load_vlm(find_config(str(folder)), torch.device("cpu"), torch.float32)


def images(n=3):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (40 + 9 * i, 90, 3), dtype=np.uint8)) for i in range(n)]


def test_the_hub_layout_loads_by_its_folder(folder, vlm):
    config = find_config(str(folder))
    assert config.name == folder.name
    assert find_weights(config) == folder
    assert vlm.width == 32
    assert vlm.preprocess(images()).shape == (3, 3, 56, 56)
    assert vlm.encode(vlm.preprocess(images())).features.shape == (3, 16, 32)


def test_the_base_tile_is_clips_preprocessing(vlm):
    """Shortest edge resized, centre crop, CLIP's mean and deviation: checked against plain Pillow."""
    image = images()[0]
    size = tuple(56 * v // min(image.size) for v in image.size)
    resized = image.resize(size, Image.Resampling.BICUBIC)
    left = (size[0] - 56) // 2
    pixels = np.asarray(resized.crop((left, 0, left + 56, 56)), np.float32) / 255
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    ours = vlm.preprocess([image])[0].permute(1, 2, 0).numpy()
    assert np.abs(ours - (pixels - mean) / std).max() < 1e-4


def test_the_prompt_follows_the_checkpoints_chat_template(vlm):
    assert vlm.prompt("What is this?") == "USER: <image>\nWhat is this? ASSISTANT:"
    ids, labels = vlm.encode_example("What is this?", "a dog.")
    prompt = vlm.encode_prompt("What is this?")
    assert ids[: len(prompt)] == prompt
    assert labels[: len(prompt)] == [-100] * len(prompt)
    assert labels[len(prompt) :] == ids[len(prompt) :]
    assert ids[-1] == vlm.tokenizer.eos_token_id
    assert ids.count(vlm.model.config.image_token_id) == 1


def test_the_named_config_has_the_published_prompt(shared):
    import json

    case = json.loads((shared / "parity" / "fixtures" / "llava_prompt.json").read_text())["cases"][0]
    template = find_config("llava-1.6").template
    assert template.format(request=case["question"]) == case["generation_prompt"]


def test_photos_with_different_numbers_of_concepts_equal_one_at_a_time(vlm):
    seen = vlm.encode(vlm.preprocess(images()))
    embeddings = [torch.rand(k, 32, generator=torch.Generator().manual_seed(k)) for k in (0, 1, 3)]
    rows = vlm.inject(seen, embeddings)
    prompts = [
        vlm.encode_prompt(r) for r in ("Please caption this image.", "Please caption this image of sks.", "What?")
    ]
    together = vlm.generate(rows, prompts, 12)
    alone = [vlm.generate([r], [p], 12)[0] for r, p in zip(rows, prompts, strict=True)]
    assert together == alone


def test_no_concept_is_the_plain_model(vlm):
    """Our path without rows gives the ids that transformers' own generate gives from the same features."""
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    seen = vlm.encode(vlm.preprocess(images(1)))
    ids = vlm.encode_prompt("Please caption this image.")
    at = ids.index(vlm.model.config.image_token_id)
    expanded = torch.tensor([ids[:at] + [ids[at]] * 16 + ids[at + 1 :]])
    theirs = vlm.model.generate(
        input_ids=expanded,
        attention_mask=torch.ones_like(expanded),
        mm_encoder_outputs={"image": BaseModelOutputWithPooling(pooler_output=[seen.features[0]])},
        max_new_tokens=12,
        do_sample=False,
        pad_token_id=0,
    )[0, expanded.shape[1] :]
    rows = vlm.inject(seen, [torch.zeros(0, 32)])
    assert vlm.generate(rows, [ids], 12)[0].text == vlm.tokenizer.decode(theirs, skip_special_tokens=True).strip()


def test_an_embedding_of_another_width_is_refused(vlm):
    seen = vlm.encode(vlm.preprocess(images(1)))
    with pytest.raises(ArtefactError, match="width 8"):
        vlm.inject(seen, [torch.zeros(1, 8)])


def trainer(vlm, seed=0, steps=6):
    examples = [
        TrainingExample(i, (f"sks is {w}.", f"Here, sks is {w}."))
        for i, w in zip(images(), ("red", "blue", "green"), strict=True)
    ]
    settings = Training(steps=steps, learning_rate=0.05)
    return EmbeddingTrainer(vlm, examples, "Please caption this image of sks.", settings, seed)


def run(t, steps=None):
    losses = []
    for step in t.run():
        losses.append(step.cross_entropy)
        if steps and len(losses) == steps:
            break
    return losses


def test_training_is_deterministic_by_seed_and_learns(vlm):
    first, second, other = trainer(vlm, steps=30), trainer(vlm, steps=30), trainer(vlm, seed=1, steps=30)
    losses = run(first)
    assert run(second) == losses
    assert torch.equal(first.result(), second.result())
    assert run(other) != losses
    assert np.mean(losses[-5:]) < losses[0]
    assert first.result().norm() == pytest.approx(1.0, abs=1e-5)


def test_an_interrupted_training_ends_at_the_same_embedding(vlm):
    whole = trainer(vlm)
    run(whole)
    half = trainer(vlm)
    run(half, steps=3)
    resumed = trainer(vlm)
    resumed.restore({k: v.clone() for k, v in half.state().items()})
    run(resumed)
    assert resumed.step == 6
    assert torch.equal(whole.result(), resumed.result())


def test_the_frozen_model_stays_frozen(vlm):
    before = {n: p.clone() for n, p in vlm.model.named_parameters()}
    run(trainer(vlm), steps=2)
    assert all(torch.equal(p, before[n]) for n, p in vlm.model.named_parameters())
    assert not any(p.requires_grad for p in vlm.model.parameters())


def test_what_is_not_there_says_how_to_get_it(empty_hub):
    config = find_config("llava-1.6")
    with pytest.raises(WeightsMissingError) as err:
        load_vlm(config, torch.device("cpu"), torch.float32)
    assert "myvlm models pull llava-1.6" in err.value.hint
    with pytest.raises(UsageError, match="no VLM called"):
        find_config("no-such-vlm")


def test_a_damaged_checkpoint_is_an_environment_error(folder, tmp_path):
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(EnvironmentFault, match="cannot be loaded"):
        load_vlm(find_config(str(broken)), torch.device("cpu"), torch.float32)


def test_other_weights_have_another_revision(folder, tmp_path):
    other = save_tiny_llava(tmp_path / "other", seed=1)
    configs = [find_config(str(f)) for f in (folder, other)]
    assert revision_of(configs[0], folder) != revision_of(configs[1], other)


def test_maps_of_attention(vlm):
    rows = vlm.inject(vlm.encode(vlm.preprocess(images())), embeddings(0, 1, 3))
    prompts = [vlm.encode_prompt(r) for r in ("What is this?", "Please caption this image of sks.", "What?")]
    maps = vlm.concept_attention(rows, [0, 1, 3], prompts)
    assert [m.shape for m in maps] == [(0, 4, 4), (1, 4, 4), (3, 4, 4)]
    for m, r, p, k in zip(maps, rows, prompts, (0, 1, 3), strict=True):
        assert m.dtype == torch.float32
        assert (m >= 0).all()
        assert (m.sum((1, 2)) <= 1).all()
        assert torch.allclose(vlm.concept_attention([r], [k], [p])[0], m, atol=1e-6)


def embeddings(*counts):
    return [torch.rand(k, 32, generator=torch.Generator().manual_seed(k)) for k in counts]


# Where paper and reference differ


def variant(folder, name):
    return load_vlm(find_config(f"{folder}+{name}"), torch.device("cpu"), torch.float32)


def test_variants_are_the_papers_and_the_references():
    paper, reference = find_config("llava-1.6+paper"), find_config("llava-1.6+reference")
    assert (paper.injection.norm, paper.injection.penalty, paper.injection.penalty_weight) == ("cls", "column", 0.25)
    assert (reference.injection.penalty, reference.injection.penalty_weight) == ("row", 0.0075)
    assert (reference.injection.vqa_penalty_weight, reference.injection.end_token) == (10.0, False)
    assert find_config("llava-1.6+paper+anyres").anyres


@pytest.mark.parametrize("norm", ["first-patch", "cls", "mean"])
def test_whose_norm_a_row_takes(vlm, norm):
    pixels = vlm.preprocess(images())
    config = replace(vlm.config, injection=replace(vlm.config.injection, norm=norm))
    seen = LlavaNext(vlm.model, vlm.image_processor, vlm.tokenizer, config).encode(pixels)
    states = vlm.model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-2]
    projected = vlm.model.model.multi_modal_projector(states[:, 1:])
    expected = {"first-patch": projected[:, 0], "cls": states[:, 0], "mean": projected}[norm].norm(dim=-1)
    expected = expected.mean(1) if norm == "mean" else expected
    assert torch.allclose(seen.norms, expected, rtol=1e-5)
    (row,) = vlm.inject(seen, embeddings(1, 0, 0))[0][16:]
    assert row.norm().item() == pytest.approx(expected[0].item(), rel=1e-5)


def test_the_reference_does_not_learn_the_end(folder, vlm):
    ids, labels = vlm.encode_example("What is this?", "a dog.")
    theirs = variant(folder, "reference").encode_example("What is this?", "a dog.")
    assert theirs == (ids[:-1], labels[:-1])


def test_the_weight_of_the_penalty_can_be_given(vlm):
    rows = vlm.inject(vlm.encode(vlm.preprocess(images(1))), embeddings(1))
    ids, labels = vlm.encode_example("What is this?", "a dog.")
    own, other, none = (vlm.loss(rows, [1], [ids], [labels], penalty_weight=w) for w in (None, 10.0, 0.0))
    assert other.penalty.item() == pytest.approx(own.penalty.item() * 10.0 / vlm.config.injection.penalty_weight)
    assert none.penalty == 0
    assert torch.equal(own.cross_entropy, other.cross_entropy)


@pytest.mark.parametrize("injection", [{"norm": "unit"}, {"penalty": "column-sum"}])
def test_what_a_decoder_cannot_do_is_refused(vlm, injection):
    config = replace(vlm.config, injection=replace(vlm.config.injection, **injection))
    with pytest.raises(UsageError, match="has no"):
        LlavaNext(vlm.model, None, vlm.tokenizer, config)


# All tiles


@pytest.fixture(scope="module")
def anyres(folder):
    return variant(folder, "anyres")


def test_anyres_without_a_concept_is_transformers_own_answer(anyres, folder):
    from transformers import LlavaNextProcessor

    sizes = [(90, 40), (40, 90), (57, 57), (30, 28)]
    rng = np.random.default_rng(1)
    photos = [Image.fromarray(rng.integers(0, 255, (h, w, 3), dtype=np.uint8)) for w, h in sizes]
    seen = anyres.encode(anyres.preprocess(photos))
    assert len({len(f) for f in seen.features}) > 1
    rows = anyres.inject(seen, embeddings(0, 0, 0, 0))
    ids = anyres.encode_prompt("What is this?")
    together = [g.text for g in anyres.generate(rows, [ids] * 4, 12)]
    processor = LlavaNextProcessor.from_pretrained(folder, backend="pil")
    for photo, row, ours in zip(photos, rows, together, strict=True):
        given = processor(images=photo, text="<s>" + anyres.prompt("What is this?"), return_tensors="pt")
        assert int((given["input_ids"] == anyres.model.config.image_token_id).sum()) == len(row)
        given.pop("token_type_ids", None)
        out = anyres.model.generate(**given, max_new_tokens=12, do_sample=False, pad_token_id=0)
        theirs = out[0, given["input_ids"].shape[1] :]
        assert ours == anyres.tokenizer.decode(theirs, skip_special_tokens=True).strip()


def test_anyres_sees_the_sides_of_a_wide_photo(anyres, vlm):
    plain = Image.new("RGB", (120, 40), "gray")
    marked = plain.copy()
    marked.paste("red", (0, 0, 12, 40))
    for model, differs in ((vlm, False), (anyres, True)):
        a, b = (model.encode(model.preprocess([i])).features[0] for i in (plain, marked))
        assert torch.equal(a, b) != differs
    assert anyres.view(plain) == Box(0, 0, 120, 40)
    assert vlm.view(plain) == Box(40, 0, 80, 40)


def test_anyres_with_concepts(anyres):
    photos = images()
    seen = anyres.encode(anyres.preprocess(photos))
    rows = anyres.inject(seen, embeddings(0, 1, 3))
    prompts = [anyres.encode_prompt(r) for r in ("What is this?", "Please caption this image of sks.", "What?")]
    together = anyres.generate(rows, prompts, 12)
    assert together == [anyres.generate([r], [p], 12)[0] for r, p in zip(rows, prompts, strict=True)]
    maps = anyres.concept_attention(rows, [0, 1, 3], prompts)
    assert [m.shape for m in maps] == [(0, 4, 4), (1, 4, 4), (3, 4, 4)]
    part = seen.select([2, 0])
    assert [len(f) for f in part.features] == [len(seen.features[2]), len(seen.features[0])]
    assert torch.equal(part.norms, seen.norms[[2, 0]])
    assert len(run(trainer(anyres, steps=2))) == 2


def test_anyres_takes_a_photo_of_any_shape(anyres):
    photos = [Image.new("RGB", size, "red") for size in ((1, 3000), (3000, 1), (1, 1))]
    seen = anyres.encode(anyres.preprocess(photos))
    assert all(len(f) >= 16 for f in seen.features)
