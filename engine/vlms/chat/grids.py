"""Find the grid that an image's tokens form over a photo, for maps of attention."""

from dataclasses import dataclass
from itertools import pairwise
from math import isqrt
from typing import Any

import engine.core.device  # noqa: F401

from torch import Tensor

from engine.core.errors import UsageError
from engine.vlms.chat.values import EncodedPhoto, Line

_WHOLE_IS_LAST = ("smolvlm", "idefics3", "internvl")
"""Families that cut a photo into tiles and add the whole photo, squashed to a square, as the last tile."""
_SQUARE = ("gemma3", "llava", "llava_next")
"""Families that see a photo as one square of tokens; a LLaVA-NeXT only with one base tile."""


@dataclass(frozen=True)
class Grid:
    """The image tokens that show the whole photo: the `height` × `width` tokens from index `start` of them on."""

    height: int
    width: int
    start: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in tokens."""
        return self.height, self.width

    def of(self, maps: Tensor) -> Tensor:
        """Cut maps (K, N) over an image's tokens to (K, height, width)."""
        return maps[:, self.start : self.start + self.height * self.width].reshape(-1, self.height, self.width)


def map_grid(name: str, config: Any, photo: EncodedPhoto, line: Line) -> Grid:
    """Return the grid of a photo's image tokens.

    name: the VLM's, for the error; config: the model's settings.

    Raises:
        UsageError: they form no grid over the photo that myvlm knows.
    """
    count = len(line.image)
    for grid in (_by_size(config, photo), _by_lines(line), _by_family(config, line)):
        if grid and grid.start + grid.height * grid.width <= count and grid.height * grid.width > 1:
            return grid
    raise UsageError(
        f"{name} shows no attention over the photo: its image tokens form no single grid",
        hint="Captions and the pictures of why a concept was recognised do not need it.",
    )


def _by_size(config: Any, photo: EncodedPhoto) -> Grid | None:
    """Read the grid that a processor states (Qwen, GLM-4V): patches in time, height and width, before they merge."""
    sizes = photo.beside.get("image_grid_thw")
    if sizes is None or len(sizes) != 1 or int(sizes[0, 0]) != 1:
        return None
    merge = int(config.vision_config.spatial_merge_size)
    return Grid(int(sizes[0, 1]) // merge, int(sizes[0, 2]) // merge)


def _by_lines(line: Line) -> Grid | None:
    """Count lines of equal length, between which a token ends the line (Mistral 3)."""
    runs = _runs(line.image)
    return Grid(len(runs), runs[0]) if len(runs) > 1 and len(set(runs)) == 1 and _between(line.image) == {2} else None


def _by_family(config: Any, line: Line) -> Grid | None:
    """Take the square of tokens that shows the whole photo."""
    count, runs = len(line.image), _runs(line.image)
    tile = 0
    if config.model_type in _WHOLE_IS_LAST:  # InternVL's tiles follow one another, the others' have marks between them
        tile = getattr(config, "image_seq_length", runs[-1])
    elif config.model_type in _SQUARE and len(runs) == 1:
        tile = count
    side = isqrt(tile)
    return Grid(side, side, count - tile) if side * side == tile else None


def _runs(image: list[int]) -> list[int]:
    """Return the lengths of the runs of neighbouring indices."""
    breaks = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(image)) if b != a + 1), len(image)]
    return [end - start for start, end in pairwise(breaks)]


def _between(image: list[int]) -> set[int]:
    """Return the distances between indices that are no neighbours."""
    return {b - a for a, b in pairwise(image) if b != a + 1}
