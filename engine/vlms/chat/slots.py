"""Put concept rows in the place of slots: tokens in the prompt whose embeddings are overwritten.

`input_ids` stay what they are, so that position ids, masks, caches and chat templates see ordinary text tokens. A slot
is found by its place, so that its id may be any: it is the padding id, which is neutral in every other look-up
(Gemma's embeddings of each layer have the padding id at images, too).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import engine.core.device  # noqa: F401

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Filling:
    """at: (B, S) bool, where the slots are; rows: (sum of K_i, D), what takes their place, in the same order."""

    at: Tensor
    rows: Tensor


class ConceptSlots:
    """A hook on the table of input embeddings of a frozen language model."""

    def __init__(self, embedding: torch.nn.Module) -> None:
        self._filling: Filling | None = None
        embedding.register_forward_hook(self._put)

    @contextmanager
    def filled(self, at: Tensor, rows: list[Tensor]) -> Iterator[None]:
        """Overwrite the slots inside this block.

        at: (B, S) bool; rows[i]: (K_i, D), those of photo i, as many as it has slots.
        """
        filling = Filling(at, torch.cat(rows)) if any(map(len, rows)) else None
        self._filling, before = filling, self._filling
        try:
            yield
        finally:
            self._filling = before

    def _put(self, module: torch.nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """Return the embeddings (B, S, D) with the rows in the slots.

        A decoding step has one token and no slot, so nothing is looked up. Without a cache, the prompt grows on the
        right. With beams, each line stands there several times, one after the other.
        """
        if self._filling is None or out.dim() != 3 or out.shape[1] == 1:
            return out
        at, rows = self._filling.at, self._filling.rows
        times = out.shape[0] // at.shape[0]
        if times > 1:
            counts = at.sum(1).tolist()
            rows = torch.cat([own for own in rows.split(counts) for _ in range(times)])
            at = at.repeat_interleave(times, 0)
        at = F.pad(at, (0, out.shape[1] - at.shape[1]))
        return out.masked_scatter(at[..., None].expand_as(out), rows.to(out.dtype))


@torch.no_grad()
def text_norm(embedding: torch.nn.Module, tokens: int, device: torch.device, sample: int = 2048) -> Tensor:
    """Return the mean L2 norm of the embeddings with which text enters the language model, ().

    tokens: how many ids the tokenizer has; `sample` of them are taken, evenly spaced. It is the output of the table
    that is measured, because Gemma's scales it.
    """
    ids = torch.linspace(0, tokens - 1, min(sample, tokens), device=device).long()[None]
    return embedding(ids).float().norm(dim=-1).mean()
