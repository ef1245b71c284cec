"""Define the regions of a photo that may show a concept: detected objects, the whole photo, and cells of a grid."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from engine.core.boxes import Box

MARGIN = 1.15
"""Sides of a crop, in sides of its region; the margin keeps the object's edges (ears, tails) in the crop."""
_GRID = ((1, 1.0), (2, 0.6), (3, 0.42))
"""Grid levels: number of cells in each direction, and side of a cell as a share of the photo's side."""
SMALLEST_CELL = min(share for _, share in _GRID)
"""Side of the smallest grid cells, as a share of the photo's side."""


@dataclass(frozen=True)
class Region:
    """A part of a photo.

    box: in pixels of the picture; of the upright photo where it comes from the cache.
    source: "detector", "grid", or "photo" for the whole photo.
    word: the detector's class word, or "".
    """

    box: Box
    source: str
    word: str = ""


@dataclass(frozen=True)
class RegionFeatures:
    """The regions of one photo with their features: (R, D) float32 of unit length."""

    regions: tuple[Region, ...]
    features: np.ndarray


def grid_regions(width: int, height: int) -> list[Region]:
    """Return the whole photo and overlapping grid cells, in its pixels: the regions of a photo without detections."""
    regions = []
    for cells, share in _GRID:
        w, h = width * share, height * share
        for row in range(cells):
            for column in range(cells):
                x = 0 if cells == 1 else (width - w) * column / (cells - 1)
                y = 0 if cells == 1 else (height - h) * row / (cells - 1)
                regions.append(Region(Box(x, y, x + w, y + h), "photo" if cells == 1 else "grid"))
    return regions


def view(image: Image.Image, edge: int) -> Image.Image:
    """Reduce a picture to 1/2, 1/3, … of its sides, as far as its longer side keeps at least `edge` pixels."""
    factor = max(image.size) // edge if edge else 1
    return image.reduce(factor) if factor > 1 else image


def crop(image: Image.Image, box: Box) -> Image.Image:
    """Return a region with a margin, padded with grey to a square, so that the encoder does not distort it.

    box: in pixels of the image.
    """
    grown = box.grown(MARGIN, *image.size)
    x0, y0, x1, y1 = (round(v) for v in (grown.x0, grown.y0, grown.x1, grown.y1))
    part = image.crop((x0, y0, max(x0 + 1, x1), max(y0 + 1, y1)))
    side = max(part.size)
    if part.width == part.height:
        return part
    square = Image.new("RGB", (side, side), (128, 128, 128))
    square.paste(part, ((side - part.width) // 2, (side - part.height) // 2))
    return square


def overlaps(boxes: np.ndarray) -> np.ndarray:
    """Return the intersection over union of each pair of boxes (R, 4) xyxy: (R, R) in 0..1, equal to `boxes.iou`."""
    lows, highs = boxes[:, :2], boxes[:, 2:]
    shared = np.minimum(highs[:, None], highs[None]) - np.maximum(lows[:, None], lows[None])  # (R, R, 2)
    common = shared.clip(min=0).prod(axis=2)
    areas = (highs - lows).clip(min=0).prod(axis=1)
    union = areas[:, None] + areas[None] - common
    return np.divide(common, union, out=np.zeros_like(union), where=union > 0)
