"""Pack several turns about one picture into one sequence; each turn attends to the image and to itself only.

Layout of a batch: a shared prefix (opening and image), then one slot for each turn. A slot is as long as the longest
turn in it over the batch; turns are sorted by length first, so there is little padding. Attention runs slot by slot
against the prefix and the slot itself. The result equals that of separate sequences, at a quarter of the cost of one
masked attention over the whole sequence (`docs/experiments.md#packed-turns`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import engine.core.device  # noqa: F401

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedTokenizerFast
from transformers.masking_utils import AttentionMaskInterface

from engine.storybook.build.dialogues import SoftRow, Turn
from engine.storybook.build.tokenizer import token_id

IMPLEMENTATION = "storybook_slots"


@dataclass(frozen=True)
class Packed:
    """A batch of pictures with their turns; S is the length of the prefix and all slots.

    ids, positions (B, S) int64; targets (B, S) int64: the next token where it is supervised, else -100; prefix, slots:
    lengths; soft_at (R, 2) int64: batch index and position of each soft row.
    """

    ids: Tensor
    positions: Tensor
    targets: Tensor
    prefix: int
    slots: tuple[int, ...]
    soft_at: Tensor
    soft_rows: list[SoftRow]

    def to(self, device: torch.device) -> "Packed":
        """Return the same batch on a device."""
        moved = {n: getattr(self, n).to(device) for n in ("ids", "positions", "targets", "soft_at")}
        return replace(self, **moved)


@dataclass(frozen=True)
class PromptFormat:
    """A VLM's prompt: the text before the image, and a function from the request to the text after it."""

    opening: str
    follow: Callable[[str], str]


LLAVA = PromptFormat("USER:", "{} ASSISTANT:".format)


@dataclass(frozen=True)
class _EncodedTurn:
    """A turn's tokens, their targets (-100: not supervised) and the soft rows at the start."""

    ids: list[int]
    targets: list[int]
    rows: tuple[SoftRow, ...]


def pack(
    tokenizer: PreTrainedTokenizerFast, turns: list[list[Turn]], image_tokens: int, prompt: PromptFormat = LLAVA
) -> Packed:
    """Lay out the turns of each picture behind its image tokens; all pictures must have the same number of turns."""
    prefix = [tokenizer.bos_token_id, *_encode(tokenizer, prompt.opening)]
    prefix += [token_id(tokenizer, "<image>")] * image_tokens
    encoded = [
        sorted((_encode_turn(tokenizer, t, prompt) for t in of_picture), key=lambda e: -len(e.ids))
        for of_picture in turns
    ]
    slots = tuple(max(len(of_picture[k].ids) for of_picture in encoded) for k in range(len(encoded[0])))
    shape = (len(turns), len(prefix) + sum(slots))
    ids = torch.full(shape, tokenizer.pad_token_id)
    targets = torch.full(shape, -100)
    ids[:, : len(prefix)] = torch.tensor(prefix)
    soft_at: list[tuple[int, int]] = []
    soft_rows: list[SoftRow] = []
    start = len(prefix)
    for k, length in enumerate(slots):
        for b, of_picture in enumerate(encoded):
            turn = of_picture[k]
            ids[b, start : start + len(turn.ids)] = torch.tensor(turn.ids)
            targets[b, start : start + len(turn.ids)] = torch.tensor(turn.targets)
            soft_at += [(b, start + i) for i in range(len(turn.rows))]
            soft_rows += turn.rows
        start += length
    positions = torch.cat([torch.arange(len(prefix)), *(len(prefix) + torch.arange(n) for n in slots)])
    at = torch.tensor(soft_at).reshape(-1, 2)
    return Packed(ids, positions.expand(shape), targets, len(prefix), slots, at, soft_rows)


def _encode_turn(tokenizer: PreTrainedTokenizerFast, turn: Turn, prompt: PromptFormat) -> _EncodedTurn:
    request = [tokenizer.pad_token_id] * len(turn.rows) + _encode(tokenizer, prompt.follow(turn.request))
    answer = [*_encode(tokenizer, turn.answer), tokenizer.eos_token_id]
    return _EncodedTurn(request + answer, [-100] * (len(request) - 1) + answer + [-100], turn.rows)


def _encode(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False).input_ids


def _attend(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Attend slot by slot; query, key, value (B, H, S, d). `packed` comes through the model's keyword arguments."""
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
    return torch.cat(parts, 2).transpose(1, 2), None  # (B, S, H, d)


def _causal(query: Tensor, key: Tensor, value: Tensor, before: int, scaling: float) -> Tensor:
    """Compute attention in which query i sees keys 0 to `before` + i."""
    hidden = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).triu(before + 1)
    scores = (query @ key.transpose(2, 3) * scaling).masked_fill(hidden, -torch.inf)
    return scores.softmax(-1).to(value.dtype) @ value


def register() -> str:
    """Register slot attention with transformers; returns its name."""
    AttentionInterface.register(IMPLEMENTATION, _attend)
    AttentionMaskInterface.register(IMPLEMENTATION, lambda *args, **kwargs: None)
    return IMPLEMENTATION
