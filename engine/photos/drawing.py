"""Pictures for people: boxes with names drawn over a copy of a photo."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from engine.boxes import Box

COLORS = ("#d81b60", "#1e88e5", "#fb8c00", "#00897b", "#8e24aa", "#6d4c41")


def draw_boxes(image: Image.Image, boxes: Sequence[tuple[Box, str]]) -> Image.Image:
    """A copy of an image with each box framed and its name in a label at its top left corner."""
    page = image.copy()
    draw = ImageDraw.Draw(page)
    unit = max(1, round(min(page.size) / 160))
    font = ImageFont.load_default(size=max(10, 6 * unit))
    for i, (box, name) in enumerate(boxes):
        color = COLORS[i % len(COLORS)]
        draw.rectangle((box.x0, box.y0, box.x1, box.y1), outline=color, width=unit)
        left, top, right, bottom = draw.textbbox((0, 0), name, font=font)
        height = bottom - top + 2 * unit
        y = box.y0 - height if box.y0 >= height else box.y0
        draw.rectangle((box.x0, y, box.x0 + right - left + 2 * unit, y + height), fill=color)
        draw.text((box.x0 + unit - left, y + unit - top), name, fill="white", font=font)
    return page
