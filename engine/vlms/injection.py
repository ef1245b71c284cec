"""Concept rows: from a raw embedding to rows that stand after a photo's image features."""

import engine.device  # noqa: F401

import torch
from torch import Tensor
from torch.nn import functional as F


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
