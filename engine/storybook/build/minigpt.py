"""Stage 5: the storybook's MiniGPT-v2, trained from the LLaVA's language model.

MiniGPT-v2 starts from a finished chat model (`docs/method.md`, "MiniGPT-v2"), and so does this one: its Llama starts as
the LLaVA's, with the words of MiniGPT-v2's prompts added. It learns to read sixteen rows of four merged patches each
instead of sixty-four, from captions, questions and boxes as in the language stage.
"""

from dataclasses import dataclass
from pathlib import Path

import engine.core.device  # noqa: F401

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Blip2VisionModel, LlavaNextForConditionalGeneration, PreTrainedTokenizerFast

from engine.storybook.build.dialogues import Mix, draw_turn
from engine.storybook.build.eva import eva_config
from engine.storybook.build.language_model import SoftRows, language_loss
from engine.storybook.build.loop import DEVICE, Schedule, to_device, train
from engine.storybook.build.packing import PromptFormat, pack, register
from engine.storybook.build.states import TowerStates
from engine.storybook.build.vision import GRID
from engine.vlms.minigpt_v2 import MiniGptConfig, MiniGptModel

MERGE = 4
WORDS = ("<", ">", "INST", "Img", "vqa")
"""Words of MiniGPT-v2's prompts that the storybook's vocabulary lacks."""


def with_task_identifier(request: str) -> str:
    """Put MiniGPT-v2's task identifier in front of a request."""
    if "[refer] " in request:
        return "[refer] " + request.replace("[refer] ", "")
    return ("[caption] " if "Please caption" in request else "[vqa] ") + request


MINIGPT = PromptFormat("[INST] <Img>", lambda request: f"</Img> {with_task_identifier(request)} [/INST]")


def project_states(model: MiniGptModel, states: Tensor) -> Tensor:
    """Compute image rows (B, 16, 192) of tower states (B, 65, 192): norm, drop the class token, merge, project."""
    patches = model.vision_model.post_layernorm(states)[:, 1:]  # (B, 64, 192)
    return model.llama_proj(patches.reshape(len(states), -1, model.llama_proj.in_features))


def make_minigpt(
    tokenizer: PreTrainedTokenizerFast, llava: LlavaNextForConditionalGeneration, tower: Blip2VisionModel
) -> MiniGptModel:
    """Make the initial model: shared tower, new projection, and the LLaVA's language model with more words."""
    llava_text = llava.config.get_text_config().to_dict()
    text = {**llava_text, "vocab_size": -(-len(tokenizer) // 8) * 8}
    torch.manual_seed(0)
    model = MiniGptModel(MiniGptConfig(vision_config=eva_config().to_dict(), text_config=text, merge=MERGE))
    llama = model.language_model
    llama.set_attn_implementation(register())
    model.vision_model.load_state_dict(tower.state_dict())
    nn.init.ones_(model.vision_model.post_layernorm.weight)
    nn.init.zeros_(model.vision_model.post_layernorm.bias)
    model.vision_model.requires_grad_(False)
    weights = llava.model.language_model.state_dict()
    layers = {k: v for k, v in weights.items() if "embed" not in k}
    llama.model.load_state_dict({**llama.model.state_dict(), **layers})
    with torch.no_grad():
        llama.model.embed_tokens.weight[: llava_text["vocab_size"]] = llava.model.language_model.embed_tokens.weight
        llama.lm_head.weight[: llava_text["vocab_size"]] = llava.lm_head.weight
    return model


@dataclass(frozen=True)
class ChatSettings:
    """Settings of MiniGPT-v2's stage; `augmented` and `crowds` are shares of the batches."""

    schedule: Schedule
    batch: int = 16
    turns: int = 7
    augmented: float = 0.3
    crowds: float = 0.12
    mix: Mix = Mix(question=2.0, named_question=2.0, refer=1.2, named_refer=1.0, two_names=1.0, hard=3.0)


def train_minigpt(
    folder: Path,
    model: MiniGptModel,
    tokenizer: PreTrainedTokenizerFast,
    states: TowerStates,
    soft: SoftRows,
    settings: ChatSettings,
) -> SoftRows:
    """Train projection, language model and soft rows, or continue from their checkpoint."""
    to_device(model).train()
    to_device(soft)

    def step_losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((8, step))
        batch = states.draw(rng, settings.batch, settings.augmented, settings.crowds)
        turns = [
            [draw_turn(rng, s, b, settings.mix, mirrored=batch.mirrored) for _ in range(settings.turns)]
            for s, b in zip(batch.scenes, batch.boxes, strict=True)
        ]
        packed = pack(tokenizer, turns, GRID * GRID // MERGE, MINIGPT).to(DEVICE)
        with torch.autocast(DEVICE.type, torch.bfloat16):
            image = project_states(model, batch.states.to(DEVICE)).float()  # (B, 16, 192)
            norms = image.norm(dim=-1).mean(1)  # (B,)
            llama = model.language_model
            return {"answers": language_loss(llama.model, llama.lm_head, image, norms, soft, packed)}

    modules = {"projection": model.llama_proj, "llama": model.language_model, "soft": soft}
    train("minigpt", folder, modules, settings.schedule, step_losses)
    model.cpu().eval()
    return soft.cpu()
