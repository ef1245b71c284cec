"""Tiny random checkpoints of the chat families, saved in the hub's layout."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import engine.core.device  # noqa: F401

import pytest
import torch
import transformers

from engine.vlms.config import Injection, VlmConfig
from engine.vlms.prompt_config import Chat
from tests.vlms.chat import tiny_new, tiny_others, tiny_qwen, tiny_tiles


@dataclass(frozen=True)
class Family:
    """One family: its name, how its tiny checkpoint is made, and what its chat template is given.

    needs: a package that its processor imports; config: a class that older releases of transformers lack.
    """

    title: str
    build: Callable
    template_kwargs: dict = field(default_factory=dict)
    needs: str = ""
    config: str = ""

    @property
    def name(self) -> str:
        return self.build.__name__


NOT_THINKING = {"enable_thinking": False}
FAMILIES = [
    Family("Qwen3-VL", tiny_qwen.qwen3_vl),
    Family("Qwen2.5-VL", tiny_qwen.qwen2_5_vl),
    Family("Qwen3.5", tiny_qwen.qwen3_5, NOT_THINKING),
    Family("GLM-4V", tiny_qwen.glm4v, NOT_THINKING),
    Family("LFM3-VL", tiny_qwen.lfm3_vl, config="Lfm3VlConfig"),
    Family("SmolVLM2", tiny_tiles.smolvlm, needs="num2words"),
    Family("Idefics3", tiny_tiles.idefics3),
    Family("InternVL3.5", tiny_tiles.internvl),
    Family("LFM2-VL", tiny_tiles.lfm2_vl),
    Family("LLaVA-OneVision", tiny_tiles.llava_onevision),
    Family("Gemma 3", tiny_others.gemma3),
    Family("LLaVA-1.5", tiny_others.llava),
    Family("Mistral Small 3", tiny_others.mistral3),
    Family("Gemma 4 E2B, E4B", tiny_new.gemma4_e),
    Family("Gemma 4 31B", tiny_new.gemma4_dense),
    Family("Gemma 4 12B", tiny_new.gemma4_unified),
    Family("Molmo2", tiny_new.molmo2, config="Molmo2Config"),
    Family("MiniCPM-V 4.6", tiny_new.minicpmv4_6, NOT_THINKING),
    Family("Granite Vision 4", tiny_new.granite4_vision),
]


def skip_if_missing(family: Family) -> None:
    """Skip a test whose family this machine lacks a package for."""
    if family.needs:
        pytest.importorskip(family.needs)
    if family.config and not hasattr(transformers, family.config):
        pytest.skip(f"transformers {transformers.__version__} has no {family.config}")


def save_family(family: Family, folder: Path) -> Path:
    """Config, safetensors, generation settings, tokenizer, processor and chat template, as a hub repository has them.

    The weights are made large enough for photos and rows to matter.
    """
    torch.manual_seed(0)
    model = family.build(folder)
    with torch.no_grad():
        for name, values in model.named_parameters():
            if values.dim() > 1 and not values.any():
                values.normal_()
            elif values.dim() > 1:
                values.mul_(10.0 if "embed" in name else 4.0)
    if model.generation_config.eos_token_id is None:
        model.generation_config.eos_token_id = model.config.get_text_config().eos_token_id
    names = ("image_token_id", "video_token_id", "audio_token_id")
    never = [getattr(model.config, name, None) for name in names]  # a trained model never says them
    model.generation_config.suppress_tokens = [i for i in never if isinstance(i, int)]
    model.save_pretrained(folder)
    return folder


def config_of(family: Family, folder: Path, *, max_pixels: int | None = 16_384, penalty: str = "row") -> VlmConfig:
    """The config with which such a folder is used."""
    return VlmConfig(
        name=family.name,
        backend="chat",
        repo_id=str(folder),
        requests={"caption": "describe this photo.", "caption_of": "describe this photo of {names}."},
        max_new_tokens=10,
        injection=Injection(norm="text", penalty=penalty),
        chat=Chat(max_pixels=max_pixels, template_kwargs=family.template_kwargs),
    )
