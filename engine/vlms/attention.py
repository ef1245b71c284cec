"""Attention to and from concept rows, measured while a language model runs: the penalty of MyVLM, and its maps.

Only the rows or columns of a concept are computed, from the queries and keys that each layer has at
hand, so no layer has to fall back to eager attention or keep its full probability matrix.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import engine.core.device  # noqa: F401

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from engine.core.errors import UsageError
from engine.vlms.config import Penalty, VlmConfig

IMPLEMENTATION = "myvlm_concept_attention"


def check_decoder(config: VlmConfig, norms: tuple[str, ...]) -> None:
    """Make sure that a decoder can do what a config's injection asks for.

    Raises:
        UsageError: its norm is none of `norms`, or its penalty is BLIP-2's.
    """
    injection = config.injection
    if injection.norm not in norms:
        raise UsageError(f"{config.name} has no norm {injection.norm!r}", hint=f"Possible: {', '.join(norms)}.")
    if injection.penalty not in ("row", "column", "none"):
        raise UsageError(
            f"{config.name} has no penalty {injection.penalty!r}", hint="Possible for decoders: row, column, none."
        )


class Recorder(Protocol):
    """What looks at the queries and keys of every layer."""

    def record(self, query: Tensor, key: Tensor, scaling: float) -> None:
        """Take one layer's rotated queries (B, H, S, d) and keys (B, H, S, d)."""


@dataclass
class ConceptAttention:
    """Sums the attention penalty over layers.

    positions: of each concept row its photo and its index in that photo's sequence.
    lengths: of each photo the valid (unpadded) length of its right-padded sequence.
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

    def mean(self) -> Tensor:
        """The same as a mean over the photos that have a concept (MiniGPT-v2 in the reference)."""
        return self.total() / len({photo for photo, _ in self.positions})

    def record(self, query: Tensor, key: Tensor, scaling: float) -> None:
        """Take one layer's rotated queries (B, H, S, d) and keys (B, H, S, d)."""
        measure = self._row if self.direction == "row" else self._column
        terms = [measure(query[b], key[b], i, self.lengths[b], scaling) for b, i in self.positions]
        self.per_layer.append(torch.stack(terms).sum())

    @staticmethod
    def _row(query: Tensor, key: Tensor, i: int, length: int, scaling: float) -> Tensor:
        return _paid(query, key, i, scaling).square().sum() / (query.shape[0] * query.shape[1])

    @staticmethod
    def _column(query: Tensor, key: Tensor, i: int, length: int, scaling: float) -> Tensor:
        after = torch.arange(i, length, device=query.device)
        scores = torch.einsum("hqd,hkd->hqk", query[:, i:length], key[:, :length]).float() * scaling
        hidden = torch.arange(length, device=query.device)[None] > after[:, None]
        received = scores.masked_fill(hidden, -torch.inf).softmax(-1)[..., i]
        return received.square().sum() / (query.shape[0] * length)


@dataclass
class ConceptMaps:
    """What each concept row pays to the image rows before it, kept layer by layer.

    positions: as in `ConceptAttention`; starts, counts: (B,) first image row of each photo, and how many.
    """

    positions: list[tuple[int, int]]
    starts: list[int]
    counts: list[int]
    per_layer: list[list[Tensor]] = field(default_factory=list)

    def record(self, query: Tensor, key: Tensor, scaling: float) -> None:
        """Take one layer's rotated queries (B, H, S, d) and keys (B, H, S, d)."""
        paid = []
        for b, i in self.positions:
            image = slice(self.starts[b], self.starts[b] + self.counts[b])
            paid.append(_paid(query[b], key[b], i, scaling)[:, image].mean(0))
        self.per_layer.append(paid)

    def maps(self) -> list[Tensor]:
        """For every photo (K_i, N_i) float32 on the CPU: probabilities averaged over layers and heads."""
        means = [torch.stack(layers).mean(0).cpu() for layers in zip(*self.per_layer, strict=True)]
        found = []
        for photo, count in enumerate(self.counts):
            own = [m for m, (b, _) in zip(means, self.positions, strict=True) if b == photo]
            found.append(torch.stack(own) if own else torch.zeros(0, count))
        return found


@dataclass(frozen=True)
class Layout:
    """Where image and concept rows stand in a batch of right-padded sequences.

    For each photo: `starts` its first image row, `rows` how many rows follow from there (concepts included),
    `concepts` how many of the last ones are concepts, `lengths` of the whole sequence.
    """

    starts: list[int]
    rows: list[int]
    concepts: list[int]
    lengths: list[int]

    def _positions(self) -> list[tuple[int, int]]:
        ends = [start + rows for start, rows in zip(self.starts, self.rows, strict=True)]
        return [(b, ends[b] - k) for b, count in enumerate(self.concepts) for k in range(count, 0, -1)]

    def penalty(self, direction: Penalty) -> ConceptAttention | None:
        """A recorder of the penalty; None when there is nothing to penalise."""
        positions = self._positions()
        return ConceptAttention(direction, positions, self.lengths) if positions and direction != "none" else None

    def maps(self) -> ConceptMaps:
        """A recorder of the concepts' maps."""
        counts = [rows - k for rows, k in zip(self.rows, self.concepts, strict=True)]
        return ConceptMaps(self._positions(), self.starts, counts)


def _paid(query: Tensor, key: Tensor, i: int, scaling: float) -> Tensor:
    """Attention that row i pays to the keys up to itself: (H, i + 1) float32."""
    scores = torch.einsum("hd,hkd->hk", query[:, i], key[:, : i + 1]).float() * scaling
    return scores.softmax(-1)


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    concept_attention: Recorder | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    if concept_attention is not None:
        groups = query.shape[1] // key.shape[1]
        keys = key.repeat_interleave(groups, 1) if groups > 1 else key
        concept_attention.record(query, keys, kwargs["scaling"])
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)


def register() -> str:
    """Make the recording attention known to transformers; returns its name."""
    return make_known(IMPLEMENTATION, _attend)


def make_known(name: str, attend: Callable[..., Any]) -> str:
    """Make an attention function that falls back to SDPA, with SDPA's masks, known to transformers by a name."""
    AttentionInterface.register(name, attend)
    AttentionMaskInterface.register(name, sdpa_mask)
    return name
