"""Stage 4: the storybook's BLIP-2, a Q-Former and a T5 on the shared tower's cached states; it only captions.

Names reach the language model through the queries alone, because BLIP-2's prompt is empty. Three captions in four
therefore come with soft rows (`dialogues.py`). They are appended where MyVLM appends concept embeddings: to the tower's
last states before `post_layernorm`, with keys and values rescaled in every cross-attention (the paper's eq. 3;
`docs/method.md`, "BLIP-2"). Measured in `docs/experiments.md#blip-2-and-soft-rows`.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import engine.core.device  # noqa: F401

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2QFormerConfig,
    BlipImageProcessorPil,
    PreTrainedTokenizerFast,
    T5Config,
)

from engine.storybook.build.dialogues import Mix, Turn, draw_turn
from engine.storybook.build.eva import eva_config
from engine.storybook.build.language_model import SoftRows
from engine.storybook.build.loop import DEVICE, Schedule, to_device, train
from engine.storybook.build.states import TowerStates
from engine.storybook.build.tokenizer import token_id
from engine.storybook.build.vision import WIDTH
from engine.storybook.world.language import CAPTION_REQUEST
from engine.vlms.base import ImageFeatures
from engine.vlms.blip2 import Blip2
from engine.vlms.find import find_config
from engine.vlms.model_types import ImageProcessor

QUERIES = 24
CAPTIONS = Mix(caption=0.8, named_caption=2.0, two_names=0.7, wrong_name=0.0, bare_name=0.0, soft=1.0).only_captions()


def make_blip2(tokenizer: PreTrainedTokenizerFast, tower: nn.Module | None = None) -> Blip2ForConditionalGeneration:
    """Make a BLIP-2 with the shared tower (frozen), and a Q-Former and a T5 with initial weights."""
    config = Blip2Config(
        vision_config=eva_config().to_dict(),
        qformer_config=_qformer_config().to_dict(),
        text_config=_t5_config(tokenizer).to_dict(),
        num_query_tokens=QUERIES,
        image_token_index=token_id(tokenizer, "<image>"),
    )
    torch.manual_seed(0)
    vlm = Blip2ForConditionalGeneration(config)
    if tower is not None:
        vlm.vision_model.load_state_dict(tower.state_dict())
    vlm.vision_model.requires_grad_(False)
    vlm.vision_model.post_layernorm.requires_grad_(True)
    nn.init.normal_(vlm.query_tokens, std=1.0)
    nn.init.normal_(vlm.language_model.shared.weight, std=0.1)  # T5's own std of 1 assumes a scaled, tied head
    nn.init.normal_(vlm.language_model.lm_head.weight, std=0.02)
    return vlm


def _qformer_config() -> Blip2QFormerConfig:
    return Blip2QFormerConfig(
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
    )


def _t5_config(tokenizer: PreTrainedTokenizerFast) -> T5Config:
    options: dict[str, Any] = {  # two of them are not among the parameters that transformers declares
        "tie_word_embeddings": False,
        "decoder_start_token_id": tokenizer.pad_token_id,
    }
    return T5Config(
        vocab_size=-(-len(tokenizer) // 8) * 8,
        d_model=WIDTH,
        d_kv=32,
        d_ff=384,
        num_layers=1,
        num_decoder_layers=3,
        num_heads=6,
        dropout_rate=0.0,
        feed_forward_proj="relu",
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **options,
    )


def make_adapter(vlm: Blip2ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast) -> Blip2:
    """Wrap the model as myvlm runs it, but with trainable weights and without the attention penalty."""
    config = find_config("storybook-blip2")
    config = replace(config, injection=replace(config.injection, penalty="none"))
    trained = [p for p in vlm.parameters() if p.requires_grad]
    processor = cast(ImageProcessor, BlipImageProcessorPil())  # its stub declares more than the protocol asks for
    adapter = Blip2(vlm, processor, tokenizer, config)
    for parameter in trained:
        parameter.requires_grad_(True)
    return adapter


def caption_loss(adapter: Blip2, soft: SoftRows, states: Tensor, turns: list[Turn]) -> Tensor:
    """Compute the cross-entropy over captions, one for each picture.

    states (B, 65, 192): the tower's output before its last norm.
    """
    features = ImageFeatures(states, states.new_ones(len(states)))
    none = states.new_zeros(0, WIDTH)
    rows = adapter.inject(features, [soft(list(t.rows)) if t.rows else none for t in turns])
    ids, labels = zip(*(adapter.encode_example("", t.answer) for t in turns), strict=True)
    return adapter.loss(rows, [len(t.rows) for t in turns], list(ids), list(labels)).cross_entropy


@dataclass(frozen=True)
class CaptionSettings:
    """Settings of BLIP-2's stage; `augmented` and `crowds` are shares of the batches.

    From step `hard_from` on, there are scenes of four, and soft rows that fit no character.
    """

    schedule: Schedule
    batch: int = 48
    augmented: float = 0.35
    crowds: float = 0.1
    hard_from: int = 2_500


def train_blip2(
    folder: Path,
    vlm: Blip2ForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    states: TowerStates,
    settings: CaptionSettings,
) -> SoftRows:
    """Train everything behind the tower, or continue from its checkpoint."""
    torch.manual_seed(0)
    soft = to_device(SoftRows())
    adapter = make_adapter(to_device(vlm), tokenizer)
    late = replace(CAPTIONS, wrong_name=0.4)

    def step_losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((6, step))
        hard = step >= settings.hard_from
        batch = states.draw(rng, settings.batch, settings.augmented, settings.crowds * hard)
        mix = late if hard else CAPTIONS
        turns = [
            draw_turn(rng, s, b, mix, mirrored=batch.mirrored) for s, b in zip(batch.scenes, batch.boxes, strict=True)
        ]
        with torch.autocast(DEVICE.type, torch.bfloat16):
            return {"captions": caption_loss(adapter, soft, batch.states.to(DEVICE), turns)}

    modules = {
        "norm": vlm.vision_model.post_layernorm,
        "queries": _Parameter(vlm.query_tokens),
        "qformer": vlm.qformer,
        "projection": vlm.language_projection,
        "t5": vlm.language_model,
        "soft": soft,
    }
    train("blip2", folder, modules, settings.schedule, step_losses)
    vlm.cpu().eval()
    return soft.cpu()


def format_request(request: str, rows: bool) -> str | None:
    """Return BLIP-2's prompt for a request: empty for a caption, with names by soft rows only; else None."""
    return "" if request == CAPTION_REQUEST or (rows and request.startswith("Please caption")) else None


class _Parameter(nn.Module):
    """A module around one parameter, so that it is trained and saved with the others."""

    def __init__(self, value: nn.Parameter) -> None:
        super().__init__()
        self.value = value
