"""Losses from cached prefixes for the `chat` backend: slots stand behind the image, so what is before them is fixed."""

from collections.abc import Hashable, Sequence
from dataclasses import replace

import engine.core.device  # noqa: F401

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import DynamicCache

from engine.vlms.base import IGNORED, Losses, pad_lines
from engine.vlms.chat import recording
from engine.vlms.chat.adapter import ChatVlm
from engine.vlms.chat.batching import make_batch
from engine.vlms.chat.values import ChatFeatures, ChatRows, Line
from engine.vlms.injection import rescaled_rows
from engine.vlms.prefix import Continuation, Prefix, PrefixAttention, cache_argument, has_causal_layers, layers_of


class PrefixChatVlm(ChatVlm):
    """A `ChatVlm` that can train from prefixes; see `prefix.PrefixVlm`."""

    @property
    def caches_prefixes(self) -> bool:
        """Whether losses from prefixes equal those of whole sequences.

        This is the one place that decides it. Families have "prefix" in `chat_families.json` where a test shows it on a
        tiny checkpoint; the others (hybrids with linear attention or convolutions, and families that are not known)
        train over whole sequences, with the image features kept.
        """
        return self.chat.prefix and has_causal_layers(self._text, windows=True)

    def head_of(self, image_features: ChatFeatures, ids: str) -> Hashable:
        """Return the ids up to the end of the image's block."""
        return tuple(self._head(image_features, ids).ids)

    def _head(self, image_features: ChatFeatures, request: str) -> Line:
        line = self.inputs.line(image_features.photos[0].photo, self.inputs.template(request))
        types = {name: values[: line.behind] for name, values in line.types.items()}
        return replace(line, ids=line.ids[: line.behind], types=types)

    @torch.no_grad()
    def prefix(self, image_features: ChatFeatures, ids: str) -> Prefix:
        """Compute the prefix of one photo's features and a request."""
        (photo,) = image_features.photos
        row = ChatRows(photo, torch.zeros(0, self.width, device=self.device))
        batch = make_batch([row], [self._head(image_features, ids)], self.pad_id)
        cache = DynamicCache()
        self._forget_positions()
        with self._only(torch.zeros_like(batch.valid[:, 1:])):
            self.model(**batch.inputs(), use_cache=True, **{cache_argument(self.model): cache})
        shift = getattr(self.model.model, "rope_deltas", None)
        return Prefix(layers_of(cache), photo.norm, 0 if shift is None else int(shift))

    def loss_behind(
        self,
        seen: Sequence[tuple[ChatFeatures, Prefix]],
        embedding: Tensor,
        ids: Sequence[str],
        labels: Sequence[str],
        penalty_weight: float | None = None,
    ) -> Losses:
        """Compute the losses of `loss`; see `PrefixVlm.loss_behind`.

        Raises:
            UsageError: there is a penalty, and this family's attention cannot be measured.
        """
        injection = self.config.injection
        weight = injection.penalty_weight if penalty_weight is None else penalty_weight
        prefixes = [prefix for _, prefix in seen]
        rows = [ChatRows(f.photos[0], rescaled_rows(embedding, f.photos[0].norm)) for f, _ in seen]
        lines = [_behind(line) for line in self._example_lines(rows, ids, labels)]
        layout = Continuation(prefixes, [len(line.ids) for line in lines])
        direction = injection.penalty if weight else "none"
        if direction != "none":
            self._check_records()
        recorder = layout.penalty(direction)
        targets = pad_lines([list(line.labels) for line in lines], IGNORED, self.device)[:, 1:]  # (B, S - 1)
        supervised = targets != IGNORED
        with self._only(supervised):
            logits = self._run_behind(layout, rows, lines, recorder).float()  # (T, V), T supervised tokens
        penalty = weight * recorder.total() if recorder else logits.new_zeros(())
        return Losses(F.cross_entropy(logits, targets[supervised]), penalty)

    def _run_behind(
        self,
        layout: Continuation,
        rows: Sequence[ChatRows],
        lines: Sequence[Line],
        recorder: PrefixAttention | None,
    ) -> Tensor:
        """Run the model over what stands behind the prefixes; returns logits of the rows that `_only` lets through."""
        ids = pad_lines([line.ids for line in lines], self.pad_id, self.device)  # (B, S)
        types = {n: pad_lines([line.types[n] for line in lines], 0, self.device) for n in lines[0].types}
        positions = layout.positions()
        if hasattr(self.model.model, "rope_deltas"):
            positions = positions.expand(3, *positions.shape)  # M-RoPE: text has the same position three times
        slots = torch.zeros_like(ids, dtype=torch.bool)
        slots[:, 0] = True
        records = None if recorder is None else recording.BehindPrefixes(recorder, layout)
        with self._slots.filled(slots, [row.concepts for row in rows]), recording.recording(records):
            return self.model(
                input_ids=ids,
                attention_mask=layout.mask().long(),
                position_ids=positions,
                use_cache=True,
                **{cache_argument(self.model): layout.cache()},
                **types,
            ).logits


def _behind(line: Line) -> Line:
    """Return what stands behind the image's block of a line, the slot first."""
    at = line.slots.start
    types = {name: values[at:] for name, values in line.types.items()}
    return replace(line, ids=line.ids[at:], types=types, labels=line.labels[at:])
