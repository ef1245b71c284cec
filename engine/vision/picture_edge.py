"""Compute how many pixels of a photo a recogniser needs, so that no more are decoded."""

import math

from engine.vision.config import RecogniserConfig
from engine.vision.regions import SMALLEST_CELL

MARGIN = 2
"""Pixels that are decoded for one that a model takes, along each side.

JPEGs that were decoded so and then scaled have a peak signal-to-noise ratio of 50 to 52 dB against full decoding; with
a margin of 1 it is 41 to 44 dB (docs/experiments.md#scaled-decoding).
"""


def encoder_edge(config: RecogniserConfig) -> int:
    """Return the side in pixels of the square that the encoder takes; 0 where it is not known."""
    return config.image_size or config.encoder_edge


def decode_edge(config: RecogniserConfig) -> int | None:
    """Return the longer side in pixels to which a photo may be reduced for a recogniser; None for all its pixels.

    The face detector and the object detector see the whole photo, the encoder at the least a cell of the finest grid.
    """
    if not encoder_edge(config):
        return None
    return max(MARGIN * config.faces.det_size, detector_view_edge(config), encoder_view_edge(config))


def detector_view_edge(config: RecogniserConfig) -> int:
    """Return the longer side in pixels that the object detector needs of a photo; 0 where it is not known."""
    return MARGIN * config.detector_edge


def encoder_view_edge(config: RecogniserConfig) -> int:
    """Return the longer side in pixels that the encoder needs of a photo to see each cell; 0 where it is not known."""
    return MARGIN * math.ceil(encoder_edge(config) / SMALLEST_CELL)
