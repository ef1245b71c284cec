"""The MiniGPT-v2 of the storybook: merged image tokens into the LLaVA's language model, taught to read them.

MiniGPT-v2 starts from a finished chat model and so does this one: its Llama begins as that of the storybook's
LLaVA, with the words of MiniGPT-v2's prompts added, and learns sixteen rows of four merged patches each instead of
sixty-four, captions, questions and boxes as before.
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
from engine.storybook.build.language_model import SoftRows, spoken_loss
from engine.storybook.build.loop import DEVICE, Schedule, train
from engine.storybook.build.packing import Form, pack, register
from engine.storybook.build.states import Seen
from engine.storybook.build.vision import GRID
from engine.vlms.minigpt_v2 import MiniGptConfig, MiniGptModel

MERGE = 4
WORDS = ("<", ">", "INST", "Img", "vqa")
"""What MiniGPT-v2's prompts say that the storybook's vocabulary lacks."""


def tagged(request: str) -> str:
    """A request with MiniGPT-v2's task identifier in front."""
    if "[refer] " in request:
        return "[refer] " + request.replace("[refer] ", "")
    return ("[caption] " if "Please caption" in request else "[vqa] ") + request


FORM = Form("[INST] <Img>", lambda request: f"</Img> {tagged(request)} [/INST]")


def look(model: MiniGptModel, states: Tensor) -> Tensor:
    """Tower states (B, 65, 192) to image rows (B, 16, 192): last norm, class token dropped, merged, projected."""
    patches = model.vision_model.post_layernorm(states)[:, 1:]
    return model.llama_proj(patches.reshape(len(states), -1, model.llama_proj.in_features))


def make_minigpt(
    tokenizer: PreTrainedTokenizerFast, llava: LlavaNextForConditionalGeneration, tower: Blip2VisionModel
) -> MiniGptModel:
    """The model at its start: the shared tower, a fresh projection and the LLaVA's language model with more words."""
    own = llava.config.text_config.to_dict()
    text = {**own, "vocab_size": -(-len(tokenizer) // 8) * 8}
    torch.manual_seed(0)
    model = MiniGptModel(MiniGptConfig(vision_config=eva_config().to_dict(), text_config=text, merge=MERGE))
    llama = model.language_model
    llama.set_attn_implementation(register())
    model.vision_model.load_state_dict(tower.state_dict())
    nn.init.ones_(model.vision_model.post_layernorm.weight)
    nn.init.zeros_(model.vision_model.post_layernorm.bias)
    model.vision_model.requires_grad_(False)
    inner = llava.model.language_model.state_dict()
    llama.model.load_state_dict({**llama.model.state_dict(), **{k: v for k, v in inner.items() if "embed" not in k}})
    with torch.no_grad():
        llama.model.embed_tokens.weight[: own["vocab_size"]] = llava.model.language_model.embed_tokens.weight
        llama.lm_head.weight[: own["vocab_size"]] = llava.lm_head.weight
    return model


@dataclass(frozen=True)
class ChatLesson:
    """Settings of MiniGPT-v2's stage."""

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
    seen: Seen,
    soft: SoftRows,
    lesson: ChatLesson,
) -> SoftRows:
    """Train projection, language model and soft rows, or finish training them."""
    model.to(DEVICE).train()
    soft.to(DEVICE)

    def step_losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((8, step))
        states, scenes, boxes, mirrored = seen.draw(rng, lesson.batch, lesson.augmented, lesson.crowds)
        turns = [
            [draw_turn(rng, s, b, lesson.mix, mirrored=mirrored) for _ in range(lesson.turns)]
            for s, b in zip(scenes, boxes, strict=True)
        ]
        packed = pack(tokenizer, turns, GRID * GRID // MERGE, FORM).to(DEVICE)
        with torch.autocast(DEVICE.type, torch.bfloat16):
            image = look(model, states.to(DEVICE)).float()
            norms = image.norm(dim=-1).mean(1)
            llama = model.language_model
            return {"answers": spoken_loss(llama.model, llama.lm_head, image, norms, soft, packed)}

    parts = {"projection": model.llama_proj, "llama": model.language_model, "soft": soft}
    train("minigpt", folder, parts, lesson.schedule, step_losses)
    model.cpu().eval()
    return soft.cpu()
