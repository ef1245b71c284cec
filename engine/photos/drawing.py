"""Draw boxes with names, or heat maps, over a copy of a photo."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from engine.core.boxes import Box
from engine.core.colours import colour_of


def draw_boxes(image: Image.Image, boxes: Sequence[tuple[Box, str]]) -> Image.Image:
    """Return a copy of an image with a frame around each box and its name in a label at the top left corner.

    Each name has its colour of `core.colours`.
    """
    page = image.copy()
    draw = ImageDraw.Draw(page)
    unit = max(1, round(min(page.size) / 160))
    font = ImageFont.load_default(size=max(10, 6 * unit))
    for box, name in boxes:
        color = colour_of(name)
        draw.rectangle((box.x0, box.y0, box.x1, box.y1), outline=color, width=unit)
        left, top, right, bottom = draw.textbbox((0, 0), name, font=font)
        height = bottom - top + 2 * unit
        y = box.y0 - height if box.y0 >= height else box.y0
        draw.rectangle((box.x0, y, box.x0 + right - left + 2 * unit, y + height), fill=color)
        draw.text((box.x0 + unit - left, y + unit - top), name, fill="white", font=font)
    return page


_RAMP = ("#440154", "#482878", "#3e4a89", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6dcd59", "#b4de2c", "#fde725")
"""Ten colours of viridis (CC0): lightness rises evenly, also for colour-blind readers and in grey prints."""
_OPACITY = 0.6
"""Of a heat map over the photo."""


def ramp_colors(values: np.ndarray) -> np.ndarray:
    """Map values in 0..1 to colours, dark violet to light yellow: (...,) to (..., 3) uint8."""
    stops = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in _RAMP], np.float32)
    places = np.linspace(0.0, 1.0, len(_RAMP))
    channels = [np.interp(values, places, stops[:, k]) for k in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def draw_heat(image: Image.Image, heat: np.ndarray, view: Box) -> Image.Image:
    """Return a copy of an upright photo with a heat map over a part of it.

    heat: (h, w), numbers >= 0; colours span its smallest to its greatest value. view: the part of the photo that the
    map is about, in pixels; the map is resized to it bilinearly.
    """
    low, high = float(heat.min()), float(heat.max())
    level = (heat.astype(np.float32) - low) / (high - low if high > low else 1.0)
    x0, y0, x1, y1 = view.clipped(*image.size).rounded()
    x1, y1 = max(x0 + 1, x1), max(y0 + 1, y1)
    stretched = Image.fromarray(level).resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR)
    colors = Image.fromarray(ramp_colors(np.asarray(stretched)))
    page = image.convert("RGB")
    page.paste(Image.blend(page.crop((x0, y0, x1, y1)), colors, _OPACITY), (x0, y0))
    return page
