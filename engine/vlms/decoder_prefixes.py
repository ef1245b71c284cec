"""Losses from cached prefixes for VLMs whose prompts are token ids around a photo's rows: LLaVA-1.6 and MiniGPT-v2."""

from collections.abc import Hashable, Sequence
from typing import Any

import engine.core.device  # noqa: F401

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache

from engine.vlms.base import IGNORED, ImageFeatures, Losses, pad_lines
from engine.vlms.config import VlmConfig
from engine.vlms.injection import rescaled_rows
from engine.vlms.prefix import Continuation, Prefix, PrefixAttention, cache_argument, has_causal_layers, layers_of


@torch.no_grad()
def run_prefix(decoder: Any, rows: Tensor, norm: Tensor) -> Prefix:
    """Run a decoder over the rows (P, D) before a concept row."""
    cache = DynamicCache()
    decoder(inputs_embeds=rows[None], use_cache=True, **{cache_argument(decoder): cache})
    return Prefix(layers_of(cache), norm)


def run_behind(decoder: Any, layout: Continuation, rows: Sequence[Tensor], recorder: PrefixAttention | None) -> Tensor:
    """Run a decoder over the rows (S_i, D) behind cached prefixes; returns its last hidden states (B, S, D)."""
    hidden: Tensor = decoder(
        inputs_embeds=pad_sequence(list(rows), batch_first=True),
        attention_mask=layout.mask().long(),
        position_ids=layout.positions(),
        use_cache=True,
        **{cache_argument(decoder): layout.cache()},
        **({"concept_attention": recorder} if recorder else {}),
    ).last_hidden_state
    return hidden


class DecoderPrefixes:
    """Losses from prefixes for a VLM whose prompts are token ids with one placeholder for the photo's rows.

    A family says what its decoder, its output layer and its placeholder are, and how it sums the penalty.
    """

    config: VlmConfig
    averages_penalty = False
    """Whether the penalty is a mean over photos (MiniGPT-v2), not a sum."""

    @property
    def decoder(self) -> Any:
        """The language model without its output layer."""
        raise NotImplementedError

    @property
    def output_layer(self) -> Any:
        """Hidden states (T, D) to logits (T, V)."""
        raise NotImplementedError

    @property
    def placeholder(self) -> int:
        """The id that stands for the photo's rows."""
        raise NotImplementedError

    @property
    def caches_prefixes(self) -> bool:
        """Whether its losses from prefixes equal those of `Vlm.loss`."""
        return has_causal_layers(self.decoder.config)

    def head_of(self, image_features: ImageFeatures, ids: list[int]) -> Hashable:
        """Return the ids before the photo."""
        return tuple(ids[: ids.index(self.placeholder)])

    @torch.no_grad()
    def prefix(self, image_features: ImageFeatures, ids: list[int]) -> Prefix:
        """Compute the prefix of one photo's features and a prompt."""
        head = self._embed_text(ids[: ids.index(self.placeholder)])
        (rows,), (norm,) = image_features.features, image_features.norms
        return run_prefix(self.decoder, torch.cat([head, rows.to(head.dtype)]), norm)

    def loss_behind(
        self,
        seen: Sequence[tuple[ImageFeatures, Prefix]],
        embedding: Tensor,
        ids: Sequence[list[int]],
        labels: Sequence[list[int]],
        penalty_weight: float | None = None,
    ) -> Losses:
        """Compute the losses of `Vlm.loss`; see `PrefixVlm.loss_behind`."""
        at = [i.index(self.placeholder) + 1 for i in ids]
        prefixes = [prefix for _, prefix in seen]
        texts = [self._embed_text(i[a:]) for i, a in zip(ids, at, strict=True)]
        rows = [
            torch.cat([rescaled_rows(embedding, p.norm).to(t.dtype), t]) for p, t in zip(prefixes, texts, strict=True)
        ]
        layout = Continuation(prefixes, [len(r) for r in rows])
        injection = self.config.injection
        recorder = layout.penalty(injection.penalty)
        hidden = run_behind(self.decoder, layout, rows, recorder)  # (B, S, D)
        targets = pad_lines([label[a:] for label, a in zip(labels, at, strict=True)], IGNORED, embedding.device)
        supervised = targets != IGNORED  # (B, S - 1): the concept row itself is no target
        logits = self.output_layer(hidden[:, :-1][supervised]).float()  # (T, V)
        weight = injection.penalty_weight if penalty_weight is None else penalty_weight
        penalty = logits.new_zeros(())
        if recorder:
            penalty = weight * (recorder.mean() if self.averages_penalty else recorder.total())
        return Losses(F.cross_entropy(logits, targets[supervised]), penalty)

    def _embed_text(self, ids: list[int]) -> Tensor:
        """Return the embeddings of text: (L, D)."""
        embedding = self.decoder.get_input_embeddings()
        out: Tensor = embedding(torch.tensor(ids, dtype=torch.long, device=embedding.weight.device))
        return out
