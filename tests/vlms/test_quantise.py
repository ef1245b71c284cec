"""Quantised weights: which package and settings load them, and that a gradient passes through them."""

import warnings

import engine.core.device  # noqa: F401

import pytest
import torch
from transformers import LlavaConfig, LlavaForConditionalGeneration

from engine.core.errors import EnvironmentFault
from engine.vlms import quantise
from engine.vlms.config import VlmConfig
from engine.vlms.quantise import formats_installed, load_options, prepare, quantise_option
from engine.vlms.size import Size

CPU = torch.device("cpu")
CONFIG = VlmConfig("tiny", "chat", "tiny")
TEXT = {"model_type": "llama", "vocab_size": 64, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
TEXT |= {"num_attention_heads": 2, "num_key_value_heads": 2, "pad_token_id": 0}
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION |= {"image_size": 16, "patch_size": 8, "projection_dim": 32}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny VLM in bfloat16 with random weights, in the hub's format."""
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(LlavaConfig(text_config=TEXT, vision_config=VISION, image_token_index=1))
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() > 1:
                p.mul_(4)
    folder = tmp_path_factory.mktemp("tiny")
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder


def load(checkpoint, options):
    model = LlavaForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.bfloat16, **options)
    return prepare(model.eval().requires_grad_(False))


def gradient(model):
    """The gradient that reaches the embedding of one row of a prompt."""
    row = torch.randn(1, 1, 64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    embed = model.get_input_embeddings()(torch.tensor([[5, 6, 7]]))
    logits = model(inputs_embeds=torch.cat([row.to(embed.dtype), embed], 1)).logits
    torch.nn.functional.cross_entropy(logits[0, -1:].float(), torch.tensor([9])).backward()
    return row.grad.flatten()


@pytest.mark.parametrize(
    ("option", "package"), [("none", ""), ("int8", "torchao"), ("int8", "bitsandbytes"), ("int4", "bitsandbytes")]
)
def test_a_gradient_passes_through_frozen_layers_before_and_after_text(checkpoint, monkeypatch, option, package):
    if package:
        pytest.importorskip(package, reason=f"{package} comes with myvlm[quantise]")
        precision = "nf4" if option == "int4" else option
        monkeypatch.setitem(quantise.PACKAGES, ("cpu", precision), package)  # int8 of bitsandbytes is for CUDA else
    reference = gradient(load(checkpoint, {}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = load(checkpoint, load_options(CONFIG, CPU, torch.bfloat16, option))
        first = gradient(model)
        with torch.no_grad():
            model.generate(input_ids=torch.tensor([[5, 6, 7]]), max_new_tokens=2, do_sample=False)
        again = gradient(model)
    assert first.norm() > 0
    torch.testing.assert_close(again, first)
    assert torch.nn.functional.cosine_similarity(first, reference, 0) > (0.5 if option == "int4" else 0.9)


def test_torchaos_dynamic_formats_would_let_no_gradient_pass(checkpoint):
    """Why they are never used, and why training checks its first gradient."""
    torchao = pytest.importorskip("torchao.quantization", reason="torchao comes with myvlm[quantise]")
    from transformers import TorchAoConfig

    dynamic = TorchAoConfig(torchao.Int8DynamicActivationInt8WeightConfig())
    model = load(checkpoint, {"quantization_config": dynamic, "device_map": "cpu"})
    assert gradient(model).norm() == 0


def test_the_layers_of_four_bits_stay_in_training_mode():
    class Linear4bit(torch.nn.Linear):
        """Called like bitsandbytes' layer."""

    model = torch.nn.Sequential(Linear4bit(2, 2), torch.nn.Dropout()).eval()
    prepare(model)
    assert [m.training for m in model] == [True, False]


@pytest.mark.parametrize(
    ("device", "option", "package"),
    [
        ("cuda", "int8", "bitsandbytes"),
        ("cuda", "int4", "bitsandbytes"),
        ("cpu", "int8", "torchao"),
        ("cpu", "int4", "bitsandbytes"),
        ("mps", "int8", "torchao"),
        ("mps", "int4", "torchao"),
    ],
)
def test_without_the_package_the_command_that_installs_it_is_told(monkeypatch, device, option, package):
    monkeypatch.setattr(quantise, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match=f"the package {package} is needed") as caught:
        load_options(CONFIG, torch.device(device), torch.bfloat16, option)
    assert "pip install 'myvlm[quantise]'" in caught.value.hint
    assert formats_installed(device) == ()


def test_a_device_without_such_weights_is_told():
    with pytest.raises(EnvironmentFault, match="cannot be loaded in nf4 on xpu"):
        load_options(CONFIG, torch.device("xpu"), torch.bfloat16, "int4")


def test_what_is_quantised_already_or_not_at_all_brings_its_own_settings(monkeypatch):
    stored = VlmConfig("awq", "chat", "awq", size=Size(4.0, 3.5, 100.0, quantised_gb=2.5))
    monkeypatch.setattr(quantise, "find_spec", lambda name: True)
    assert load_options(stored, CPU, torch.bfloat16, "int8") == {"device_map": {"": CPU}}
    assert load_options(CONFIG, CPU, torch.bfloat16, "none") == {}


def test_what_the_option_calls_a_format():
    options = {f: quantise_option(f) for f in ("bfloat16", "int8", "nf4", "int4", "quantised")}
    assert options == {"bfloat16": "none", "int8": "int8", "nf4": "int4", "int4": "int4", "quantised": "none"}
