"""What is said of folders that the chat backend cannot load."""

import json
import shutil

import engine.core.device  # noqa: F401

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from engine.core.errors import EnvironmentFault
from engine.vlms.chat import loading
from engine.vlms.registry import load_vlm
from tests.vlms.chat.tiny import FAMILIES, config_of, save_family
from tests.vlms.chat.tiny_text import make_tokenizer, text_sizes

FAMILY = FAMILIES[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return save_family(FAMILY, tmp_path_factory.mktemp("whole"))


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copy")


def fault(folder, match):
    """The error of loading a folder; it says what to do next."""
    with pytest.raises(EnvironmentFault, match=match) as caught:
        load_vlm(config_of(FAMILY, folder), torch.device("cpu"), torch.float32)
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    return caught.value


def change(folder, **facts):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def test_a_text_model_is_named_as_one(tmp_path):
    tokenizer = make_tokenizer([])
    LlamaForCausalLM(LlamaConfig(**text_sizes(tokenizer))).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    fault(tmp_path, "'llama' is a text model, not a VLM")


def test_a_refused_family_is_named_with_the_reason(folder):
    change(folder, model_type="florence2")
    fault(folder, "Florence-2 is an encoder-decoder without a chat template")


def test_a_family_that_transformers_does_not_know(folder):
    change(folder, model_type="futurevl")
    fault(folder, "'futurevl' are not known as VLMs")


def test_a_config_that_is_no_json(folder):
    (folder / "config.json").write_text("{")
    fault(folder, "cannot be read")


def test_a_config_with_settings_of_another_type(folder):
    change(folder, text_config=3)
    fault(folder, "cannot be loaded")


def test_missing_weights(folder):
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    weights = load_file(path)
    weights.pop(next(k for k in weights if "q_proj" in k))
    save_file(weights, path, {"format": "pt"})
    fault(folder, "1 weights are missing")


def test_cut_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    fault(folder, "cannot be loaded")


@pytest.mark.parametrize("missing", ["model.safetensors", "tokenizer.json"])
def test_missing_files(folder, missing):
    (folder / missing).unlink()
    fault(folder, "cannot be loaded|no processor")


def test_a_missing_processor(folder):
    for name in ("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json"):
        (folder / name).unlink(missing_ok=True)
    fault(folder, "cannot be loaded|no processor for images")


def test_a_missing_chat_template(folder):
    (folder / "chat_template.jinja").unlink()
    assert "instruct" in fault(folder, "has no chat template").hint


def test_a_missing_package_is_named_with_the_command(folder, monkeypatch):
    def without(*arguments, **options):
        raise ImportError("Package `num2words` is required. Install it with `pip install num2words`.")

    monkeypatch.setattr(loading.AutoProcessor, "from_pretrained", without)
    found = fault(folder, "needs the package num2words, which is not installed")
    assert found.hint == "Run: pip install num2words"
