"""Concept rows: from a raw embedding to rows that stand after a photo's image features."""

import engine.core.device  # noqa: F401

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.core.errors import ArtefactError
from engine.vlms.base import ImageFeatures
from engine.vlms.config import VlmConfig


def rescaled_rows(embeddings: Tensor, norm: Tensor) -> Tensor:
    """Rows of a photo's concepts: each embedding divided by its L2 norm, times `norm`.

    embeddings: (K, D) raw; norm: () the L2 norm to take; returns (K, D). (paper §3.2 and §4.2)
    """
    return F.normalize(embeddings.float(), dim=-1) * norm.float()


def append_rows(features: Tensor, embeddings: Tensor, norm: Tensor) -> Tensor:
    """A photo's image features with its concept rows behind them.

    features: (N, D); embeddings: (K, D), K may be 0; norm: (). Returns (N + K, D) in the features' dtype.
    """
    if not len(embeddings):
        return features
    return torch.cat([features, rescaled_rows(embeddings, norm).to(features.dtype)])


def inject_rows(seen: ImageFeatures, embeddings: list[Tensor], width: int, config: VlmConfig) -> list[Tensor]:
    """Each photo's image features with its concept rows behind them: (N + K_i, D); embeddings[i]: (K_i, D) raw.

    With the norm `all-but-last` the unit concept rows but the last count in the mean norm, as in the reference
    (method.md §4).

    Raises:
        ArtefactError: an embedding was trained for another width.
    """
    found = []
    for features, own, norm in zip(seen.features, embeddings, seen.norms, strict=True):
        if own.shape[-1] != width:
            raise ArtefactError(f"an embedding of width {own.shape[-1]} does not fit {config.name} ({width})")
        units = len(own) - 1
        if config.injection.norm == "all-but-last" and units > 0:
            norm = (norm * len(features) + units) / (len(features) + units)
        found.append(append_rows(features, own.to(norm.device), norm))
    return found
