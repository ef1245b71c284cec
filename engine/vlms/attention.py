"""The attention penalty of MyVLM, measured while the language model runs.

Only the rows or columns of a concept are computed, from the queries and keys that each layer has at
hand, so no layer has to fall back to eager attention or keep its full probability matrix.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import engine.device  # noqa: F401

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from engine.vlms.config import Penalty

IMPLEMENTATION = "myvlm_concept_attention"


@dataclass
class ConceptAttention:
    """Sums the attention penalty over layers.

    positions: sequence index of each concept row, (C, 2) int64 pairs (photo, index).
    lengths: (B,) int64 valid (unpadded) length of each right-padded sequence.
    """

    direction: Penalty
    positions: list[tuple[int, int]]
    lengths: list[int]
    per_layer: list[Tensor] = field(default_factory=list)

    def total(self) -> Tensor:
        """Sum over layers and photos of the mean of p², the weight not applied.

        row (reference): mean over (heads, keys of the padded sequence), attention the row pays.
        column (paper): mean over (heads, valid queries), attention the row receives.
        """
        return torch.stack(self.per_layer).sum()

    def record(self, query: Tensor, key: Tensor, scaling: float) -> None:
        """Take one layer's rotated queries (B, H, S, d) and keys (B, H, S, d)."""
        measure = self._row if self.direction == "row" else self._column
        terms = [measure(query[b], key[b], i, self.lengths[b], scaling) for b, i in self.positions]
        self.per_layer.append(torch.stack(terms).sum())

    @staticmethod
    def _row(query: Tensor, key: Tensor, i: int, length: int, scaling: float) -> Tensor:
        scores = torch.einsum("hd,hkd->hk", query[:, i], key[:, : i + 1]).float() * scaling
        return scores.softmax(-1).square().sum() / (query.shape[0] * query.shape[1])

    @staticmethod
    def _column(query: Tensor, key: Tensor, i: int, length: int, scaling: float) -> Tensor:
        after = torch.arange(i, length, device=query.device)
        scores = torch.einsum("hqd,hkd->hqk", query[:, i:length], key[:, :length]).float() * scaling
        hidden = torch.arange(length, device=query.device)[None] > after[:, None]
        received = scores.masked_fill(hidden, -torch.inf).softmax(-1)[..., i]
        return received.square().sum() / (query.shape[0] * length)


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    concept_attention: ConceptAttention | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    if concept_attention is not None:
        groups = query.shape[1] // key.shape[1]
        keys = key.repeat_interleave(groups, 1) if groups > 1 else key
        concept_attention.record(query, keys, kwargs["scaling"])
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)


def register() -> str:
    """Make the recording attention known to transformers; returns its name."""
    attend: Callable[..., Any] = _attend
    AttentionInterface.register(IMPLEMENTATION, attend)
    AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)
    return IMPLEMENTATION
