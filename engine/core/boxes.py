"""Boxes: `Box` (xyxy pixels of the upright photo) is used everywhere; conversions to other forms are only here."""

import re
from dataclasses import dataclass

_MINIGPT_BOX = re.compile(r"\{<(\d{1,3})><(\d{1,3})><(\d{1,3})><(\d{1,3})>\}")
_MINIGPT_NOISE = re.compile(r"<unk>|\s+")


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels of the upright photo: x0 < x1, y0 < y1, origin at the top left."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def area(self) -> float:
        """Area in square pixels; 0.0 for an empty box."""
        return max(0.0, self.x1 - self.x0) * max(0.0, self.y1 - self.y0)

    def clipped(self, width: int, height: int) -> "Box":
        """Return the part of the box inside a photo of width × height pixels."""
        return Box(max(0.0, self.x0), max(0.0, self.y0), min(float(width), self.x1), min(float(height), self.y1))

    def grown(self, factor: float, width: int, height: int) -> "Box":
        """Return the box scaled by `factor` about its centre, clipped to the photo."""
        dx, dy = (self.x1 - self.x0) * (factor - 1) / 2, (self.y1 - self.y0) * (factor - 1) / 2
        return Box(self.x0 - dx, self.y0 - dy, self.x1 + dx, self.y1 + dy).clipped(width, height)

    def scaled(self, size: tuple[int, int], target: tuple[int, int]) -> "Box":
        """Convert the box from pixels of a picture of width and height `size` to those of one of `target`."""
        x, y = target[0] / size[0], target[1] / size[1]
        return Box(self.x0 * x, self.y0 * y, self.x1 * x, self.y1 * y)

    def rounded(self) -> tuple[int, int, int, int]:
        """Round the corners to whole pixels, for printing and storing."""
        return round(self.x0), round(self.y0), round(self.x1), round(self.y1)


def iou(a: Box, b: Box) -> float:
    """Return the intersection over union of two boxes, 0.0..1.0."""
    shared = Box(max(a.x0, b.x0), max(a.y0, b.y0), min(a.x1, b.x1), min(a.y1, b.y1)).area
    union = a.area + b.area - shared
    return shared / union if union > 0 else 0.0


TURNED = frozenset({5, 6, 7, 8})
"""EXIF orientations in which width and height of the stored picture are swapped."""


def stored_size(orientation: int, width: int, height: int) -> tuple[int, int]:
    """Return the size of the stored picture, before EXIF orientation, of a photo that is width × height upright."""
    return (height, width) if orientation in TURNED else (width, height)


def to_stored(box: Box, orientation: int, width: int, height: int) -> Box:
    """Convert a box of the upright photo (width × height pixels) to pixels of the stored picture; see `stored_size`.

    MWG regions use that frame (Metadata Working Group, "Guidelines for Handling Image Metadata" 2.0, image regions).
    EXIF 2.32, tag 0x0112, defines on which sides of the upright photo the stored first row and column lie.
    """
    left, right = sorted((box.x0, box.x1))
    top, bottom = sorted((box.y0, box.y1))
    mirrored_x, mirrored_y = (width - right, width - left), (height - bottom, height - top)
    xs, ys = {
        1: ((left, right), (top, bottom)),
        2: (mirrored_x, (top, bottom)),
        3: (mirrored_x, mirrored_y),
        4: ((left, right), mirrored_y),
        5: ((top, bottom), (left, right)),
        6: ((top, bottom), mirrored_x),
        7: (mirrored_y, mirrored_x),
        8: (mirrored_y, (left, right)),
    }[orientation]
    return Box(xs[0], ys[0], xs[1], ys[1])


_BACK = {6: 8, 8: 6}
"""Inverse orientations: the two quarter turns undo each other; every other orientation undoes itself."""


def to_upright(box: Box, orientation: int, width: int, height: int) -> Box:
    """Invert `to_stored`; width and height are those of the upright photo, as there."""
    return to_stored(box, _BACK.get(orientation, orientation), *stored_size(orientation, width, height))


def parse_minigpt_box(text: str, width: int, height: int) -> Box | None:
    """Return the first usable box in a text, or None; see `parse_minigpt_boxes`."""
    return next(iter(parse_minigpt_boxes(text, width, height)), None)


def parse_minigpt_boxes(text: str, width: int, height: int) -> tuple[Box, ...]:
    """Return all usable boxes in a text of MiniGPT-v2 (paper, section 3.2).

    A box is written `{<x0><y0><x1><y1>}`, integers 0..100 relative to width and height; several are joined by
    `<delim>`. An empty box and one out of range are left out, never repaired.
    """
    boxes = []
    for match in _MINIGPT_BOX.finditer(_MINIGPT_NOISE.sub("", text)):
        x0, y0, x1, y1 = (int(v) for v in match.groups())
        if max(x0, y0, x1, y1) <= 100 and x1 > x0 and y1 > y0:
            boxes.append(Box(x0 * width / 100, y0 * height / 100, x1 * width / 100, y1 * height / 100))
    return tuple(boxes)
