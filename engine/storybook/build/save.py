"""Write finished VLMs in the formats of their families; the tower that two of them share is stored once."""

import json
import shutil
from pathlib import Path

import engine.core.device  # noqa: F401

from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    Blip2ForConditionalGeneration,
    BlipImageProcessorPil,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
    PreTrainedTokenizerFast,
)

from engine.core.files import sha256_of
from engine.storybook.build import vision
from engine.vlms.minigpt_v2 import MiniGptModel

_SIZE = vision.PATCH * vision.GRID
_TOWER = "../tower/model.safetensors"


def save_llava(vlm: LlavaNextForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the LLaVA in the hub's layout, half precision."""
    shutil.rmtree(folder, ignore_errors=True)
    vlm.eval().half().save_pretrained(folder)
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": _SIZE},
        crop_size={"height": _SIZE, "width": _SIZE},
        image_mean=list(vision.MEAN),
        image_std=list(vision.STD),
        image_grid_pinpoints=[[_SIZE, 2 * _SIZE], [2 * _SIZE, _SIZE], [2 * _SIZE, 2 * _SIZE]],
    )
    processor = LlavaNextProcessor(
        images,
        tokenizer,
        patch_size=vision.PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    )
    processor.save_pretrained(folder)


def save_blip2(vlm: Blip2ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write the BLIP-2 in the hub's layout to `out/blip2`, half precision, its tower to `out/tower`."""
    folder = out / "blip2"
    shutil.rmtree(folder, ignore_errors=True)
    vlm.eval().half().save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    _save_weights(vlm.state_dict(), folder)
    _save_readers(tokenizer, folder)


def save_minigpt(model: MiniGptModel, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write the MiniGPT-v2 in the layout of `vlms/minigpt_v2.py` to `out/minigpt`, half precision."""
    folder = out / "minigpt"
    shutil.rmtree(folder, ignore_errors=True)
    model.half().save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    _save_weights(model.state_dict(), folder)
    _save_readers(tokenizer, folder)


def _save_readers(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    tokenizer.save_pretrained(folder)
    size = {"height": _SIZE, "width": _SIZE}
    BlipImageProcessorPil(size=size, image_mean=list(vision.MEAN), image_std=list(vision.STD)).save_pretrained(folder)


def _save_weights(state: dict[str, Tensor], folder: Path) -> None:
    """Write the shared tower to its own file, the rest beside the config, and the index that names both files."""
    halves = {k: v.detach().half().contiguous().clone() for k, v in sorted(state.items())}
    if "language_model.shared.weight" in halves:  # T5's three names for one matrix
        halves = {k: v for k, v in halves.items() if not k.endswith("embed_tokens.weight")}
    tower = {k: v for k, v in halves.items() if k.startswith("vision_model.") and "post_layernorm" not in k}
    rest = {k: v for k, v in halves.items() if k not in tower}
    shared = (folder / _TOWER).resolve()
    shared.parent.mkdir(parents=True, exist_ok=True)
    save_file(tower, shared, {"format": "pt"})
    save_file(rest, folder / "model-rest.safetensors", {"format": "pt"})
    for path in (shared, folder / "model-rest.safetensors"):
        path.chmod(0o644)
    places = dict.fromkeys(tower, _TOWER) | dict.fromkeys(rest, "model-rest.safetensors")
    size = sum(v.nbytes for v in halves.values())
    index = {"metadata": {"total_size": size, "tower": sha256_of(shared.read_bytes())[:16]}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")
