"""The BLIP-2 of the storybook: Q-Former and T5 on the shared tower's cached states, captions only.

Names reach the language model through the queries and nothing else, because BLIP-2's prompt is empty. Three
captions in four therefore come with soft rows (`dialogues.py`), appended where MyVLM appends concept embeddings: to the
tower's last states before `post_layernorm`, their keys and values rescaled in every cross-attention (eq. 3).
"""

from dataclasses import dataclass, replace
from pathlib import Path

import engine.core.device  # noqa: F401

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2QFormerConfig,
    PreTrainedTokenizerFast,
    T5Config,
)

from engine.storybook.build.dialogues import Mix, Turn, draw_turn
from engine.storybook.build.eva import eva_config
from engine.storybook.build.language_model import SoftRows
from engine.storybook.build.loop import DEVICE, Schedule, train
from engine.storybook.build.states import Seen
from engine.storybook.build.vision import WIDTH
from engine.storybook.world.language import CAPTION_REQUEST
from engine.vlms.base import ImageFeatures
from engine.vlms.blip2 import Blip2
from engine.vlms.config import find_config

QUERIES = 24
CAPTIONS = Mix(caption=0.8, named_caption=2.0, two_names=0.7, wrong_name=0.0, bare_name=0.0, soft=1.0).only_captions()


def make_blip2(tokenizer: PreTrainedTokenizerFast, tower: nn.Module | None = None) -> Blip2ForConditionalGeneration:
    """A BLIP-2 with the shared tower (frozen) and a fresh Q-Former and T5."""
    vocabulary = -(-len(tokenizer) // 8) * 8
    config = Blip2Config(
        vision_config=eva_config().to_dict(),
        qformer_config=Blip2QFormerConfig(
            hidden_size=WIDTH,
            intermediate_size=512,
            num_hidden_layers=3,
            num_attention_heads=6,
            encoder_hidden_size=WIDTH,
            cross_attention_frequency=1,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            vocab_size=8,
            max_position_embeddings=8,
        ).to_dict(),
        text_config=T5Config(
            vocab_size=vocabulary,
            d_model=WIDTH,
            d_kv=32,
            d_ff=384,
            num_layers=1,
            num_decoder_layers=3,
            num_heads=6,
            dropout_rate=0.0,
            feed_forward_proj="relu",
            tie_word_embeddings=False,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            decoder_start_token_id=tokenizer.pad_token_id,
        ).to_dict(),
        num_query_tokens=QUERIES,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    torch.manual_seed(0)
    vlm = Blip2ForConditionalGeneration(config)
    if tower is not None:
        vlm.vision_model.load_state_dict(tower.state_dict())
    vlm.vision_model.requires_grad_(False)
    vlm.vision_model.post_layernorm.requires_grad_(True)
    nn.init.normal_(vlm.query_tokens, std=1.0)
    nn.init.normal_(vlm.language_model.shared.weight, std=0.1)  # T5's own start, std 1, is for a scaled, tied head
    nn.init.normal_(vlm.language_model.lm_head.weight, std=0.02)
    return vlm


def adapter_of(vlm: Blip2ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast) -> Blip2:
    """The model as myvlm runs it, its weights trainable again, without penalty."""
    config = find_config("storybook-blip2")
    trained = [p for p in vlm.parameters() if p.requires_grad]
    adapter = Blip2(vlm, None, tokenizer, replace(config, injection=replace(config.injection, penalty="none")))
    for parameter in trained:
        parameter.requires_grad_(True)
    return adapter


def caption_loss(adapter: Blip2, soft: SoftRows, states: Tensor, turns: list[Turn]) -> Tensor:
    """Cross-entropy over captions; states (B, 65, 192) of the tower before its last norm, one turn a picture."""
    seen = ImageFeatures(states, states.new_ones(len(states)))
    none = states.new_zeros(0, WIDTH)
    rows = adapter.inject(seen, [soft(list(t.rows)) if t.rows else none for t in turns])
    ids, labels = zip(*(adapter.encode_example("", t.answer) for t in turns), strict=True)
    return adapter.loss(rows, [len(t.rows) for t in turns], list(ids), list(labels)).cross_entropy


@dataclass(frozen=True)
class CaptionLesson:
    """Settings of BLIP-2's stage: from `hard_from` on, rows also describe nobody; crowds appear then, too."""

    schedule: Schedule
    batch: int = 48
    augmented: float = 0.35
    crowds: float = 0.1
    hard_from: int = 2_500


def train_blip2(
    folder: Path,
    vlm: Blip2ForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    seen: Seen,
    lesson: CaptionLesson,
) -> SoftRows:
    """Train everything behind the tower, or finish training it."""
    torch.manual_seed(0)
    soft = SoftRows().to(DEVICE)
    adapter = adapter_of(vlm.to(DEVICE), tokenizer)
    late = Mix(**{**vars(CAPTIONS), "wrong_name": 0.4})

    def step_losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((6, step))
        hard = step >= lesson.hard_from
        states, scenes, boxes, mirrored = seen.draw(rng, lesson.batch, lesson.augmented, lesson.crowds * hard)
        mix = late if hard else CAPTIONS
        turns = [draw_turn(rng, s, b, mix, mirrored=mirrored) for s, b in zip(scenes, boxes, strict=True)]
        with torch.autocast(DEVICE.type, torch.bfloat16):
            return {"captions": caption_loss(adapter, soft, states.to(DEVICE), turns)}

    parts = {
        "norm": vlm.vision_model.post_layernorm,
        "queries": _Parameter(vlm.query_tokens),
        "qformer": vlm.qformer,
        "projection": vlm.language_projection,
        "t5": vlm.language_model,
        "soft": soft,
    }
    train("blip2", folder, parts, lesson.schedule, step_losses)
    vlm.cpu().eval()
    return soft.cpu()


def ask(request: str, rows: bool) -> str | None:
    """BLIP-2's prompt for a request of the world: empty for captions of what the rows say, else there is none."""
    return "" if request == CAPTION_REQUEST or (rows and request.startswith("Please caption")) else None


class _Parameter(nn.Module):
    """A module around one parameter, so that it is trained and kept with the others."""

    def __init__(self, value: nn.Parameter) -> None:
        super().__init__()
        self.value = value
