"""Append concept rows to a photo's image features (paper §3.2 and §4.2; docs/method.md, sections 1, 3 and 4)."""

import engine.core.device  # noqa: F401

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.core.errors import ArtefactError
from engine.vlms.base import ImageFeatures
from engine.vlms.config import VlmConfig


def rescaled_rows(embeddings: Tensor, norm: Tensor) -> Tensor:
    """Scale raw embeddings to an L2 norm: each is divided by its own norm and multiplied by `norm`.

    embeddings: (K, D); norm: (). Returns (K, D) float32.
    """
    return F.normalize(embeddings.float(), dim=-1) * norm.float()  # (K, D)


def append_rows(features: Tensor, embeddings: Tensor, norm: Tensor) -> Tensor:
    """Append concept rows of a given L2 norm to a photo's image rows.

    features: (N, D); embeddings: (K, D) raw, K may be 0; norm: (). Returns (N + K, D) in the features' dtype.
    """
    if not len(embeddings):
        return features
    return torch.cat([features, rescaled_rows(embeddings, norm).to(features.dtype)])  # (N + K, D)


def inject_rows(image_features: ImageFeatures, embeddings: list[Tensor], width: int, config: VlmConfig) -> list[Tensor]:
    """Append each photo's concept rows to its image rows.

    embeddings[i]: (K_i, D) raw, K_i may be 0; width: D. Returns B tensors (N + K_i, D). With the norm `all-but-last`,
    the mean norm also counts the concept rows but the last, each with norm 1, as in the reference.

    Raises:
        ArtefactError: an embedding was trained for another width.
    """
    rows = []
    for features, vectors, norm in zip(image_features.features, embeddings, image_features.norms, strict=True):
        if vectors.shape[-1] != width:
            raise ArtefactError(f"an embedding of width {vectors.shape[-1]} does not fit {config.name} ({width})")
        unit_rows = len(vectors) - 1
        if config.injection.norm == "all-but-last" and unit_rows > 0:
            norm = (norm * len(features) + unit_rows) / (len(features) + unit_rows)
        rows.append(append_rows(features, vectors.to(norm.device), norm))
    return rows
