"""Checkpoints that are not what they should be: incomplete ones, and those of another family."""

import json
import shutil

import engine.core.device  # noqa: F401

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.core.errors import EnvironmentFault, UsageError
from engine.store.published import read_embeddings
from engine.vlms import registry
from engine.vlms.find import find_config
from engine.vlms.registry import load_vlm
from tests.tiny_blip2 import save_tiny_blip2
from tests.tiny_llava import save_tiny_llava

CPU = torch.device("cpu")
MAKERS = {"llava": save_tiny_llava, "blip2": save_tiny_blip2}


@pytest.fixture(scope="module", params=sorted(MAKERS))
def folder(request, tmp_path_factory):
    return MAKERS[request.param](tmp_path_factory.mktemp(request.param))


def without(folder, tmp_path, word):
    """A copy of a checkpoint without the first weight whose name holds the word, and that name."""
    other = tmp_path / folder.name
    shutil.copytree(folder, other)
    weights = load_file(other / "model.safetensors")
    name = next(n for n in sorted(weights) if word in n)
    del weights[name]
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    return other, name


@pytest.mark.parametrize("word", ["vision", "language_model", "proj"])
def test_missing_weights_are_an_environment_error(folder, tmp_path, word):
    other, name = without(folder, tmp_path, word)
    with pytest.raises(EnvironmentFault, match="weights are missing") as caught:
        load_vlm(find_config(str(other)), CPU, torch.float32)
    assert name.split(".")[-2] in str(caught.value)


def test_what_only_tiles_need_may_be_missing_without_them(tmp_path):
    other, _ = without(save_tiny_llava(tmp_path / "whole"), tmp_path / "copy", "image_newline")
    assert load_vlm(find_config(str(other)), CPU, torch.float32).width == 32
    with pytest.raises(EnvironmentFault, match="image_newline"):
        load_vlm(find_config(f"{other}+anyres"), CPU, torch.float32)


def test_shipped_weights_are_complete():
    assert load_vlm(find_config("storybook"), CPU, torch.float32).width


def test_a_folder_of_another_family_says_which(tmp_path, monkeypatch):
    folder = save_tiny_blip2(tmp_path / "eyes")
    monkeypatch.setattr(registry, "find_weights", lambda config: folder)
    with pytest.raises(EnvironmentFault, match="'blip-2' and cannot be loaded as chat"):
        load_vlm(find_config("someone/else"), CPU, torch.float32)
    (folder / "config.json").write_text('{"model_type": "qwen3"}')
    with pytest.raises(EnvironmentFault, match="'qwen3'"):
        load_vlm(find_config("someone/else"), CPU, torch.float32)


def test_an_error_without_words_is_told_by_its_type(tmp_path, monkeypatch):
    folder = save_tiny_llava(tmp_path / "llava")

    def load(*_):
        raise ValueError

    monkeypatch.setattr("engine.vlms.llava_next.LlavaNext.load", load)
    with pytest.raises(EnvironmentFault, match="cannot be loaded: ValueError"):
        load_vlm(find_config(str(folder)), CPU, torch.float32)


def test_a_truncated_file_is_refused(tmp_path):
    torch.save({100: {"keys": None, "values": torch.ones(1, 4)}}, tmp_path / "whole.pt")
    data = (tmp_path / "whole.pt").read_bytes()
    for size in (0, 1, 40, len(data) // 2):
        (tmp_path / "e.pt").write_bytes(data[:size])
        with pytest.raises(UsageError):
            read_embeddings(tmp_path / "e.pt")


@pytest.mark.parametrize(
    ("repo", "model_type", "backend"),
    [
        ("someone/blip2-flan-t5-xxl", None, "blip-2"),
        ("someone/BLIP-2-thing", None, "blip-2"),
        ("someone/llava-v1.6-13b", None, "llava-next"),
        ("someone/plain", "blip-2", "blip-2"),
        ("someone/plain", None, "chat"),
        ("someone/plain", "mllama", "chat"),
        ("someone/llava-like", "qwen3_vl", "chat"),
        ("someone/blip2", "llava_next", "llava-next"),
    ],
)
def test_the_family_of_a_hub_id(tmp_path, monkeypatch, repo, model_type, backend):
    def cached(repo_id, filename):
        if model_type is None:
            return None
        (tmp_path / filename).write_text(json.dumps({"model_type": model_type}))
        return str(tmp_path / filename)

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", cached)
    config = find_config(repo)
    assert (config.name, config.backend) == (repo, backend)


def test_a_hub_id_of_an_unknown_family_is_refused(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text('{"model_type": "florence2"}')
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: str(tmp_path / "config.json"))
    with pytest.raises(EnvironmentFault, match="someone/else cannot be used: Florence-2 is an encoder-decoder"):
        find_config("someone/else")
