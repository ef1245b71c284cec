"""Read boxes in the replies of VLMs, in the form in which each family writes them; a box is never made up."""

import re
from collections.abc import Iterator

from engine.core.boxes import Box, parse_minigpt_boxes
from engine.vlms.chat.pixels import limited_size
from engine.vlms.prompt_config import BoxFormat

_NUMBER = r"(-?\d+(?:\.\d+)?)"
_FOUR = re.compile(
    rf"[\[(]\s*{_NUMBER}\s*,\s*{_NUMBER}\s*(?:\)\s*,\s*\(|\]\s*,\s*\[|,)\s*{_NUMBER}\s*,\s*{_NUMBER}\s*[\])]"
)
"""Four numbers in brackets, or two pairs: JSON with or without a code fence, `<box>[[…]]</box>`, `(x, y), (x, y)`."""
_THOUSANDTHS = 1000.0
_FACTOR = 28
"""Qwen2.5-VL resizes to multiples of 28 pixels: a patch of 14, merged in twos (`smart_resize` in transformers)."""


def parse_boxes(
    text: str, box_format: BoxFormat, sent: tuple[float, float], photo: tuple[float, float]
) -> tuple[Box, ...]:
    """Return the usable boxes in a reply, in pixels of the photo, in the order in which they stand there.

    sent: width and height of the image as the vision tower received it, for "xyxy-pixels"; photo: those of the photo.
    A box that is empty, reversed, thinner than one unit or out of range is left out, never repaired.
    """
    if box_format == "minigpt":
        return tuple(_scaled(box, photo) for box in parse_minigpt_boxes(text, 1, 1))
    if box_format == "none":
        return ()
    width, height = sent if box_format == "xyxy-pixels" else (_THOUSANDTHS, _THOUSANDTHS)
    return tuple(
        _scaled(Box(x0 / width, y0 / height, x1 / width, y1 / height), photo)
        for x0, y0, x1, y1 in _corners(text, box_format)
        if 0 <= x0 <= x1 - 1 and x1 <= width and 0 <= y0 <= y1 - 1 and y1 <= height
    )


def _corners(text: str, box_format: BoxFormat) -> Iterator[tuple[float, float, float, float]]:
    """Find groups of four numbers: left, top, right, bottom."""
    for match in _FOUR.finditer(text):
        a, b, c, d = (float(v) for v in match.groups())
        yield (b, a, d, c) if box_format == "yxyx-1000" else (a, b, c, d)


def _scaled(box: Box, photo: tuple[float, float]) -> Box:
    """Scale a box in parts of the sides to a photo's pixels."""
    return Box(box.x0 * photo[0], box.y0 * photo[1], box.x1 * photo[0], box.y1 * photo[1])


def sent_size(width: float, height: float, max_pixels: int | None) -> tuple[int, int]:
    """Return the width and height to which Qwen2.5-VL's processor resizes a photo, after the limit of its pixels."""
    limited = limited_size(int(width), int(height), max_pixels)
    return max(_FACTOR, round(limited[0] / _FACTOR) * _FACTOR), max(_FACTOR, round(limited[1] / _FACTOR) * _FACTOR)
