"""A picture of why a concept was named in a photo or was not: region, nearest reference, score and thresholds."""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

from engine.core.boxes import Box
from engine.core.errors import PhotoError
from engine.photos.decode import Photo, decode_photo, read_photo
from engine.recognition.classifier import ThresholdSource
from engine.recognition.confidence import in_words, label
from engine.recognition.explain.explanation import Explanation, RecognitionOutcome
from engine.recognition.explain.nearest import Likeness

_WIDTH, _EDGE = 1040, 24
_PHOTO, _TILE, _GAP = (592, 424), 200, 24
_RIGHT = _EDGE + _PHOTO[0] + _GAP
_INK, _PALE, _GROUND, _FRAME = "#1c1c1c", "#5f6368", "#ffffff", "#eceff1"
_GREEN, _AMBER, _GREY, _RED = "#2e7d32", "#c77700", "#78909c", "#c62828"
_COLORS = {
    RecognitionOutcome.NAMED: _GREEN,
    RecognitionOutcome.CONFIRMED: _GREEN,
    RecognitionOutcome.MAYBE: _AMBER,
    RecognitionOutcome.UNKNOWN: _GREY,
    RecognitionOutcome.REJECTED: _RED,
    RecognitionOutcome.DECLINED: _RED,
}
_WORDS = {
    "likeness": "like all references",
    "nearest": "like each of them",
    "rival": "like another concept",
    "crowd": "like strangers",
    "twins": "references like strangers",
    "rejected": "like a rejected one",
}
"""The evidence for people; see `engine.recognition.scoring.PAIR_FEATURES`."""
_MARGIN = 1.25
"""Crops are so much larger than their region."""


@dataclass
class _Page:
    """A sheet that is written from the top down."""

    image: Image.Image
    draw: ImageDraw.ImageDraw

    @classmethod
    def of(cls, height: int) -> "_Page":
        image = Image.new("RGB", (_WIDTH, height), _GROUND)
        return cls(image, ImageDraw.Draw(image))

    def text(
        self,
        place: tuple[float, float],
        text: str,
        *,
        size: int = 16,
        color: str = _INK,
        align: Literal["l", "m", "r"] = "l",
    ) -> None:
        """A line whose top (of capitals) is at `place`, which is its left, middle or right."""
        self.draw.text(place, plain(text), fill=color, font=_font(size), anchor=f"{align}a")

    def lines(
        self, place: tuple[float, float], text: str, width: float, *, size: int = 16, color: str = _INK, most: int = 4
    ) -> float:
        """A text in lines of at most so many pixels; returns where the next one begins."""
        x, y = place
        for line in _wrapped(text, width, size)[:most]:
            self.text((x, y), line, size=size, color=color)
            y += round(size * 1.35)
        return y


def draw_explanation(photo: Photo, why: Explanation) -> Image.Image:
    """Draw a photo with the region, the region beside the nearest reference, the score among its thresholds, what
    adds up to it, and the rest in words. The photo itself is not changed.
    """
    page, color = _Page.of(2000), _COLORS[why.outcome]
    room = _WIDTH - 2 * _EDGE - _font(30).getlength(f": {why.outcome}")
    page.text((_EDGE, 20), f"{_cut(plain(why.concept.name), room, 30)}: {why.outcome}", size=30, color=color)
    y = page.lines((_EDGE, 62), f"{photo.path.name}: {why.reason}", _WIDTH - 2 * _EDGE, most=3) + 12
    _draw_photo(page, photo, why, y)
    _draw_tiles(page, photo, why, y)
    y += _PHOTO[1] + 28
    if why.score is not None:
        y = _draw_scale(page, why, y)
    left = _draw_facts(page, why, y)
    right = _draw_evidence(page, why, y) if why.evidence else y
    return page.image.crop((0, 0, _WIDTH, round(max(left, right)) + 16))


def plain(text: str) -> str:
    """A text in the letters that the built-in font has: without accents, `?` for other alphabets."""
    parts = unicodedata.normalize("NFKD", text)
    return "".join(c for c in parts if not unicodedata.combining(c)).encode("ascii", "replace").decode()


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _wrapped(text: str, width: float, size: int) -> list[str]:
    """Lines of at most `width` pixels; a word that is longer is cut in its middle."""
    font, found = _font(size), [""]
    for word in plain(text).split():
        longer = f"{found[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            found[-1] = longer
        else:
            found += [_cut(word, width, size)] if found[-1] else []
            found[-1] = found[-1] or _cut(word, width, size)
    return found


def _cut(word: str, width: float, size: int) -> str:
    """A text of the font's letters, without its middle where that is needed for the width."""
    font, keep = _font(size), len(word) // 2
    short = word
    while font.getlength(short) > width and keep:
        short, keep = f"{word[:keep]}...{word[-keep:]}", keep - 1
    return short


def _draw_photo(page: _Page, photo: Photo, why: Explanation, top: float) -> None:
    small = _fitted(photo.image.convert("RGB"), _PHOTO)
    x, y = _EDGE + (_PHOTO[0] - small.width) // 2, round(top) + (_PHOTO[1] - small.height) // 2
    page.draw.rectangle((_EDGE, top, _EDGE + _PHOTO[0] - 1, top + _PHOTO[1] - 1), fill=_FRAME)
    page.image.paste(small, (x, y))
    if why.box is None:
        return
    box, unit = photo.in_image(why.box), small.width / photo.image.width
    corners = [x + box.x0 * unit, y + box.y0 * unit, x + box.x1 * unit, y + box.y1 * unit]
    corners[2:] = max(corners[2], corners[0] + 4), max(corners[3], corners[1] + 4)
    page.draw.rectangle([corners[0] - 2, corners[1] - 2, corners[2] + 2, corners[3] + 2], outline="white", width=6)
    page.draw.rectangle(corners, outline=_COLORS[why.outcome], width=3)


def _draw_tiles(page: _Page, photo: Photo, why: Explanation, top: float) -> None:
    """The region, and what is most like it of what is known of the concept."""
    whole = "the photo" if why.source == "photo" else f"this {'face' if why.source == 'face' else 'region'}"
    region = _crop(photo, photo.in_image(why.box)) if why.box else "no region"
    found = [f"found by: {why.source}"] if why.source in ("detector", "grid", "body") else []
    _draw_tile(page, top, region, whole if why.box else "nothing here", found)
    top += _TILE + _GAP
    if why.nearest is None:
        _draw_tile(page, top, "no reference", "nearest reference", ["nothing to compare with"])
        return
    n = why.nearest
    kind = "confirmed photo" if n.of == "confirmed" else "reference"
    words = [n.path.name if n.path else "not known which", f"likeness {n.cosine:.2f}"]
    _draw_tile(page, top, _reference(n), f"nearest {kind}", words)


def _draw_tile(page: _Page, top: float, tile: Image.Image | str, title: str, words: Sequence[str]) -> None:
    box = (_RIGHT, round(top), _RIGHT + _TILE - 1, round(top) + _TILE - 1)
    page.draw.rectangle(box, fill=_FRAME)
    if isinstance(tile, str):
        lines = _wrapped(tile, _TILE - 20, 15)
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
    """A region of the picture with a little around it, as large as a tile."""
    x0, y0, x1, y1 = box.grown(_MARGIN, *photo.image.size).rounded()
    part = photo.image.convert("RGB").crop((x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)))
    return _fitted(part, (_TILE, _TILE))


def _fitted(image: Image.Image, room: tuple[int, int]) -> Image.Image:
    """A picture as large as there is room."""
    scale = min(room[0] / image.width, room[1] / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def _reference(nearest: Likeness) -> Image.Image | str:
    """What the nearest photo shows, or why that cannot be shown."""
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


def _draw_scale(page: _Page, why: Explanation, top: float) -> float:
    """The score on a bar, grey where nobody is, amber where the user is asked, green where it is named."""
    assert why.score is not None
    marks = [why.name, why.name if why.maybe is None else why.maybe]
    low, high = min([why.score, *marks]), max([why.score, *marks])
    span = max(high - low, 0.1 * abs(high), 1e-3)
    low, high = low - 0.25 * span, high + 0.25 * span
    left, right, y = _EDGE, _WIDTH - _EDGE, round(top) + 34

    def at(value: float) -> float:
        return left + (right - left) * (value - low) / (high - low)

    def bar(start: float, stop: float, color: str) -> None:
        page.draw.rectangle((start, y, stop, y + 18), fill=color)

    named, words = at(why.name), scores_in_words(why)
    bar(left, right, "#cfd8dc")
    if why.maybe is not None:
        asked = at(why.maybe)
        bar(asked, named, "#ffcc80")
        _mark(page, asked, y, f"suggested from {words.maybe}", "r")
    bar(named, right, "#a5d6a7")
    _mark(page, named, y, f"named from {words.name}", "l")
    x = at(why.score)
    page.draw.polygon(((x - 9, y - 14), (x + 9, y - 14), (x, y + 2)), fill=_INK)
    page.draw.line((x, y, x, y + 18), fill=_INK, width=3)
    page.text((min(max(x, left + 50), right - 50), y - 34), f"{label(why.scale)} {words.score}", size=16, align="m")
    return y + 68


def _mark(page: _Page, x: float, y: float, text: str, align: Literal["l", "r"]) -> None:
    """A threshold on the bar at height y, and its name under it."""
    page.draw.line((x, y - 4, x, y + 24), fill=_INK, width=2)
    page.text((x, y + 28), text, size=15, color=_PALE, align=align)


def _draw_facts(page: _Page, why: Explanation, top: float) -> float:
    y = top
    for text in facts_of(why):
        y = page.lines((_EDGE, y), text, _PHOTO[0], size=16) + 4
    return y


@dataclass(frozen=True)
class ScoreWords:
    """Score and thresholds of a concept in a photo as people read them; "" for those that there are not."""

    score: str
    name: str
    maybe: str
    runner_up: str


def scores_in_words(why: Explanation) -> ScoreWords:
    """The scores of an explanation as confidences in percent, or as likenesses."""
    values = (why.score, why.name, why.maybe, why.runner_up.score if why.runner_up else None)
    words = iter(in_words(why.scale, *(v for v in values if v is not None)))
    return ScoreWords(*("" if v is None else next(words) for v in values))


def facts_of(why: Explanation) -> Iterator[str]:
    """What is known beside region, nearest reference and score, in sentences without a full stop."""
    if why.runner_up is not None:
        ahead = why.score is not None and why.runner_up.score > why.score
        what = "likelier in this region" if ahead else "runner-up in this region"
        yield f"{what}: {why.runner_up.name}, {label(why.scale)} {scores_in_words(why).runner_up}"
    if why.likeness is not None:
        crowd = f"; the strangers most like it: {why.crowd:.2f}" if why.crowd is not None else ""
        yield f"likeness to the mean of the references: {why.likeness:.2f}{crowd}"
    if why.rejection is not None:
        r = why.rejection
        yield f"nearest rejection: {r.path.name if r.path else 'not known which'}, likeness {r.cosine:.2f}"
    yield f"thresholds: {_told(why.basis)}"


def _told(basis: ThresholdSource) -> str:
    if basis.source == "calibrated":
        return f"calibrated on {basis.photos} photos in {basis.folder}"
    if basis.source == "usual":
        return "the built-in ones; myvlm calibrate fits them to your photos"
    return "the paper's"


def _draw_evidence(page: _Page, why: Explanation, top: float) -> float:
    """What each piece of evidence adds to the score: bars to the right and to the left of nothing."""
    page.text((_RIGHT, top), "what adds up to it (log-odds)", size=16)
    rows = [(f"{_WORDS.get(e.name, e.name)} {e.value:.2f}", e.contribution) for e in why.evidence]
    rows.append(("to begin with", why.bias or 0.0))
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
