"""Cross-attention of BLIP-2's Q-Former with concept rows: rescaling (paper eq. 3), penalty (eq. 4) and attention maps.

docs/method.md, section 2, has the formulas and where paper and reference differ.
"""

from dataclasses import dataclass, field
from typing import Any

import engine.core.device  # noqa: F401

import torch
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from engine.vlms.attention import register_attention
from engine.vlms.config import Penalty

IMPLEMENTATION = "myvlm_concept_rows"


def rescale_concepts(states: Tensor, image_rows: int) -> Tensor:
    """Rescale the concepts' keys or values of one cross-attention layer to the mean norm of the image's (eq. 3).

    states: (B, H, S, d), split into heads; the norm of a row is the L2 norm over all its heads together. Rows from
    index `image_rows` on are divided by their own norm and multiplied by the mean norm of the rows before them, which
    include the class token. Returns (B, H, S, d).
    """
    image, concepts = states[:, :, :image_rows], states[:, :, image_rows:]  # (B, H, N, d), (B, H, K, d)
    norms = torch.linalg.vector_norm(states.float(), dim=(1, 3), keepdim=True)  # (B, 1, S, 1)
    mean_norm = norms[:, :, :image_rows].mean(2, keepdim=True)  # (B, 1, 1, 1)
    unit = concepts.float() / norms[:, :, image_rows:].clamp_min(torch.finfo(torch.float32).tiny)  # (B, H, K, d)
    return torch.cat([image, (unit * mean_norm).to(states.dtype)], dim=2)  # (B, H, S, d)


@dataclass
class ConceptRows:
    """The cross-attention of one Q-Former call in which at least one photo has concept rows.

    layers: the attention modules that look at the image.
    image_rows: N, the number of image rows with the class token.
    concepts: for each photo K_i, the number of concept rows that follow its N image rows.
    probabilities: one (B, H, Q, N + max K) float32 for each layer, filled by `attend`.
    """

    layers: frozenset[torch.nn.Module]
    image_rows: int
    concepts: list[int]
    probabilities: list[Tensor] = field(default_factory=list)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """Attend to image and concept rows; the padding after a photo's last concept is masked.

        query: (B, H, Q, d); key, value: (B, H, N + max K, d). Returns (B, Q, H, d).
        """
        key, value = rescale_concepts(key, self.image_rows), rescale_concepts(value, self.image_rows)
        ends = self.image_rows + torch.tensor(self.concepts, device=key.device)  # (B,)
        padding = torch.arange(key.shape[2], device=key.device) >= ends[:, None]  # (B, S)
        scores = (query @ key.transpose(2, 3)).float() * scaling  # (B, H, Q, S)
        attention = scores.masked_fill(padding[:, None, None], -torch.inf).softmax(-1)  # (B, H, Q, S)
        self.probabilities.append(attention)
        return (attention.to(value.dtype) @ value).transpose(1, 2)  # (B, Q, H, d)

    def penalty(self, form: Penalty) -> Tensor:
        """Return the penalty on the queries' attention to concepts, a scalar without its weight λ (eq. 4).

        column (reference): for each layer the mean of p² over photos, heads, queries and concepts.
        column-sum (paper): for each layer the sum over heads, queries and concepts, and the mean over photos.
        Both are summed over layers; photos without a concept do not count.
        """
        squares = torch.stack(self.probabilities)[..., self.image_rows :].square()  # (L, B, H, Q, max K)
        counts = torch.tensor(self.concepts, device=squares.device)  # (B,)
        sums = squares.sum((0, 2, 3, 4))[counts > 0]  # (photos with a concept,)
        if form == "column":
            sums = sums / (counts[counts > 0] * squares.shape[2] * squares.shape[3])
        return sums.mean()  # ()

    def maps(self) -> list[Tensor]:
        """Return where the queries that attend to a concept look in the image: (K_i, N - 1) float32 for each photo.

        With p averaged over layers and heads: the sum over queries of p[query, concept] · p[query, patch]. The class
        token is left out.
        """
        mean = torch.stack(self.probabilities).mean((0, 2))  # (B, Q, S)
        n = self.image_rows
        return [p[:, n : n + k].T @ p[:, 1:n] for p, k in zip(mean, self.concepts, strict=True)]  # (K_i, N - 1)


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    concept_rows: ConceptRows | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend with concept rows in the layers that look at the image, else with SDPA. The signature is transformers'."""
    if concept_rows is None or module not in concept_rows.layers:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    return concept_rows.attend(query, key, value, kwargs["scaling"]), None


def register() -> str:
    """Register the attention with concept rows with transformers; returns its name."""
    return register_attention(IMPLEMENTATION, _attend)
