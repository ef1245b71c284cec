import engine.device  # noqa: F401

import numpy as np
import pytest
import torch
from PIL import Image

from engine.errors import ArtefactError, EnvironmentFault, UsageError, WeightsMissingError
from engine.training.trainer import EmbeddingTrainer, Example
from engine.vlms.config import Training, find_config
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
        Example(i, (f"sks is {w}.", f"Here, sks is {w}."))
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


def test_what_is_not_there_says_how_to_get_it():
    config = find_config("llava-1.6")
    if find_weights(config):
        pytest.skip("LLaVA-1.6 is on this disk")
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
