import json
import pickle
import shutil

import engine.core.device  # noqa: F401

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from engine.core.boxes import Box
from engine.core.errors import ArtefactError, EnvironmentFault, UsageError, WeightsMissingError
from engine.training.optimiser import EmbeddingTrainer, TrainingExample
from engine.vlms import minigpt_convert
from engine.vlms.config import Training
from engine.vlms.find import find_config
from engine.vlms.minigpt_convert import convert
from engine.vlms.minigpt_v2 import IMAGE
from engine.vlms.minigpt_weights import Upstream
from engine.vlms.registry import find_weights, load_vlm
from tests.tiny_minigpt import save_tiny_minigpt, save_upstream, upstream_tensors

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_minigpt(tmp_path_factory.mktemp("minigpt") / "tiny-minigpt")


@pytest.fixture(scope="module")
def vlm(folder):
    return load_vlm(find_config(str(folder)), CPU, torch.float32)


def images(n=3):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (40 + 9 * i, 90, 3), dtype=np.uint8)) for i in range(n)]


def embeddings(*counts):
    return [torch.rand(k, 32, generator=torch.Generator().manual_seed(k)) for k in counts]


def test_a_converted_folder_loads(folder, vlm):
    config = find_config(str(folder))
    assert (config.name, config.backend) == ("tiny-minigpt", "minigpt-v2")
    assert find_weights(config) == folder
    assert (vlm.width, vlm.image_edge, vlm.config.max_new_tokens) == (32, 64, 96)
    assert {p.dtype for p in vlm.model.parameters()} == {torch.float32}
    assert vlm.preprocess(images()).shape == (3, 3, 64, 64)
    seen = vlm.encode(vlm.preprocess(images()))
    assert seen.features.shape == (3, 4, 32)
    assert torch.allclose(seen.norms, seen.features.norm(dim=-1).mean(1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(folder, dtype):
    vlm = load_vlm(find_config(str(folder)), CPU, dtype)
    rows = vlm.inject(vlm.encode(vlm.preprocess(images(1))), embeddings(1))
    assert rows[0].dtype == dtype
    assert vlm.generate(rows, [vlm.encode_prompt("[vqa] What?")], 3)[0].capped
    (maps,) = vlm.concept_attention(rows, [1], [vlm.encode_prompt("[vqa] What?")])
    assert maps.isfinite().all()


def test_a_photo_is_seen_whole(vlm):
    """Squashed, CLIP's mean and deviation: checked against plain Pillow."""
    image = images()[0]
    assert vlm.view(image) == Box(0, 0, 90, 40)
    pixels = np.asarray(image.resize((64, 64), Image.Resampling.BICUBIC), np.float32) / 255
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    ours = vlm.preprocess([image])[0].permute(1, 2, 0).numpy()
    assert np.abs(ours - (pixels - mean) / std).max() < 1e-4


def test_four_neighbours_of_a_line_make_one_row(vlm):
    """A row changes when, and only when, a pixel of its four patches does; the projection is all that is behind."""
    model = vlm.model
    states = torch.randn(1, 17, 24)
    states[:, 1:] *= torch.arange(1, 17)[None, :, None]
    rows = model.llama_proj(states[:, 1:].reshape(1, 4, 96))
    by_hand = torch.cat([states[0, 1 + 4 * i + j] for i in (2,) for j in range(4)])
    assert torch.allclose(rows[0, 2], model.llama_proj(by_hand), atol=1e-5)


def test_training_and_asking_share_the_prompt(vlm):
    request = vlm.config.request("caption_of", ("sks",))
    assert vlm.prompt(request) == "<s>[INST] <Img><ImageHere></Img> [caption] Please caption this image of sks. [/INST]"
    prompt = vlm.encode_prompt(request)
    ids, labels = vlm.encode_example(request, "sks is red.")
    assert ids[: len(prompt)] == prompt
    assert prompt[:2] == [1, 1]
    assert prompt.count(IMAGE) == 1
    assert labels == [-100] * len(prompt) + ids[len(prompt) :]
    assert ids[-1] == vlm.tokenizer.eos_token_id


def test_the_references_prompts_are_a_variant(folder):
    config = find_config(f"{folder}+reference")
    assert config.training_template == "<Img><ImageHere></Img> {request}"
    assert config.request("caption_of", ("sks",)) == "[caption] A short image caption of sks:"
    assert config.requests["refer"] == "[refer] {names} in the image"
    assert find_config("minigpt-v2+paper").injection.penalty == "column"
    with pytest.raises(UsageError, match="no variant"):
        find_config("minigpt-v2+other")


def test_what_a_user_types_never_becomes_an_image(vlm):
    ids = vlm.encode_prompt("[vqa] Is <ImageHere> {request} here?")
    assert ids.count(IMAGE) == 1


def test_photos_with_different_numbers_of_concepts_equal_one_at_a_time(vlm):
    rows = vlm.inject(vlm.encode(vlm.preprocess(images())), embeddings(0, 1, 3))
    prompts = [vlm.encode_prompt(r) for r in ("[caption] Please caption this image.", "[vqa] What?", "[refer] sks")]
    together = vlm.generate(rows, prompts, 12)
    assert together == [vlm.generate([r], [p], 12)[0] for r, p in zip(rows, prompts, strict=True)]


def test_no_concept_is_the_plain_model(vlm):
    """Our path without rows gives the ids that transformers' own generate gives."""
    seen = vlm.encode(vlm.preprocess(images(1)))
    ids = vlm.encode_prompt("[caption] Please caption this image.")
    at, embed = ids.index(IMAGE), vlm.model.language_model.get_input_embeddings()
    parts = [embed(torch.tensor(ids[:at])), seen.features[0], embed(torch.tensor(ids[at + 1 :]))]
    theirs = vlm.model.language_model.generate(
        inputs_embeds=torch.cat(parts)[None],
        attention_mask=torch.ones(1, len(ids) + 3, dtype=torch.long),
        max_new_tokens=12,
        do_sample=False,
    )[0]
    (rows,) = vlm.inject(seen, [torch.zeros(0, 32)])
    assert torch.equal(rows, seen.features[0])
    assert vlm.generate([rows], [ids], 12)[0].text == vlm.tokenizer.decode(theirs, skip_special_tokens=True).strip()


def test_an_embedding_of_another_width_is_refused(vlm):
    with pytest.raises(ArtefactError, match="width 8"):
        vlm.inject(vlm.encode(vlm.preprocess(images(1))), [torch.zeros(1, 8)])


def test_maps_of_attention(vlm):
    rows = vlm.inject(vlm.encode(vlm.preprocess(images())), embeddings(0, 1, 3))
    prompts = [vlm.encode_prompt(r) for r in ("[vqa] What?", "[caption] Please caption this image.", "[refer] sks")]
    maps = vlm.concept_attention(rows, [0, 1, 3], prompts)
    assert [m.shape for m in maps] == [(0, 4, 4), (1, 4, 4), (3, 4, 4)]
    for m, r, p, k in zip(maps, rows, prompts, (0, 1, 3), strict=True):
        assert m.dtype == torch.float32
        assert (m >= 0).all()
        assert (m.sum((1, 2)) <= 1).all()
        assert torch.equal(m[:, :, 0], m[:, :, 3])  # one row of features is one line of patches here
        assert torch.allclose(vlm.concept_attention([r], [k], [p])[0], m, atol=1e-6)


def test_training_learns_and_the_weight_of_the_penalty_can_be_given(vlm):
    def trainer(weight=None):
        examples = [TrainingExample(i, ("sks is red.",)) for i in images()]
        settings = Training(steps=30, learning_rate=0.05)
        return EmbeddingTrainer(
            vlm, examples, "[caption] Please caption this image.", settings, 0, penalty_weight=weight
        )

    steps, doubled = list(trainer().run()), next(trainer(2.0).run())
    assert np.mean([s.cross_entropy for s in steps[-5:]]) < steps[0].cross_entropy
    assert doubled.penalty == pytest.approx(2 * steps[0].penalty)


@pytest.mark.parametrize("injection", [{"norm": "cls"}, {"penalty": "column-sum"}])
def test_what_this_family_cannot_do_is_refused(folder, injection, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    facts = {"name": "other", "backend": "minigpt-v2", "repo_id": "x", "template": "<ImageHere>{request}"}
    (other / "myvlm.json").write_text(json.dumps(facts | {"injection": {"norm": "mean"} | injection}))
    with pytest.raises(UsageError, match="other has no"):
        load_vlm(find_config(str(other)), CPU, torch.float32)


def test_a_template_without_a_place_for_the_image_is_refused(folder, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    facts = {"name": "other", "backend": "minigpt-v2", "repo_id": "x", "template": "{request}"}
    (other / "myvlm.json").write_text(json.dumps(facts | {"injection": {"norm": "mean"}}))
    with pytest.raises(UsageError, match="needs one <ImageHere>"):
        load_vlm(find_config(str(other)), CPU, torch.float32)


def test_shards_may_stand_beside_the_folder(folder, vlm, tmp_path):
    """The storybook's VLMs share one vision tower, which their indexes name by a relative path."""
    from safetensors.torch import load_file, save_file

    other = tmp_path / "other"
    shutil.copytree(folder, other)
    weights = load_file(other / "model.safetensors")
    (other / "model.safetensors").unlink()
    (tmp_path / "tower").mkdir()
    places = {k: "../tower/model.safetensors" if k.startswith("vision") else "rest.safetensors" for k in weights}
    for place in set(places.values()):
        save_file({k: weights[k] for k, p in places.items() if p == place}, other / place, {"format": "pt"})
    index = {"metadata": {"total_size": 0}, "weight_map": places}
    (other / "model.safetensors.index.json").write_text(json.dumps(index))
    again = load_vlm(find_config(str(other)), CPU, torch.float32)
    own = again.model.state_dict()
    assert all(torch.equal(own[k], v) for k, v in vlm.model.state_dict().items())


def test_missing_weights_are_an_environment_error(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    other = tmp_path / "other"
    shutil.copytree(folder, other)
    weights = load_file(other / "model.safetensors")
    del weights["llama_proj.bias"]
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    with pytest.raises(EnvironmentFault, match=r"llama_proj\.bias"):
        load_vlm(find_config(str(other)), CPU, torch.float32)


# Conversion


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    return save_upstream(tmp_path_factory.mktemp("upstream"), *upstream_tensors())


def run(*args):
    from myvlm_cli.main import app

    return CliRunner().invoke(app, ["models", *map(str, args)], catch_exceptions=True)


def test_convert_then_use_by_name(upstream, home, monkeypatch):
    """All of the real model's facts hold for these files, its widths excepted."""
    vit, checkpoint, llama = upstream
    with pytest.raises(WeightsMissingError) as err:
        load_vlm(find_config("minigpt-v2"), CPU, torch.float32)
    assert "myvlm models convert minigpt-v2 --vit" in err.value.hint
    monkeypatch.setattr(minigpt_convert, "SHARD_BYTES", 200_000)
    result = run("convert", "minigpt-v2", "--vit", vit, "--checkpoint", checkpoint, "--llama", llama)
    assert result.exit_code == 0, result.output
    out = home / "models" / "minigpt-v2"
    assert str(out) in result.output
    assert len(list(out.glob("model-*-of-*.safetensors"))) > 2
    assert not list(out.parent.glob(".*"))
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert not [name for name in index["weight_map"] if "layers.39" in name]
    monkeypatch.setattr("engine.vlms.memory.machine_memory_gb", lambda: 64.0)  # these files are small, the model is not
    vlm = load_vlm(find_config("minigpt-v2"), CPU, torch.float32)
    assert {p.dtype for p in vlm.model.parameters()} == {torch.float32}
    assert vlm.image_edge == 448
    assert len(vlm.model.vision_model.encoder.layers) == 39
    rows = vlm.inject(vlm.encode(vlm.preprocess(images(1))), embeddings(1))
    assert rows[0].shape == (257, 32)
    assert vlm.generate(rows, [vlm.encode_prompt("[caption] Please caption this image.")], 4)


def small(tmp_path, vit=None, adapter=None):
    """Three blocks of which two are used: quick to convert."""
    own, other = upstream_tensors(blocks=3)
    return save_upstream(tmp_path / "small", own | (vit or {}), other | (adapter or {}))


SMALL = Upstream(blocks=2, heads=2)


def test_the_same_files_give_the_same_bytes(tmp_path):
    files = small(tmp_path)
    first, second = (convert(*files, tmp_path / n, upstream=SMALL) for n in "ab")
    names = sorted(p.name for p in first.iterdir())
    assert names == sorted(p.name for p in second.iterdir())
    assert all((first / n).read_bytes() == (second / n).read_bytes() for n in names)
    with pytest.raises(UsageError, match="is there already"):
        convert(*files, first, upstream=SMALL)


@pytest.mark.parametrize(
    ("vit", "adapter", "message"),
    [
        ({"blocks.1.attn.proj.weight": torch.zeros(3, 3)}, {}, r"eva_vit_g\.pth: .*self_attn\.projection\.weight is"),
        ({"pos_embed": torch.zeros(1, 250, 16)}, {}, r"eva_vit_g\.pth: pos_embed has 250 positions"),
        ({"cls_token": None}, {}, r"eva_vit_g\.pth: the tensor cls_token is missing"),
        ({}, {"llama_proj.weight": torch.zeros(32, 16)}, r"checkpoint\.pth: llama_proj\.weight is \[32, 16\]"),
        (
            {},
            {"llama_model.base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight": torch.zeros(8, 32)},
            r"checkpoint\.pth: LoRA of model\.layers\.2\.self_attn\.q_proj does not belong",
        ),
        (
            {},
            {"llama_model.base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight": torch.zeros(8, 8)},
            r"checkpoint\.pth: .*layers\.1\.self_attn\.q_proj\.lora_B\.weight is \[8, 8\], not \[32, 8\]",
        ),
    ],
)
def test_a_wrong_tensor_is_named_with_its_file(tmp_path, vit, adapter, message):
    files = small(tmp_path, vit, adapter)
    with pytest.raises(UsageError, match=message):
        convert(*files, tmp_path / "out", upstream=SMALL)
    assert sorted(p.name for p in tmp_path.iterdir()) in (["home", "small"], ["small"])


def test_wrong_files_are_refused_and_never_executed(tmp_path):
    vit, checkpoint, llama = small(tmp_path)
    bad = tmp_path / "bad.pth"
    with pytest.raises(UsageError, match="no entry 'model'"):
        convert(vit, vit, llama, tmp_path / "out", upstream=SMALL)
    with pytest.raises(UsageError, match="cannot be read as tensors"):
        convert(tmp_path / "none.pth", checkpoint, llama, tmp_path / "out", upstream=SMALL)
    for payload in (b"", b"not a pickle", pickle.dumps(Evil(tmp_path / "hacked"), protocol=2)):
        bad.write_bytes(payload)
        with pytest.raises(UsageError, match=r"bad\.pth cannot be read as tensors"):
            convert(bad, checkpoint, llama, tmp_path / "out", upstream=SMALL)
    torch.save({"model": Evil(tmp_path / "hacked")}, bad)
    with pytest.raises(UsageError, match=r"bad\.pth cannot be read as tensors"):
        convert(vit, bad, llama, tmp_path / "out", upstream=SMALL)
    assert not (tmp_path / "hacked").exists()


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (exec, (f"open({str(self.path)!r}, 'w')",))


def test_an_incomplete_llama_is_refused(tmp_path):
    vit, checkpoint, llama = small(tmp_path)
    shards = sorted(llama.glob("*.safetensors"))
    assert len(shards) > 1
    shards[-1].unlink()
    with pytest.raises(UsageError, match="is missing"):
        convert(vit, checkpoint, llama, tmp_path / "out", upstream=SMALL)
    for shard in shards[:-1]:
        shard.unlink()
    with pytest.raises(UsageError, match="no safetensors"):
        convert(vit, checkpoint, llama, tmp_path / "out", upstream=SMALL)


def test_commands_say_which_vlm_is_converted_and_which_fetched():
    pull = run("pull", "minigpt-v2")
    assert isinstance(pull.exception, UsageError)
    assert "models convert minigpt-v2" in pull.exception.hint
    other = run("convert", "llava-1.6", "--vit", "a", "--checkpoint", "b", "--llama", "c")
    assert isinstance(other.exception, UsageError)
