"""Several turns about one picture in one sequence, each seeing the image and itself only.

Layout of a batch: a shared prefix (image and cue), then one slot a turn. Slots are as long as the
longest turn that stands in them over the batch, and turns are sorted by length first, so little is
padded. Attention runs slot by slot against the prefix and the slot itself, which equals asking every
turn alone at a quarter of the cost of one big masked attention.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import engine.core.device  # noqa: F401

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedTokenizerFast
from transformers.masking_utils import AttentionMaskInterface

from engine.storybook.build.dialogues import Turn

IMPLEMENTATION = "storybook_slots"


@dataclass(frozen=True)
class Packed:
    """A batch of pictures with their turns; S = prefix + all slots.

    ids, positions (B, S) int64; targets (B, S) int64: the next token where it is supervised, else -100;
    soft_at (R, 2) int64: batch row and sequence index of each soft row.
    """

    ids: Tensor
    positions: Tensor
    targets: Tensor
    prefix: int
    slots: tuple[int, ...]
    soft_at: Tensor
    soft_rows: list[tuple[int, ...]]

    def to(self, device: torch.device) -> "Packed":
        """The same batch on a device."""
        moved = {n: getattr(self, n).to(device) for n in ("ids", "positions", "targets", "soft_at")}
        return replace(self, **moved)


@dataclass(frozen=True)
class Form:
    """How a VLM's prompts read: what stands before the image, and what follows it."""

    opening: str
    follow: Callable[[str], str]


LLAVA = Form("USER:", "{} ASSISTANT:".format)


def pack(tokenizer: PreTrainedTokenizerFast, turns: list[list[Turn]], image_tokens: int, form: Form = LLAVA) -> Packed:
    """Lay out the turns of each picture behind its image tokens; every picture has as many turns."""
    image = tokenizer.convert_tokens_to_ids("<image>")
    prefix = [tokenizer.bos_token_id, *_encode(tokenizer, form.opening), *[image] * image_tokens]
    encoded = [sorted((_encode_turn(tokenizer, t, form) for t in own), key=lambda e: -len(e[0])) for own in turns]
    slots = tuple(max(len(own[k][0]) for own in encoded) for k in range(len(encoded[0])))
    shape = (len(turns), len(prefix) + sum(slots))
    ids = torch.full(shape, tokenizer.pad_token_id)
    targets = torch.full(shape, -100)
    ids[:, : len(prefix)] = torch.tensor(prefix)
    soft_at, soft_rows = [], []
    start = len(prefix)
    for k, length in enumerate(slots):
        for b, own in enumerate(encoded):
            text, answer, rows = own[k]
            ids[b, start : start + len(text)] = torch.tensor(text)
            targets[b, start : start + len(text)] = torch.tensor(answer)
            soft_at += [(b, start + i) for i in range(len(rows))]
            soft_rows += rows
        start += length
    positions = torch.cat([torch.arange(len(prefix)), *(len(prefix) + torch.arange(n) for n in slots)])
    at = torch.tensor(soft_at).reshape(-1, 2)
    return Packed(ids, positions.expand(shape), targets, len(prefix), slots, at, soft_rows)


def _encode_turn(tokenizer: PreTrainedTokenizerFast, turn: Turn, form: Form) -> tuple[list[int], list[int], tuple]:
    request = [tokenizer.pad_token_id] * len(turn.rows) + _encode(tokenizer, form.follow(turn.request))
    answer = [*_encode(tokenizer, turn.answer), tokenizer.eos_token_id]
    return request + answer, [-100] * (len(request) - 1) + answer + [-100], turn.rows


def _encode(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False).input_ids


def _attend(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, **kwargs: Any
) -> tuple[Tensor, None]:
    """query, key, value (B, H, S, d) in the layout of `packed`, passed through the model's keyword arguments."""
    packed: Packed = kwargs["packed"]
    scaling, start = kwargs["scaling"], packed.prefix
    shared_k, shared_v = key[:, :, :start], value[:, :, :start]
    parts = [_causal(query[:, :, :start], shared_k, shared_v, 0, scaling)]
    for length in packed.slots:
        here = slice(start, start + length)
        k = torch.cat([shared_k, key[:, :, here]], 2)
        v = torch.cat([shared_v, value[:, :, here]], 2)
        parts.append(_causal(query[:, :, here], k, v, packed.prefix, scaling))
        start += length
    return torch.cat(parts, 2).transpose(1, 2), None


def _causal(query: Tensor, key: Tensor, value: Tensor, before: int, scaling: float) -> Tensor:
    """Attention in which query i sees keys 0..before+i."""
    hidden = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).triu(before + 1)
    scores = (query @ key.transpose(2, 3) * scaling).masked_fill(hidden, -torch.inf)
    return scores.softmax(-1).to(value.dtype) @ value


def register() -> str:
    """Make slot attention known to transformers; returns its name."""
    AttentionInterface.register(IMPLEMENTATION, _attend)
    AttentionMaskInterface.register(IMPLEMENTATION, lambda *args, **kwargs: None)
    return IMPLEMENTATION
