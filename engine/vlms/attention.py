"""Measure attention to and from concept rows while a decoder runs: MyVLM's penalty and attention maps.

The rows or columns of the concepts are computed from the queries and keys of each layer, so that the layers keep SDPA
and no full probability matrix is stored. The formulas are in docs/method.md, sections 1, 3 and 4.
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
    """Check that a decoder supports the norm and the penalty of a config.

    norms: the norms that this family supports.

    Raises:
        UsageError: the norm is not one of `norms`, or the penalty is one of BLIP-2's alone.
    """
    injection = config.injection
    if injection.norm not in norms:
        raise UsageError(f"{config.name} has no norm {injection.norm!r}", hint=f"Possible: {', '.join(norms)}.")
    if injection.penalty not in ("row", "column", "none"):
        raise UsageError(
            f"{config.name} has no penalty {injection.penalty!r}", hint="Possible for decoders: row, column, none."
        )


class Recorder(Protocol):
    """Receives the queries and keys of every layer while a decoder runs."""

    def record(self, query: Tensor, key: Tensor, scaling: float) -> None:
        """Measure one layer; query, key: (B, H, S, d) with rotary positions applied; scaling: usually 1 / sqrt(d)."""


@dataclass
class ConceptAttention:
    """Sums the attention penalty R over layers (docs/method.md, section 3).

    direction: "row" (reference) or "column" (paper).
    positions: for each concept row, its photo in the batch and its index in that photo's sequence.
    lengths: for each photo, the length of its sequence without the padding on its right.
    per_layer: one scalar a layer, filled by `record`.
    """

    direction: Penalty
    positions: list[tuple[int, int]]
    lengths: list[int]
    per_layer: list[Tensor] = field(default_factory=list)

    def total(self) -> Tensor:
        """Return the sum over layers and concept rows of the mean of p², a scalar without its weight λ.

        row (reference): p is the attention from the concept row; mean over heads and keys of the padded sequence.
        column (paper): p is the attention to the concept row; mean over heads and queries without padding.
        """
        return torch.stack(self.per_layer).sum()

    def mean(self) -> Tensor:
        """Return `total` divided by the number of photos that have a concept (MiniGPT-v2 in the reference)."""
        return self.total() / len({photo for photo, _ in self.positions})

    def record(self, query: Tensor, key: Tensor, scaling: float) -> None:
        """Measure one layer; query, key: (B, H, S, d) with rotary positions applied; scaling: usually 1 / sqrt(d)."""
        measure = self._row if self.direction == "row" else self._column
        terms = [measure(query[b], key[b], i, self.lengths[b], scaling) for b, i in self.positions]
        self.per_layer.append(torch.stack(terms).sum())  # ()

    @staticmethod
    def _row(query: Tensor, key: Tensor, i: int, length: int, scaling: float) -> Tensor:
        attention = _attention_from(query, key, i, scaling)  # (H, i + 1); later keys are hidden and count as 0
        return attention.square().sum() / (query.shape[0] * query.shape[1])  # ()

    @staticmethod
    def _column(query: Tensor, key: Tensor, i: int, length: int, scaling: float) -> Tensor:
        after = torch.arange(i, length, device=query.device)  # (Q,): only queries from i on see the concept
        scores = torch.einsum("hqd,hkd->hqk", query[:, i:length], key[:, :length]).float() * scaling  # (H, Q, length)
        hidden = torch.arange(length, device=query.device)[None] > after[:, None]  # (Q, length), causal
        attention = scores.masked_fill(hidden, -torch.inf).softmax(-1)[..., i]  # (H, Q)
        return attention.square().sum() / (query.shape[0] * length)  # ()


@dataclass
class ConceptMaps:
    """Collects the attention from each concept row to the image rows before it (paper fig. 3).

    positions: as in `ConceptAttention`.
    starts, counts: for each photo, the index of its first image row in the sequence, and its number of image rows.
    per_layer: for each layer, one (N_i,) float32 a concept row, averaged over heads; filled by `record`.
    """

    positions: list[tuple[int, int]]
    starts: list[int]
    counts: list[int]
    per_layer: list[list[Tensor]] = field(default_factory=list)

    def record(self, query: Tensor, key: Tensor, scaling: float) -> None:
        """Measure one layer; query, key: (B, H, S, d) with rotary positions applied; scaling: usually 1 / sqrt(d)."""
        attention = []
        for b, i in self.positions:
            image = slice(self.starts[b], self.starts[b] + self.counts[b])
            attention.append(_attention_from(query[b], key[b], i, scaling)[:, image].mean(0))  # (N_b,)
        self.per_layer.append(attention)

    def maps(self) -> list[Tensor]:
        """Return for each photo (K_i, N_i) float32 on the CPU: probabilities averaged over layers and heads."""
        means = [torch.stack(layers).mean(0).cpu() for layers in zip(*self.per_layer, strict=True)]  # each (N_b,)
        maps = []
        for photo, count in enumerate(self.counts):
            of_photo = [mean for mean, (b, _) in zip(means, self.positions, strict=True) if b == photo]
            maps.append(torch.stack(of_photo) if of_photo else torch.zeros(0, count))  # (K_i, N_i)
        return maps


@dataclass(frozen=True)
class Layout:
    """The positions of image and concept rows in a batch of right-padded sequences.

    Each list has one number for each photo: `starts` is the index of the first image row, `rows` the number of rows
    from there on (concepts included), `concepts` how many of the last rows are concepts, and `lengths` the length of
    the whole sequence without padding.
    """

    starts: list[int]
    rows: list[int]
    concepts: list[int]
    lengths: list[int]

    def _positions(self) -> list[tuple[int, int]]:
        ends = [start + rows for start, rows in zip(self.starts, self.rows, strict=True)]
        return [(b, ends[b] - k) for b, count in enumerate(self.concepts) for k in range(count, 0, -1)]

    def penalty(self, direction: Penalty) -> ConceptAttention | None:
        """Make a recorder of the penalty; None for "none", or when no photo has a concept."""
        positions = self._positions()
        return ConceptAttention(direction, positions, self.lengths) if positions and direction != "none" else None

    def maps(self) -> ConceptMaps:
        """Make a recorder of the concepts' attention maps."""
        counts = [rows - k for rows, k in zip(self.rows, self.concepts, strict=True)]
        return ConceptMaps(self._positions(), self.starts, counts)


def _attention_from(query: Tensor, key: Tensor, i: int, scaling: float) -> Tensor:
    """Return the attention from row i to the rows up to itself: (H, i + 1) float32; query, key: (H, S, d)."""
    scores = torch.einsum("hd,hkd->hk", query[:, i], key[:, : i + 1]).float() * scaling  # (H, i + 1)
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
    """Run SDPA; a recorder, where given, measures the queries and keys first. The signature is transformers'."""
    if concept_attention is not None:
        groups = query.shape[1] // key.shape[1]
        keys = key.repeat_interleave(groups, 1) if groups > 1 else key  # (B, H, S, d): undo grouped-query attention
        concept_attention.record(query, keys, kwargs["scaling"])
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)


def register() -> str:
    """Register the recording attention with transformers; returns its name."""
    return register_attention(IMPLEMENTATION, _attend)


def register_attention(name: str, attend: Callable[..., Any]) -> str:
    """Register an attention function with transformers, with the masks of SDPA; returns the name."""
    AttentionInterface.register(name, attend)
    AttentionMaskInterface.register(name, sdpa_mask)
    return name
