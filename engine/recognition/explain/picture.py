"""Draw why a concept was or was not named in a photo: region, nearest reference, score and thresholds."""

from collections.abc import Sequence
from typing import Literal

from PIL import Image

from engine.core.boxes import Box
from engine.core.errors import PhotoError
from engine.photos.decode import Photo, decode_photo, read_photo
from engine.recognition.confidence import label
from engine.recognition.explain.explanation import Explanation, RecognitionOutcome
from engine.recognition.explain.nearest import Likeness
from engine.recognition.explain.page import INK, Page, cut, font, plain, wrapped
from engine.recognition.explain.words import PAIR_FEATURE_WORDS, facts_of, reason_in_words, scores_in_words

_WIDTH, _EDGE = 1040, 24
_PHOTO, _TILE, _GAP = (592, 424), 200, 24
_RIGHT = _EDGE + _PHOTO[0] + _GAP
_PALE, _FRAME = "#5f6368", "#eceff1"
_GREEN, _AMBER, _GREY, _RED = "#2e7d32", "#c77700", "#78909c", "#c62828"
_COLORS = {
    RecognitionOutcome.NAMED: _GREEN,
    RecognitionOutcome.CONFIRMED: _GREEN,
    RecognitionOutcome.SUGGESTED: _AMBER,
    RecognitionOutcome.UNKNOWN: _GREY,
    RecognitionOutcome.REJECTED: _RED,
    RecognitionOutcome.DECLINED: _RED,
}
_MARGIN = 1.25
"""Sides of a crop, in sides of its region."""


def draw_explanation(photo: Photo, explanation: Explanation) -> Image.Image:
    """Draw an explanation on a new page, 1040 pixels wide; the photo is not changed.

    The page shows the photo with the region, the region beside the nearest reference, the score with its thresholds,
    the contributions to the score, and the other facts in words.
    """
    page, color = Page.of(_WIDTH, 2000), _COLORS[explanation.outcome]
    room = _WIDTH - 2 * _EDGE - font(30).getlength(f": {explanation.outcome}")
    page.text(
        (_EDGE, 20), f"{cut(plain(explanation.concept.name), room, 30)}: {explanation.outcome}", size=30, color=color
    )
    y = page.lines((_EDGE, 62), f"{photo.path.name}: {reason_in_words(explanation)}", _WIDTH - 2 * _EDGE, most=3) + 12
    _draw_photo(page, photo, explanation, y)
    _draw_tiles(page, photo, explanation, y)
    y += _PHOTO[1] + 28
    if explanation.score is not None:
        y = _draw_scale(page, explanation, y)
    left = _draw_facts(page, explanation, y)
    right = _draw_pair_features(page, explanation, y) if explanation.pair_features else y
    return page.image.crop((0, 0, _WIDTH, round(max(left, right)) + 16))


def _draw_photo(page: Page, photo: Photo, explanation: Explanation, top: float) -> None:
    """Draw the photo with a frame around the region."""
    small = _fitted(photo.image.convert("RGB"), _PHOTO)
    x, y = _EDGE + (_PHOTO[0] - small.width) // 2, round(top) + (_PHOTO[1] - small.height) // 2
    page.draw.rectangle((_EDGE, top, _EDGE + _PHOTO[0] - 1, top + _PHOTO[1] - 1), fill=_FRAME)
    page.image.paste(small, (x, y))
    if explanation.box is None:
        return
    box, unit = photo.in_image(explanation.box), small.width / photo.image.width
    corners = [x + box.x0 * unit, y + box.y0 * unit, x + box.x1 * unit, y + box.y1 * unit]
    corners[2:] = max(corners[2], corners[0] + 4), max(corners[3], corners[1] + 4)
    page.draw.rectangle([corners[0] - 2, corners[1] - 2, corners[2] + 2, corners[3] + 2], outline="white", width=6)
    page.draw.rectangle(corners, outline=_COLORS[explanation.outcome], width=3)


def _draw_tiles(page: Page, photo: Photo, explanation: Explanation, top: float) -> None:
    """Draw the region, and below it the reference or confirmed photo that is most like it."""
    whole = (
        "the photo" if explanation.source == "photo" else f"this {'face' if explanation.source == 'face' else 'region'}"
    )
    region = _crop(photo, photo.in_image(explanation.box)) if explanation.box else "no region"
    detected_by = [f"found by: {explanation.source}"] if explanation.source in ("detector", "grid", "body") else []
    _draw_tile(page, top, region, whole if explanation.box else "nothing here", detected_by)
    top += _TILE + _GAP
    if explanation.nearest is None:
        _draw_tile(page, top, "no reference", "nearest reference", ["nothing to compare with"])
        return
    n = explanation.nearest
    kind = "confirmed photo" if n.of == "confirmed" else "reference"
    words = [n.path.name if n.path else "not known which", f"likeness {n.cosine:.2f}"]
    _draw_tile(page, top, _reference(n), f"nearest {kind}", words)


def _draw_tile(page: Page, top: float, tile: Image.Image | str, title: str, words: Sequence[str]) -> None:
    """Draw a tile, or its text if there is no picture, with a title and lines of words beside it."""
    box = (_RIGHT, round(top), _RIGHT + _TILE - 1, round(top) + _TILE - 1)
    page.draw.rectangle(box, fill=_FRAME)
    if isinstance(tile, str):
        lines = wrapped(tile, _TILE - 20, 15)
        for i, line in enumerate(lines):
            y = top + _TILE / 2 + 20 * (i - len(lines) / 2)
            page.text((_RIGHT + _TILE / 2, y), line, size=15, color=_PALE, align="m")
    else:
        page.image.paste(tile, (_RIGHT + (_TILE - tile.width) // 2, round(top) + (_TILE - tile.height) // 2))
    x, width = _RIGHT + _TILE + 14, _WIDTH - _EDGE - _RIGHT - _TILE - 14
    y = page.lines((x, top), title, width, size=17)
    for text in words:
        y = page.lines((x, y + 4), text, width, size=15, color=_PALE, most=3)


def _crop(photo: Photo, box: Box) -> Image.Image:
    """Return a region of a photo with a margin, scaled to a tile; box: in pixels of `photo.image`."""
    x0, y0, x1, y1 = box.grown(_MARGIN, *photo.image.size).rounded()
    part = photo.image.convert("RGB").crop((x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)))
    return _fitted(part, (_TILE, _TILE))


def _fitted(image: Image.Image, room: tuple[int, int]) -> Image.Image:
    """Return a picture scaled to fit into a width and height in pixels."""
    scale = min(room[0] / image.width, room[1] / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def _reference(nearest: Likeness) -> Image.Image | str:
    """Return the region in the nearest photo, or the reason why it cannot be shown."""
    if nearest.path is None:
        return "which photo it is of is not known any more"
    try:
        file = read_photo(nearest.path)
        if file.content_hash != nearest.content_hash:
            return "the photo changed since"
        photo = decode_photo(file)
    except PhotoError:
        return "the photo is not there any more" if not nearest.path.exists() else "the photo cannot be read"
    whole = Box(0.0, 0.0, float(photo.image.width), float(photo.image.height))
    return _crop(photo, nearest.box or whole)


def _draw_scale(page: Page, explanation: Explanation, top: float) -> float:
    """Draw the score on a bar; return the height at which the next part begins.

    The bar is grey where nothing is named, amber where the concept is suggested, and green where it is named.
    """
    assert explanation.score is not None
    marks = [
        explanation.name_threshold,
        explanation.name_threshold if explanation.suggestion_threshold is None else explanation.suggestion_threshold,
    ]
    low, high = min([explanation.score, *marks]), max([explanation.score, *marks])
    span = max(high - low, 0.1 * abs(high), 1e-3)
    low, high = low - 0.25 * span, high + 0.25 * span
    left, right, y = _EDGE, _WIDTH - _EDGE, round(top) + 34

    def at(value: float) -> float:
        return left + (right - left) * (value - low) / (high - low)

    def bar(start: float, stop: float, color: str) -> None:
        page.draw.rectangle((start, y, stop, y + 18), fill=color)

    named, words = at(explanation.name_threshold), scores_in_words(explanation)
    bar(left, right, "#cfd8dc")
    if explanation.suggestion_threshold is not None:
        suggested = at(explanation.suggestion_threshold)
        bar(suggested, named, "#ffcc80")
        _mark(page, suggested, y, f"suggested from {words.suggestion}", "r")
    bar(named, right, "#a5d6a7")
    _mark(page, named, y, f"named from {words.name}", "l")
    x = at(explanation.score)
    page.draw.polygon(((x - 9, y - 14), (x + 9, y - 14), (x, y + 2)), fill=INK)
    page.draw.line((x, y, x, y + 18), fill=INK, width=3)
    page.text(
        (min(max(x, left + 50), right - 50), y - 34), f"{label(explanation.scale)} {words.score}", size=16, align="m"
    )
    return y + 68


def _mark(page: Page, x: float, y: float, text: str, align: Literal["l", "r"]) -> None:
    """Draw a threshold on the bar at height y, with its name below."""
    page.draw.line((x, y - 4, x, y + 24), fill=INK, width=2)
    page.text((x, y + 28), text, size=15, color=_PALE, align=align)


def _draw_facts(page: Page, explanation: Explanation, top: float) -> float:
    """Write the facts of an explanation; return the height at which the next line begins."""
    y = top
    for text in facts_of(explanation):
        y = page.lines((_EDGE, y), text, _PHOTO[0], size=16) + 4
    return y


def _draw_pair_features(page: Page, explanation: Explanation, top: float) -> float:
    """Draw the contribution of each pair feature and the bias as bars around zero; return the height where they end."""
    page.text((_RIGHT, top), "what adds up to it (log-odds)", size=16)
    rows = [
        (f"{PAIR_FEATURE_WORDS.get(e.name, e.name)} {e.value:.2f}", e.contribution) for e in explanation.pair_features
    ]
    rows.append(("to begin with", explanation.bias or 0.0))
    most = max(abs(part) for _, part in rows) or 1.0
    middle, reach, y = _WIDTH - _EDGE - 100, 48, top + 28
    for words, part in rows:
        page.text((_RIGHT, y), words, size=15, color=_PALE)
        x = middle + reach * part / most
        page.draw.rectangle((min(x, middle), y + 2, max(x, middle), y + 14), fill=_GREEN if part > 0 else _RED)
        page.text((_WIDTH - _EDGE, y), f"{part:+.2f}", size=15, align="r")
        y += 22
    page.draw.line((middle, top + 28, middle, y - 4), fill=_PALE, width=1)
    return y
