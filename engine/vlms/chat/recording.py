"""Measure attention to and from concept rows in any decoder: the penalty, and maps (docs/method.md, sections 1 and 3).

As in `vlms/attention.py`, with two differences. The recorder is found on a stack, because not every family hands a
keyword down to its layers. And the mask of each layer is honoured: sliding windows, image blocks that look both ways,
and padding on either side.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import engine.core.device  # noqa: F401

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from engine.vlms.attention import register_attention
from engine.vlms.config import Penalty
from engine.vlms.prefix import Continuation, PrefixAttention

IMPLEMENTATION = "myvlm_chat_attention"
_RECORDING: "list[ChatRecorder]" = []
"""The recorders in use, the innermost last."""


class ChatRecorder(Protocol):
    """Receives the queries and keys of every layer while a model runs."""

    def record(self, query: Tensor, key: Tensor, mask: Tensor | None, scaling: float) -> None:
        """Measure one layer; query, key: (B, H, S, d) with positions applied; mask: (B or 1, 1, S, S), else causal."""


@dataclass(frozen=True)
class BehindPrefixes:
    """Hands the layers of the text's self-attention to a penalty behind prefixes."""

    penalty: PrefixAttention
    layout: Continuation

    def record(self, query: Tensor, key: Tensor, mask: Tensor | None, scaling: float) -> None:
        """Measure one layer; query: (B, H, S, d), key: (B, H, P + S, d) with positions applied."""
        rows = max(self.layout.counts)
        if (query.shape[2], key.shape[2]) == (rows, self.layout.at + rows):
            self.penalty.record(query, key, scaling, mask)


@dataclass
class ChatAttention:
    """Measures the attention of concept rows, one layer after the other.

    direction: "row" or "column", the penalty that is summed; "none" for maps only.
    positions: for each concept row, its photo in the batch and its index in that photo's padded sequence.
    valid: (B, S) bool, False at padding.
    images: for each photo the indices of its image tokens, where maps are wanted.
    penalties: one scalar a layer; maps: for each layer, one (N_i,) float32 a concept row, averaged over heads.
    """

    direction: Penalty
    positions: list[tuple[int, int]]
    valid: Tensor
    images: list[list[int]] | None = None
    penalties: list[Tensor] = field(default_factory=list)
    maps: list[list[Tensor]] = field(default_factory=list)

    def total(self) -> Tensor:
        """Return the penalty without its weight, the sum over layers and rows; the terms as in `ConceptAttention`."""
        return torch.stack(self.penalties).sum()

    def mean_maps(self) -> list[Tensor]:
        """Return for each photo (K_i, N_i) float32 on the CPU: probabilities averaged over layers and heads."""
        means = [torch.stack(layers).mean(0).cpu() for layers in zip(*self.maps, strict=True)]  # each (N_b,)
        found = []
        for photo, image in enumerate(self.images or []):
            own = [mean for mean, (b, _) in zip(means, self.positions, strict=True) if b == photo]
            found.append(torch.stack(own) if own else torch.zeros(0, len(image)))
        return found

    def record(self, query: Tensor, key: Tensor, mask: Tensor | None, scaling: float) -> None:
        """Measure one layer; query, key: (B, H, S, d) with positions applied; mask: (B or 1, 1, S, S), else causal."""
        if query.shape[2] != self.valid.shape[1] or key.shape[2] != query.shape[2]:
            return  # a decoding step, or a layer that is no part of the text's self-attention
        seen = [_seen(mask, b, self.valid) for b in range(len(self.valid))]  # each (S, S) bool
        if self.direction != "none":
            measure = _row if self.direction == "row" else _column
            terms = [measure(query[b], key[b], seen[b], self.valid[b], i, scaling) for b, i in self.positions]
            self.penalties.append(torch.stack(terms).sum())  # ()
        if self.images is not None:
            maps = [_map(query[b], key[b], seen[b], self.images[b], i, scaling) for b, i in self.positions]
            self.maps.append(maps)


def _seen(mask: Tensor | None, photo: int, valid: Tensor) -> Tensor:
    """Return which keys each query of a photo looks at: (S, S) bool."""
    size = valid.shape[1]
    if mask is None:
        return torch.ones(size, size, dtype=torch.bool, device=valid.device).tril()
    own = mask[photo if mask.shape[0] > 1 else 0, 0, :, :size]
    return own if own.dtype == torch.bool else own > torch.finfo(own.dtype).min / 2


def _paid(query: Tensor, key: Tensor, seen: Tensor, i: int, scaling: float) -> tuple[Tensor, Tensor]:
    """Return the attention from row i to the rows that it sees, (H, K) float32, and their indices (K,).

    query, key: (H, S, d); seen: (S, S) bool.
    """
    keys = seen[i].nonzero()[:, 0]  # (K,)
    scores = torch.einsum("hd,hkd->hk", query[:, i], key[:, keys]).float() * scaling  # (H, K)
    return scores.softmax(-1), keys


def _map(query: Tensor, key: Tensor, seen: Tensor, image: list[int], i: int, scaling: float) -> Tensor:
    """Return the attention from row i to the image's tokens, averaged over heads: (N,) float32."""
    attention, keys = _paid(query, key, seen, i, scaling)
    whole = attention.new_zeros(query.shape[:2]).index_copy(1, keys, attention)  # (H, S)
    return whole[:, image].mean(0)


def _row(query: Tensor, key: Tensor, seen: Tensor, valid: Tensor, i: int, scaling: float) -> Tensor:
    """Return the mean over heads and keys of the padded sequence of the squared attention from row i (reference)."""
    attention, _ = _paid(query, key, seen, i, scaling)  # (H, K); 0 at all other keys
    return attention.square().sum() / (query.shape[0] * query.shape[1])  # ()


def _column(query: Tensor, key: Tensor, seen: Tensor, valid: Tensor, i: int, scaling: float) -> Tensor:
    """Return the mean over heads and queries without padding of the squared attention to row i (paper)."""
    queries = (seen[:, i] & valid).nonzero()[:, 0]  # (Q,): the others pay the concept none
    keys = (seen[queries].any(0) & valid).nonzero()[:, 0]  # (K,)
    scores = torch.einsum("hqd,hkd->hqk", query[:, queries], key[:, keys]).float() * scaling  # (H, Q, K)
    scores = scores.masked_fill(~seen[queries][:, keys], -torch.inf)
    at = (keys == i).nonzero()[0, 0]
    attention = scores.softmax(-1)[..., at]  # (H, Q)
    return attention.square().sum() / (query.shape[0] * valid.sum())  # ()


@contextmanager
def recording(recorder: ChatRecorder | None) -> Iterator[None]:
    """Let a recorder measure the layers that run inside this block; None measures nothing."""
    if recorder is None:
        yield
        return
    _RECORDING.append(recorder)
    try:
        yield
    finally:
        _RECORDING.pop()


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Run SDPA; the innermost recorder measures the queries and keys first. The signature is transformers'."""
    if _RECORDING:
        groups = query.shape[1] // key.shape[1]
        keys = key.repeat_interleave(groups, 1) if groups > 1 else key  # (B, H, S, d): undo grouped-query attention
        scaling = kwargs.get("scaling")
        _RECORDING[-1].record(query, keys, attention_mask, query.shape[-1] ** -0.5 if scaling is None else scaling)
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)


def install(model: PreTrainedModel, text_config: Any) -> bool:
    """Let the language model of a VLM run the recording attention; returns whether it can.

    A family with soft-capped attention scores (Gemma 2) keeps its own attention, because SDPA has no soft cap.
    """
    if getattr(text_config, "attn_logit_softcapping", None):
        return False
    name = register_attention(IMPLEMENTATION, _attend)
    parts = [p for p in model.modules() if isinstance(p, PreTrainedModel) and p.config is text_config]
    for part in parts:
        part.set_attn_implementation(name)
    return bool(parts)
