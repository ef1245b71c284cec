"""Chat VLMs with quantised weights, through the real adapter: they speak, and a concept is learned through them."""

import json
import warnings

import engine.core.device  # noqa: F401

import pytest
import torch
from PIL import Image

from engine.core.errors import EnvironmentFault
from engine.vlms import quantise
from engine.vlms.find import find_config
from engine.vlms.registry import load_vlm
from tests.vlms.chat.tiny import FAMILIES, save_family

CPU = torch.device("cpu")
FORMATS = [("none", ""), ("int8", "torchao"), ("int4", "bitsandbytes")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_family(FAMILIES[0], tmp_path_factory.mktemp("qwen"))


def gradient(vlm):
    """The gradient of the loss of one answer with respect to a concept's embedding."""
    embedding = torch.rand(1, vlm.width, generator=torch.Generator().manual_seed(0)).requires_grad_()
    rows = vlm.inject(vlm.encode(vlm.preprocess([Image.new("RGB", (64, 64), "red")])), [embedding])
    ids, labels = vlm.encode_example("Describe this photo of Rex.", "A photo of Rex.")
    vlm.loss(rows, [1], [ids], [labels]).total.backward()
    return embedding.grad


def gradient_behind(vlm):
    """The same, from the cached prefix."""
    embedding = torch.rand(1, vlm.width, generator=torch.Generator().manual_seed(0)).requires_grad_()
    features = vlm.encode(vlm.preprocess([Image.new("RGB", (64, 64), "red")]))
    ids, labels = vlm.encode_example("Describe this photo of Rex.", "A photo of Rex.")
    vlm.loss_behind([(features, vlm.prefix(features, ids))], embedding, [ids], [labels]).total.backward()
    return embedding.grad


def speak(vlm):
    rows = vlm.inject(vlm.encode(vlm.preprocess([Image.new("RGB", (64, 64), "red")])), [torch.zeros(0, vlm.width)])
    return vlm.generate(rows, [vlm.encode_prompt("Describe this photo.")], max_new_tokens=3)[0].text


@pytest.mark.parametrize(("option", "package"), FORMATS)
def test_a_gradient_reaches_the_embedding_before_and_after_a_text(folder, option, package):
    if package:
        pytest.importorskip(package, reason=f"{package} comes with myvlm[quantise]")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vlm = load_vlm(find_config(str(folder)), CPU, torch.bfloat16, option)
        first = gradient(vlm)
        speak(vlm)
        again = gradient(vlm)
        assert vlm.caches_prefixes
        behind = gradient_behind(vlm)
    assert first.norm() > 0
    torch.testing.assert_close(again, first)
    assert (behind - first).norm() < 0.05 * first.norm()  # bfloat16 keeps 8 bits


def test_a_checkpoint_that_is_quantised_already_is_loaded_as_it_is(folder, tmp_path):
    pytest.importorskip("bitsandbytes", reason="bitsandbytes comes with myvlm[quantise]")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vlm = load_vlm(find_config(str(folder)), CPU, torch.bfloat16, "int4")
        vlm.model.save_pretrained(tmp_path)
        for file in folder.iterdir():
            if not (tmp_path / file.name).exists():
                (tmp_path / file.name).write_bytes(file.read_bytes())
        config = find_config(str(tmp_path))
        assert json.loads((tmp_path / "config.json").read_text())["quantization_config"]["load_in_4bit"]
        assert config.size.quantised_gb is not None
        stored = load_vlm(config, CPU, torch.bfloat16)
    assert any(type(part).__name__ == "Linear4bit" for part in stored.model.modules())
    assert speak(stored) == speak(vlm)
    assert gradient(stored).norm() > 0


def test_without_the_packages_the_command_that_installs_them_is_told(folder, monkeypatch):
    monkeypatch.setattr(quantise, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match="in int8, the package torchao is needed") as caught:
        load_vlm(find_config(str(folder)), CPU, torch.float32, "int8")
    assert "pip install 'myvlm[quantise]'" in caught.value.hint
