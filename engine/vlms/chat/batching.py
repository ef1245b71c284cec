"""Put photos and lines of tokens into one batch of a model's inputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import engine.core.device  # noqa: F401

import torch
from torch import Tensor

from engine.vlms.base import IGNORED, pad_lines
from engine.vlms.chat.encoding import join_photos
from engine.vlms.chat.values import ChatRows, Line


@dataclass(frozen=True)
class Batch:
    """A batch of padded lines with their photos and concept rows.

    lines: as they were before padding; ids: (B, S) int64; types: (B, S) int64 by name; labels: (B, S), -100 elsewhere.
    valid, slots: (B, S) bool; positions: the photo and the index in the padded sequence of each slot.
    """

    rows: Sequence[ChatRows]
    lines: list[Line]
    ids: Tensor
    types: dict[str, Tensor]
    labels: Tensor
    valid: Tensor
    slots: Tensor
    positions: list[tuple[int, int]]

    @property
    def concepts(self) -> list[Tensor]:
        """The concept rows of each photo."""
        return [row.concepts for row in self.rows]

    def inputs(self) -> dict[str, Any]:
        """Return the model's arguments."""
        photos = [row.photo for row in self.rows]
        beside = {name: torch.cat([p.beside[name] for p in photos]) for name in photos[0].beside}
        encoded = {"image": join_photos([p.seen for p in photos])}
        mask = self.valid.long()
        return {"input_ids": self.ids, "attention_mask": mask, "mm_encoder_outputs": encoded, **self.types, **beside}


def make_batch(rows: Sequence[ChatRows], lines: list[Line], pad_id: int, *, left: bool = False) -> Batch:
    """Pad lines on the right for losses, or on the left for generation."""
    device = rows[0].concepts.device
    longest = max(len(line.ids) for line in lines)
    shifts = [longest - len(line.ids) if left else 0 for line in lines]

    def padded(values: Sequence[Sequence[int]], fill: int) -> Tensor:
        return pad_lines([list(v) for v in values], fill, device, left=left)

    positions = [(b, shift + i) for b, (line, shift) in enumerate(zip(lines, shifts, strict=True)) for i in line.slots]
    slots = torch.zeros(len(lines), longest, dtype=torch.bool, device=device)
    if positions:
        slots[tuple(torch.tensor(positions, device=device).T)] = True
    return Batch(
        rows,
        [line.shifted(shift) for line, shift in zip(lines, shifts, strict=True)],
        padded([line.ids for line in lines], pad_id),
        {name: padded([line.types[name] for line in lines], 0) for name in lines[0].types},
        padded([line.labels or [IGNORED] * len(line.ids) for line in lines], IGNORED),
        padded([[1] * len(line.ids) for line in lines], 0).bool(),
        slots,
        positions,
    )
