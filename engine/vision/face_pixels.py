"""Give the pixels of faces to the models: of large faces from the picture, of small ones from all pixels of the file.

A photo that was decoded at a reduced size is decoded once more only if a face in it needs that.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

WINDOW = 5.0
"""Side of the window for the second detection of a small face, in sides of the face.

The landmarks of faces of 20 detector pixels are coarse, and a face that is aligned by them looks like another person.
Of 23 such storybook faces, 2 were recognised after the first detection. After a second detection none were recognised
with windows of 2.5 sides, 14 with windows of 3.5 and 20 with windows of 5
(docs/experiments.md#second-look-at-small-faces).
"""


@dataclass(frozen=True)
class Window:
    """A part of a photo around a face.

    pixels: (h, w, 3) uint8 BGR. x0, y0: its corner, in pixels of the picture. scale: its pixels for one of the picture.
    """

    pixels: np.ndarray
    x0: float
    y0: float
    scale: float

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in pixels of the picture."""
        return self.pixels.shape[1] / self.scale, self.pixels.shape[0] / self.scale

    def to_window(self, points: np.ndarray) -> np.ndarray:
        """Convert points (…, 2) from pixels of the picture to pixels of the window."""
        return (points - np.array((self.x0, self.y0), np.float32)) * np.float32(self.scale)

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """Invert `to_window`."""
        return points / np.float32(self.scale) + np.array((self.x0, self.y0), np.float32)


class FacePixels:
    """The pixels of one photo, BGR as insightface expects them.

    full: returns the picture with all its pixels; None where `image` has them.
    """

    def __init__(self, image: Image.Image, full: Callable[[], Image.Image] | None) -> None:
        self.image, self._full = image, full

    @property
    def is_reduced(self) -> bool:
        """Whether there are more pixels than those of the picture."""
        return self._full is not None

    @cached_property
    def whole(self) -> np.ndarray:
        """The picture: (H, W, 3) uint8 BGR."""
        return _bgr(self.image)

    @cached_property
    def _at_full_size(self) -> Image.Image:
        return self._full() if self._full is not None else self.image

    def window(self, box: np.ndarray, *, at_full_size: bool) -> Window:
        """Return the window around a face. box: (4,) xyxy in pixels of the picture."""
        half = WINDOW * float((box[2:4] - box[:2]).max()) / 2
        x, y = (float(v) for v in (box[:2] + box[2:4]) / 2)
        if not at_full_size:
            x0, y0 = max(0, int(x - half)), max(0, int(y - half))
            return Window(self.whole[y0 : int(y + half) + 1, x0 : int(x + half) + 1], x0, y0, 1.0)
        full = self._at_full_size
        scale = full.width / self.image.width
        left, top = max(0, int((x - half) * scale)), max(0, int((y - half) * scale))
        right, bottom = int((x + half) * scale) + 1, int((y + half) * scale) + 1
        part = full.crop((left, top, min(right, full.width), min(bottom, full.height)))
        return Window(_bgr(part), left / scale, top / scale, scale)


def _bgr(image: Image.Image) -> np.ndarray:
    import cv2

    return cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2BGR)
