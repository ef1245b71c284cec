"""Write the review page: one self-contained HTML file with the crop of each suggestion beside similar references.

The user decides about the suggestions there; the browser saves the lines that `read_decision_requests` reads.
The page shows faces and names, so only its owner may read the file. It loads nothing, and its content security policy
prevents its script from sending anything.
"""

import base64
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw

from engine.concepts.review import Example, Suggestion
from engine.core.boxes import Box
from engine.core.errors import EngineError, PhotoError, UsageError
from engine.core.files import open_regular, sha256_of, write_private
from engine.core.types import Verdict
from engine.photos.decode import Photo, load_photo
from engine.recognition.confidence import in_words

PAGE_LIMIT = 500
"""Default for the most suggestions on a page; each takes about 25 kB."""
_MARK = '<meta name="generator" content="myvlm review">'
_MARKED_WITHIN = 1024
"""The mark is within this many bytes from the start of a page."""
_SIDE, _WHOLE = 256, 200
"""Longest sides in pixels of crops and of whole photos."""
_MARGIN = 1.4
_QUALITY = 82


@dataclass(frozen=True)
class _Tile:
    """A picture (a data URI) with a line of text below it; `note` is the reason if there is no picture."""

    line: str
    picture: str = ""
    note: str = ""


@dataclass(frozen=True)
class _Card:
    """A suggestion as the page shows it.

    examples: tiles with the numbers of their pictures, which several cards can share; score, suggested_from,
    named_from: log-odds for the meter; confidence, needed, runner_up: score, threshold and runner-up as text; lines:
    the decision lines to confirm and to reject.
    """

    concept: str
    name: str
    path: str
    crop: _Tile
    whole: _Tile
    examples: tuple[tuple[_Tile, int], ...]
    score: float
    suggested_from: float
    named_from: float
    confidence: str
    needed: str
    runner_up: str
    lines: tuple[str, str]


def check_target(target: Path) -> None:
    """Check that a page may be written to this path.

    Raises:
        UsageError: the path exists and is not a review page, or its folder does not exist.
    """
    if not (
        os.path.lexists(target.parent) and target.parent.is_dir()
    ):  # lexists returns False for names that are too long
        raise UsageError(f"--html: there is no folder {target.parent}", hint="Create it, or give another file.")
    if os.path.lexists(target) and not _is_page(target):
        raise UsageError(f"--html would replace {target}, which is no review page", hint="Give another file.")


def _is_page(path: Path) -> bool:
    try:
        with open_regular(path) as f:
            return _MARK.encode() in os.pread(f, _MARKED_WITHIN, 0)
    except OSError:
        return False


def write_page(
    suggestions: Sequence[Suggestion], target: Path, *, more: int = 0, step: Callable[[], None] = lambda: None
) -> None:
    """Write the review page of suggestions, readable by its owner only.

    The same suggestions of the same photos give the same bytes. more: how many suggestions are not on the page; step:
    called for each suggestion.

    Raises:
        UsageError: the page may not be written to this path, see `check_target`.
        EngineError: writing failed.
    """
    data = render_page(suggestions, more=more, step=step).encode("utf-8", "backslashreplace")
    check_target(target)
    try:
        write_private(target, data)
    except OSError as err:
        raise EngineError(f"{target} cannot be written: {err.strerror or err}", hint="Give another file.") from err


def render_page(suggestions: Sequence[Suggestion], *, more: int = 0, step: Callable[[], None] = lambda: None) -> str:
    """Return the review page as HTML; for a photo that can no longer be read, the tile gives the reason."""
    from jinja2 import Environment, StrictUndefined

    pictures = _Pictures()
    card_of: dict[int, _Card] = {}
    for place in sorted(
        range(len(suggestions)), key=lambda i: (suggestions[i].content_hash, i)
    ):  # each photo decoded once
        card_of[place] = _make_card(suggestions[place], pictures)
        step()
    cards = [card_of[i] for i in range(len(suggestions))]
    lines = [c.lines for c in cards]
    data = {"page": sha256_of(repr(lines).encode())[:16], "lines": lines, "pictures": pictures.shared}
    template = Path(__file__).with_name("review.html.j2").read_text("utf-8")
    env = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return env.from_string(template).render(mark=_MARK, cards=cards, more=more, data=data)


def decision_line(suggestion: Suggestion, verdict: Verdict) -> str:
    """Return a decision as a JSON line that `read_decision_requests` reads.

    The line is ASCII, so that no character of a name can end it; bytes of a path that are not UTF-8 are escaped as
    lone surrogates.
    """
    photo, box = os.fspath(suggestion.path.absolute()), list(suggestion.match.box.rounded())
    return json.dumps({"photo": photo, "concept": suggestion.match.name, "verdict": verdict, "box": box})


class _Pictures:
    """Make pictures of photos; the last photo stays decoded, and each example is made once and shared."""

    def __init__(self) -> None:
        self.shared: list[str] = []
        self._examples: dict[tuple[Path, str, Box | None], tuple[int, str]] = {}
        self._load = lru_cache(maxsize=1)(_load)

    def of_suggestion(self, suggestion: Suggestion) -> tuple[_Tile, _Tile]:
        """Return tiles of the suggested region and of the whole photo with the region framed."""
        photo, note = self._load(suggestion.path, suggestion.content_hash)
        if photo is None:
            return _Tile("", note=note), _Tile("", note=note)
        box = photo.in_image(suggestion.match.box)
        return _Tile("", _data_uri(_crop(photo.image, box))), _Tile("", _data_uri(_framed(photo.image, box)))

    def of_example(self, example: Example) -> tuple[_Tile, int]:
        """Return a tile and the number of its picture; -1 if there is no picture."""
        key = (example.path, example.content_hash, example.box)
        if key not in self._examples:
            photo, note = _load(example.path, example.content_hash)
            if photo is not None:
                self.shared.append(_data_uri(_crop(photo.image, photo.in_image(example.box or _all_of(photo)))))
            self._examples[key] = (-1 if photo is None else len(self.shared) - 1, note)
        number, note = self._examples[key]
        alike = "" if example.likeness is None else f"likeness {example.likeness:.2f}"
        return _Tile(", ".join(t for t in (alike, "confirmed" if example.confirmed else "") if t), note=note), number


def _load(path: Path, content_hash: str) -> tuple[Photo | None, str]:
    """Return a photo and an empty note, or None and the reason why it cannot be shown."""
    try:
        photo = load_photo(path)
    except PhotoError:
        return None, "The photo is not there any more." if not path.exists() else "The photo cannot be read."
    same = photo.facts.content_hash == content_hash
    return (photo, "") if same else (None, "The photo has changed since.")


def _make_card(suggestion: Suggestion, pictures: _Pictures) -> _Card:
    crop, whole = pictures.of_suggestion(suggestion)
    match, rival = suggestion.match, suggestion.runner_up
    confidence, needed, *others = in_words(match.scale, match.score, match.threshold, *([rival.score] if rival else []))
    return _Card(
        concept=suggestion.match.name,
        name=_text(suggestion.path.name),
        path=_text(os.fspath(suggestion.path)),
        crop=crop,
        whole=whole,
        examples=tuple(pictures.of_example(e) for e in suggestion.nearest),
        score=match.score,
        suggested_from=suggestion.suggested_from,
        named_from=match.threshold,
        confidence=confidence,
        needed=needed,
        runner_up="" if rival is None else f"{rival.name} ({others[0]})",
        lines=(decision_line(suggestion, Verdict.CONFIRM), decision_line(suggestion, Verdict.REJECT)),
    )


def _text(name: str) -> str:
    """Return a name for display; bytes that are not UTF-8 appear as escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def _all_of(photo: Photo) -> Box:
    return Box(0.0, 0.0, float(photo.facts.width), float(photo.facts.height))


def _crop(image: Image.Image, box: Box) -> Image.Image:
    """Crop a region with a margin around it."""
    grown = box.grown(_MARGIN, *image.size)
    x0, y0, x1, y1 = grown.rounded()
    x0, y0 = min(x0, image.width - 1), min(y0, image.height - 1)
    return _shrunk(image.crop((x0, y0, max(x0 + 1, x1), max(y0 + 1, y1))), _SIDE)


def _framed(image: Image.Image, box: Box) -> Image.Image:
    """Return a small copy of a picture with a region framed in white between black lines, visible on any background."""
    small = _shrunk(image, _WHOLE)
    x, y = small.width / image.width, small.height / image.height
    x0, y0, x1, y1 = (
        Box(box.x0 * x, box.y0 * y, box.x1 * x, box.y1 * y).clipped(small.width - 1, small.height - 1).rounded()
    )
    draw = ImageDraw.Draw(small)
    for grown, color in ((1, "black"), (0, "white"), (-1, "white"), (-2, "black")):
        if x1 - x0 + 2 * grown > 0 and y1 - y0 + 2 * grown > 0:
            draw.rectangle((x0 - grown, y0 - grown, x1 + grown, y1 + grown), outline=color)
    return small


def _shrunk(image: Image.Image, side: int) -> Image.Image:
    """Return a copy of a picture whose longer side is at most `side` pixels."""
    factor = min(1.0, side / max(image.size))
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _data_uri(image: Image.Image) -> str:
    plain, data = image.convert("RGB"), io.BytesIO()
    plain.info.clear()  # drop metadata: keep the pixels only
    plain.save(data, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
