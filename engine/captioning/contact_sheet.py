"""A picture of results: photos with boxes, captions underneath."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

from PIL import Image, ImageDraw, ImageFont

from engine.captioning.results import PhotoResult
from engine.photos.decode import load_photo
from engine.photos.drawing import draw_boxes

_CELL, _LINES, _GAP, _COLUMNS = 320, 3, 14, 4


def draw_crops(crops: Sequence[Image.Image], labels: Sequence[str], target: Path) -> Path:
    """Write a PNG with small pictures, each with a line underneath."""
    font = ImageFont.load_default(size=13)
    columns = min(len(crops), _COLUMNS + 1) or 1
    side, height = 240 + _GAP, 240 + 24 + _GAP
    sheet = Image.new("RGB", (columns * side + _GAP, -(-len(crops) // columns) * height + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (crop, label) in enumerate(zip(crops, labels, strict=True)):
        x, y = _GAP + i % columns * side, _GAP + i // columns * height
        sheet.paste(crop, (x + (240 - crop.width) // 2, y + (240 - crop.height) // 2))
        shown = label.encode("ascii", "replace").decode()  # the built-in font knows few letters
        draw.text(
            (x, y + 244), shown if len(shown) <= 34 else f"{shown[:16]}...{shown[-15:]}", fill="#222222", font=font
        )
    sheet.save(target, "PNG", optimize=True)
    return target


def draw_contact_sheet(results: Sequence[PhotoResult], target: Path) -> Path:
    """Write a PNG with every captioned photo, the recognised regions framed and named."""
    font = ImageFont.load_default(size=17)
    shown = [r for r in results if r.caption]
    rows = -(-len(shown) // _COLUMNS)
    height = _CELL * 3 // 4 + _LINES * 23 + _GAP
    sheet = Image.new("RGB", (_COLUMNS * (_CELL + _GAP) + _GAP, rows * (height + _GAP) + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for i, result in enumerate(shown):
        x = _GAP + (i % _COLUMNS) * (_CELL + _GAP)
        y = _GAP + (i // _COLUMNS) * (height + _GAP)
        photo = load_photo(result.path)
        framed = draw_boxes(photo.image, [(photo.in_image(m.box), m.name) for m in result.matches])
        framed.thumbnail((_CELL, _CELL * 3 // 4), Image.Resampling.LANCZOS)
        sheet.paste(framed, (x + (_CELL - framed.width) // 2, y))
        for k, line in enumerate(wrap(result.caption or "", 38)[:_LINES]):
            draw.text((x, y + _CELL * 3 // 4 + 6 + k * 23), line, fill="#222222", font=font)
    sheet.save(target, "PNG", optimize=True)
    return target
