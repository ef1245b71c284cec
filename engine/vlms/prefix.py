"""Train from cached keys and values: what stands before a concept row in a decoder never depends on it.

With causal attention, the rows of the system's text and of the photo see neither the concept row nor what follows it.
Their keys and values are computed once without gradients (`Prefix`); each step then runs only over the concept row and
the text behind it. Losses and gradients equal those of the whole sequence up to rounding (docs/method.md, section 1).
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, Protocol, cast, runtime_checkable

import engine.core.device  # noqa: F401

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import DynamicCache

from engine.vlms.base import Losses
from engine.vlms.config import Penalty

_STRETCHED = ("dynamic", "longrope")
"""Rotary embeddings whose angles depend on the length of the sequence."""


@dataclass(frozen=True)
class Prefix:
    """The keys and values of one sequence up to its concept row.

    layers: for each layer, keys and values, (1, H, P, d) each, with rotary positions applied.
    norm: (), the L2 norm that the concept row is given.
    shift: what is added to the index of a later row to get its position; not 0 with M-RoPE, where a photo takes fewer
        positions than it has rows.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]
    norm: Tensor
    shift: int = 0

    @property
    def length(self) -> int:
        """The number of rows P."""
        return self.layers[0][0].shape[2]

    @property
    def nbytes(self) -> int:
        """The bytes of all keys and values."""
        return sum(k.nbytes + v.nbytes for k, v in self.layers)


@runtime_checkable
class PrefixVlm(Protocol):
    """A VLM that can compute training losses from cached prefixes; features are those of one photo."""

    @property
    def caches_prefixes(self) -> bool:
        """Whether its losses from prefixes equal those of `Vlm.loss`."""

    def head_of(self, image_features: Any, ids: Any) -> Hashable:
        """Return what the prefix of a prompt depends on beside the photo: the tokens before its concept row."""

    def prefix(self, image_features: Any, ids: Any) -> Prefix:
        """Compute the prefix of a photo and a prompt."""

    def loss_behind(
        self,
        seen: Sequence[tuple[Any, Prefix]],
        embedding: Tensor,
        ids: Sequence[Any],
        labels: Sequence[Any],
        penalty_weight: float | None = None,
    ) -> Losses:
        """Compute the losses of `Vlm.loss` for a batch with one concept row a photo.

        seen: each photo's features and prefix; embedding: (1, D) raw.
        """


def has_causal_layers(text_config: Any, *, windows: bool = False) -> bool:
    """Return whether a decoder's layers keep keys and values of earlier rows, at positions that no later row changes.

    Not so with linear attention, and with rotary embeddings that stretch with the sequence.

    windows: whether layers may look at the latest rows only.
    """
    kinds = set(getattr(text_config, "layer_types", None) or ())
    windowed = getattr(text_config, "sliding_window", None) and getattr(text_config, "use_sliding_window", True)
    kinds |= {"sliding_attention"} if windowed and not kinds else set()
    rope = getattr(text_config, "rope_parameters", None) or {}
    allowed = {"full_attention", "sliding_attention"} if windows else {"full_attention"}
    return kinds <= allowed and rope.get("rope_type") not in _STRETCHED


@dataclass(frozen=True)
class Continuation:
    """Where the rows of a batch stand: prefixes padded on the left, the rest padded on the right.

    prefixes: each photo's; counts: the number of rows S_i behind each prefix, the concept row included.
    """

    prefixes: Sequence[Prefix]
    counts: list[int]

    @property
    def at(self) -> int:
        """The index of every concept row: the length P of the longest prefix."""
        return max(p.length for p in self.prefixes)

    @property
    def lengths(self) -> list[int]:
        """The length of each whole sequence without padding."""
        return [p.length + count for p, count in zip(self.prefixes, self.counts, strict=True)]

    def mask(self) -> Tensor:
        """Return which keys are no padding: (B, P + S) bool."""
        device = self.prefixes[0].norm.device
        index = torch.arange(self.at + max(self.counts), device=device)[None]
        starts = torch.tensor([self.at - p.length for p in self.prefixes], device=device)[:, None]
        ends = torch.tensor([self.at + count for count in self.counts], device=device)[:, None]
        return (index >= starts) & (index < ends)

    def positions(self) -> Tensor:
        """Return the position of each row behind the prefixes: (B, S) int64."""
        device = self.prefixes[0].norm.device
        first = torch.tensor([p.length + p.shift for p in self.prefixes], device=device)[:, None]
        return first + torch.arange(max(self.counts), device=device)[None]

    def cache(self) -> DynamicCache:
        """Make a cache that holds the prefixes of the batch."""
        layers = zip(*(p.layers for p in self.prefixes), strict=True)
        return DynamicCache([(self._joined([k for k, _ in own]), self._joined([v for _, v in own])) for own in layers])

    def _joined(self, parts: Sequence[Tensor]) -> Tensor:
        """Join tensors (1, H, P_i, d), padded on the left: (B, H, P, d)."""
        return torch.cat([F.pad(part, (0, 0, self.at - part.shape[2], 0)) for part in parts])

    def penalty(self, direction: Penalty) -> "PrefixAttention | None":
        """Make a recorder of the penalty; None for "none"."""
        return None if direction == "none" else PrefixAttention(direction, self.at, self.lengths, self.mask())


@dataclass
class PrefixAttention:
    """The penalty of `attention.ConceptAttention`, where the queries are those behind the prefixes only.

    at: the index of every concept row among the keys; lengths: of whole sequences without padding; valid: (B, P + S).
    """

    direction: Penalty
    at: int
    lengths: list[int]
    valid: Tensor
    per_layer: list[Tensor] = field(default_factory=list)

    def total(self) -> Tensor:
        """Return the sum over layers and photos, a scalar without its weight λ."""
        return torch.stack(self.per_layer).sum()

    def mean(self) -> Tensor:
        """Return `total` divided by the number of photos."""
        return self.total() / len(self.lengths)

    def record(self, query: Tensor, key: Tensor, scaling: float, mask: Tensor | None = None) -> None:
        """Measure one layer; query: (B, H, S, d), key: (B, H, P + S, d), with rotary positions applied.

        mask: (B or 1, 1, S, P + S), what each query sees; None for all valid keys up to itself.
        """
        seen = self._causal() if mask is None else _is_seen(mask[:, 0])
        self.per_layer.append((self._row if self.direction == "row" else self._column)(query, key, seen, scaling))  # ()

    def _causal(self) -> Tensor:
        """Return which keys each query sees: (B, S, P + S) bool."""
        index = torch.arange(self.valid.shape[1], device=self.valid.device)
        return self.valid[:, None] & (index[None] <= index[self.at :, None])

    def _row(self, query: Tensor, key: Tensor, seen: Tensor, scaling: float) -> Tensor:
        keys = slice(self.at + 1)  # later ones are hidden from the concept row
        scores = torch.einsum("bhd,bhkd->bhk", query[:, :, 0], key[:, :, keys]).float() * scaling  # (B, H, P + 1)
        attention = scores.masked_fill(~seen[:, None, 0, keys], -torch.inf).softmax(-1)
        return attention.square().sum() / (query.shape[1] * max(self.lengths))  # ()

    def _column(self, query: Tensor, key: Tensor, seen: Tensor, scaling: float) -> Tensor:
        scores = torch.einsum("bhqd,bhkd->bhqk", query, key).float() * scaling  # (B, H, S, P + S)
        paying = (seen[..., self.at] & self.valid[:, self.at :])[:, None]  # (B, 1, S): the others pay the concept none
        hidden = (
            ~seen[:, None] & paying[..., None]
        )  # rows of padding hide nothing: a softmax of nothing is not a number
        attention = scores.masked_fill(hidden, -torch.inf).softmax(-1)[..., self.at]  # (B, H, S)
        squares = (attention.square() * paying).sum((1, 2))  # (B,)
        return (squares / (query.shape[1] * torch.tensor(self.lengths, device=key.device))).sum()  # ()


def _is_seen(mask: Tensor) -> Tensor:
    """Convert a mask of bool, or of what is added to the scores, to bool."""
    return mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2


def cache_argument(decoder: Any) -> str:
    """Return what a decoder's `forward` calls its cache: transformers 5.24 renamed `past_key_values` to `cache`."""
    return "cache" if "cache" in signature(decoder.forward).parameters else "past_key_values"


def layers_of(cache: DynamicCache) -> tuple[tuple[Tensor, Tensor], ...]:
    """Return the keys and values that a decoder has put into a cache."""
    layers = cast(Sequence[Any], cache.layers)  # their class has no keys in transformers' annotations
    return tuple((layer.keys, layer.values) for layer in layers)
