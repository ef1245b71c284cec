"""Regions of a photo that may show a concept: detected objects, the whole photo, a small grid."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from engine.core.boxes import Box

MARGIN = 1.15
"""Crops are this much larger than their region, so that edges and ears are inside."""
_GRID = ((1, 1.0), (2, 0.6), (3, 0.42))
"""Grid levels: cells a side, and the side of a cell as a share of the photo's."""


@dataclass(frozen=True)
class Region:
    """A part of a photo, and where it came from: `detector`, `grid` or `photo`; a detector's may have a class word."""

    box: Box
    source: str
    word: str = ""


@dataclass(frozen=True)
class RegionFeatures:
    """Regions of one photo with their unit features, (R, D) float32."""

    regions: tuple[Region, ...]
    features: np.ndarray


def grid_regions(width: int, height: int) -> list[Region]:
    """The whole photo and overlapping cells, so that nothing hinges on a detector."""
    found = []
    for cells, share in _GRID:
        w, h = width * share, height * share
        for row in range(cells):
            for column in range(cells):
                x = 0 if cells == 1 else (width - w) * column / (cells - 1)
                y = 0 if cells == 1 else (height - h) * row / (cells - 1)
                found.append(Region(Box(x, y, x + w, y + h), "photo" if cells == 1 else "grid"))
    return found


def crop(image: Image.Image, box: Box) -> Image.Image:
    """The pixels of a region with a little margin, padded to a square with grey (no distortion)."""
    grown = box.grown(MARGIN, *image.size)
    x0, y0, x1, y1 = (round(v) for v in (grown.x0, grown.y0, grown.x1, grown.y1))
    part = image.crop((x0, y0, max(x0 + 1, x1), max(y0 + 1, y1)))
    side = max(part.size)
    if part.width == part.height:
        return part
    square = Image.new("RGB", (side, side), (128, 128, 128))
    square.paste(part, ((side - part.width) // 2, (side - part.height) // 2))
    return square
