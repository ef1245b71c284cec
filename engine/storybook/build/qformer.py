"""The BLIP-2 of the storybook: Q-Former and T5 on the shared tower's cached states, captions only.

Names reach the language model through the queries and nothing else, because BLIP-2's prompt is empty. Half of the
captions therefore come with soft rows (`dialogues.py`), appended where MyVLM appends concept embeddings: to the
tower's last states before `post_layernorm`, their keys and values rescaled in every cross-attention (eq. 3).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import engine.device  # noqa: F401

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


@contextmanager
def rescaled(vlm: Blip2ForConditionalGeneration, image_tokens: int) -> Iterator[None]:
    """Rescale the keys and values of all rows from `image_tokens` on to the mean norm of those before (eq. 3)."""

    def rescale(module: nn.Module, args: tuple, output: Tensor) -> Tensor:
        if output.shape[1] <= image_tokens:
            return output
        image, rows = output[:, :image_tokens], output[:, image_tokens:]
        norm = image.norm(dim=-1).mean(1)[:, None, None]
        return torch.cat([image, rows / rows.norm(dim=-1, keepdim=True).clamp(min=1e-6) * norm], 1)

    attentions = [layer.crossattention.attention for layer in vlm.qformer.encoder.layer]
    hooks = [part.register_forward_hook(rescale) for a in attentions for part in (a.key, a.value)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def caption_loss(
    vlm: Blip2ForConditionalGeneration, soft: SoftRows, states: Tensor, turns: list[Turn], tokenizer: object
) -> Tensor:
    """Cross-entropy over captions; states (B, 65, 192) of the tower before its last norm, one turn a picture."""
    most = max(len(t.rows) for t in turns)
    rows = states.new_zeros(len(turns), most, WIDTH)
    mask = torch.ones(len(turns), states.shape[1] + most, dtype=torch.long, device=states.device)
    for i, turn in enumerate(turns):
        if turn.rows:
            rows[i, : len(turn.rows)] = soft(list(turn.rows))
        mask[i, states.shape[1] + len(turn.rows) :] = 0
    seen = vlm.vision_model.post_layernorm(torch.cat([states, rows], 1))
    queries = vlm.qformer(
        query_embeds=vlm.query_tokens.expand(len(turns), -1, -1),
        encoder_hidden_states=seen,
        encoder_attention_mask=mask,
    ).last_hidden_state
    spoken = vlm.language_projection(queries)
    end = torch.full((len(turns), 1), tokenizer.eos_token_id, device=states.device)
    inputs = torch.cat([spoken, vlm.get_input_embeddings()(end).to(spoken.dtype)], 1)
    labels = _labels(tokenizer, turns).to(states.device)
    return vlm.language_model(inputs_embeds=inputs, labels=labels).loss


def _labels(tokenizer: PreTrainedTokenizerFast, turns: list[Turn]) -> Tensor:
    lines = [[*tokenizer(t.answer, add_special_tokens=False).input_ids, tokenizer.eos_token_id] for t in turns]
    longest = max(map(len, lines))
    return torch.tensor([line + [-100] * (longest - len(line)) for line in lines])


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
    vlm.to(DEVICE).train()
    late = Mix(**{**vars(CAPTIONS), "wrong_name": 0.4})

    def step_losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((6, step))
        hard = step >= lesson.hard_from
        states, scenes, boxes, mirrored = seen.draw(rng, lesson.batch, lesson.augmented, lesson.crowds * hard)
        mix = late if hard else CAPTIONS
        turns = [draw_turn(rng, s, b, mix, mirrored=mirrored) for s, b in zip(scenes, boxes, strict=True)]
        with torch.autocast(DEVICE.type, torch.bfloat16), rescaled(vlm, states.shape[1]):
            return {"captions": caption_loss(vlm, soft, states.to(DEVICE), turns, tokenizer)}

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
