"""What --vlm may name: a name, a hub id, a folder of any chat family; what is no VLM is refused with what to do."""

import json
from importlib import resources

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from engine.core.errors import EnvironmentFault, UsageError
from engine.vlms.config import chat_families, list_configs
from engine.vlms.find import family_of, find_config, guess_family

SUPPORTED = [f for f in chat_families()["supported"] if f != "llava"]  # which has an adapter of its own


def checkpoint(folder, *, weights=True, **facts):
    """A folder with a config.json of these facts, and a few weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(facts))
    if weights:
        tensors = {
            "model.embed_tokens.weight": np.zeros((100, 8), np.float16),
            "model.layers.0.up.weight": np.zeros((30, 20), np.float16),
            "lm_head.weight": np.zeros((100, 8), np.float16),
        }
        save_file(tensors, folder / "model.safetensors")
    return folder


def test_every_config_of_the_registry_is_complete():
    chat = [c for c in list_configs() if c.backend == "chat"]
    assert len(chat) >= 16
    for config in chat:
        assert config.name and config.license and config.disk_gb > 0
        assert config.size is not None and 0 < config.size.linear < config.size.parameters
        assert config.naming is not None and config.chat is not None
        assert config.injection.norm == "text"
        assert ("refer" in config.requests) == (config.chat.boxes != "none")
        assert (
            config.request("caption_of", ("Rex", "Anna"))
            == "Describe this photo of Rex and Anna in one or two sentences."
        )
        assert config.family in chat_families()["supported"]
        assert config.sources
        assert find_config(config.name) == find_config(config.repo_id) == config


def test_a_request_for_a_box_is_valid_json_with_the_name():
    request = find_config("qwen3-vl-4b").request("refer", ("Rex",))
    assert request.endswith('[{"bbox_2d": [x1, y1, x2, y2], "label": "Rex"}].')
    assert '"box_2d": [y1, x1, y2, x2]' in find_config("gemma-4-e2b").request("refer", ("Rex",))


def test_the_thinking_of_qwen35_is_off():
    assert find_config("qwen3.5-4b").chat.template_kwargs == {"enable_thinking": False}


def test_configs_are_small():
    """What the chat configs share is in one place."""
    folder = resources.files("engine.vlms").joinpath("configs")
    for config in list_configs():
        if config.backend == "chat":
            text = folder.joinpath(f"{config.name}.json").read_text("utf-8")
            assert len(text.splitlines()) <= 20
            assert "requests" not in json.loads(text)


@pytest.mark.parametrize("family", SUPPORTED)
def test_a_folder_of_a_family(tmp_path, family):
    folder = checkpoint(tmp_path / "mine", model_type=family)
    config = find_config(str(folder))
    assert (config.name, config.backend, config.family) == ("mine", "chat", family)
    assert config.repo_id == str(folder)
    assert config.license == "see the model's own card"
    known = chat_families()["supported"][family]
    assert config.chat.boxes == known["boxes"]
    assert config.chat.template_kwargs == known.get("template_kwargs", {})
    assert family_of(family).backend == "chat"


def test_the_size_of_a_folder_is_counted(tmp_path):
    text = {"num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64}
    folder = checkpoint(tmp_path / "mine", model_type="qwen3_vl", text_config=text)
    size = find_config(str(folder)).size
    assert size.parameters == pytest.approx(2200e-9)
    assert size.linear == pytest.approx(600e-9)
    assert size.cache_kb == pytest.approx(4 * 2 * 64 * 2 * 2 / 1e3)
    assert size.quantised_gb is None


def test_layers_without_keys_and_values_are_not_counted(tmp_path):
    kinds = ["linear_attention", "linear_attention", "conv", "full_attention"]
    text = {"num_hidden_layers": 4, "num_attention_heads": 8, "hidden_size": 512, "layer_types": kinds}
    folder = checkpoint(tmp_path / "mine", model_type="qwen3_5", text_config=text)
    assert find_config(str(folder)).size.cache_kb == pytest.approx(1 * 8 * 64 * 2 * 2 / 1e3)


@pytest.mark.parametrize("method", ["awq", "gptq", "compressed-tensors", "bitsandbytes"])
def test_a_folder_that_is_quantised_already_needs_what_it_holds(tmp_path, method):
    folder = checkpoint(tmp_path / "q", model_type="qwen3_vl", quantization_config={"quant_method": method})
    stored = (folder / "model.safetensors").stat().st_size / 1e9
    assert find_config(str(folder)).size.quantised_gb == pytest.approx(stored)


def test_llava_folders_keep_their_own_adapter(tmp_path):
    for model_type in ("llava", "llava_next"):
        config = find_config(str(checkpoint(tmp_path / model_type, model_type=model_type)))
        assert config.backend == "llava-next"


def test_another_family_that_transformers_knows_gets_the_defaults(tmp_path):
    config = find_config(str(checkpoint(tmp_path / "aya", model_type="aya_vision")))
    assert (config.backend, config.chat.boxes, config.family) == ("chat", "none", "aya_vision")
    assert find_config(str(checkpoint(tmp_path / "moe", model_type="qwen3_vl_moe"))).chat.boxes == "xyxy-1000"


@pytest.mark.parametrize(
    ("model_type", "told"),
    [(t, reason) for t, reason in chat_families()["refused"].items()]
    + [
        ("qwen3", "'qwen3' is a text model, not a VLM"),
        ("gemma3_text", "'gemma3_text' is a text model, not a VLM"),
        ("vit", "models of type 'vit' are not known as VLMs"),
        ("no-such-type", "models of type 'no-such-type' are not known as VLMs"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name_with_the_reason(myvlm, tmp_path, model_type, told):
    folder = checkpoint(tmp_path / "mine", model_type=model_type)
    with pytest.raises(EnvironmentFault) as caught:
        find_config(str(folder))
    assert told in str(caught.value)
    assert "mine cannot be used" in str(caught.value)
    assert "myvlm models" in caught.value.hint
    assert family_of(model_type) is None


@pytest.mark.parametrize(
    ("files", "told", "hint"),
    [
        ({}, "not the folder of a VLM: it has no config.json", "config.json, *.safetensors"),
        ({"config.json": ""}, "cannot be read", "fetch or copy them again"),
        ({"config.json": "{"}, "cannot be read", "fetch or copy them again"),
        ({"config.json": "[1]"}, "is no description of a model", "fetch or copy them again"),
        ({"config.json": "{}"}, "does not say which kind of model", "fetch or copy them again"),
        ({"config.json": '{"model_type": "qwen3_vl"}', "myvlm.json": "{"}, "myvlm.json cannot be read", "README"),
        (
            {"config.json": '{"model_type": "qwen3_vl"}', "myvlm.json": '{"a": 1}'},
            "myvlm.json cannot be read",
            "README",
        ),
        ({"model.gguf": "GGUF"}, "is a GGUF model", "--vlm openai:URL#MODEL"),
    ],
)
def test_a_damaged_folder_exits_with_3_and_says_what_to_do(myvlm, tmp_path, files, told, hint):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    result = myvlm("caption", tmp_path, "--vlm", folder)
    assert result.code == 3
    assert told in result.err
    assert hint in result.err


def test_a_folder_that_does_not_fit_exits_with_3_and_says_what_would(myvlm, tmp_path):
    folder = checkpoint(tmp_path / "huge", weights=False, model_type="qwen3_vl")
    tensor = {"dtype": "BF16", "shape": [4_000_000, 1_000_000], "data_offsets": [0, 0]}
    header = json.dumps({"model.layers.0.up.weight": tensor}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    Image.new("RGB", (64, 64), "red").save(folder.parent / "photo.png")
    result = myvlm("caption", folder.parent / "photo.png", "--vlm", folder)
    assert result.code == 3
    assert "huge does not fit: it needs" in result.err
    assert "What can help" in result.err
    assert "smolvlm2" in result.err or "lfm2-vl" in result.err or "qwen3" in result.err


def test_a_file_is_no_folder_of_a_vlm(tmp_path):
    for name, told in (("model.gguf", "is a GGUF model"), ("model.safetensors", "is a file, not the folder")):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(EnvironmentFault, match=told):
            find_config(str(tmp_path / name))


def test_a_folder_that_does_not_exist_is_a_wrong_name(tmp_path):
    with pytest.raises(UsageError, match="no VLM called"):
        find_config(str(tmp_path / "nothing"))


def test_a_damaged_weight_file_leaves_the_size_unknown(tmp_path):
    folder = checkpoint(tmp_path / "mine", model_type="qwen3_vl")
    data = (folder / "model.safetensors").read_bytes()
    for cut in (0, 4, 20):
        (folder / "model.safetensors").write_bytes(data[:cut])
        assert find_config(str(folder)).size is None


@pytest.mark.parametrize(
    ("repo", "family"),
    [
        ("Qwen/Qwen3-VL-32B-Instruct", "qwen3_vl"),
        ("Qwen/Qwen3.5-9B", "qwen3_5"),
        ("Qwen/Qwen2.5-VL-7B-Instruct", "qwen2_5_vl"),
        ("HuggingFaceTB/SmolVLM2-256M-Video-Instruct", "smolvlm"),
        ("google/gemma-3-12b-it", "gemma3"),
        ("google/gemma-4-31B-it", "gemma4"),
        ("OpenGVLab/InternVL3_5-14B-HF", "internvl"),
        ("LiquidAI/LFM2-VL-3B", "lfm2_vl"),
        ("llava-hf/llava-onevision-qwen2-7b-ov-hf", "llava_onevision"),
        ("llava-hf/llava-1.5-7b-hf", "llava"),
        ("llava-hf/llava-v1.6-mistral-7b-hf", "llava_next"),
        ("Salesforce/blip2-flan-t5-xxl", "blip-2"),
        ("mistralai/Mistral-Small-3.2-24B-Instruct-2506", "mistral3"),
        ("allenai/Molmo2-8B", "molmo2"),
        ("someone/else", ""),
    ],
)
def test_the_family_of_a_repository_that_is_not_on_this_disk_is_guessed(empty_hub, repo, family):
    assert guess_family(repo) == family
    config = find_config(repo)
    assert config.backend == {"blip-2": "blip-2", "llava": "llava-next", "llava_next": "llava-next"}.get(family, "chat")
    assert config.size is None
