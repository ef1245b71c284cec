"""Write the page for deciding about suggestions: one self-contained HTML file with crops beside the references.

The browser saves the decisions as lines that `read_decision_requests` reads. The page shows faces and names, so only
its owner may read it; it loads nothing, and its script cannot send anything anywhere (content security policy).
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
"""Maybes on a page unless the user says otherwise; each takes about 25 kB."""
_MARK = '<meta name="generator" content="myvlm review">'
_MARKED_WITHIN = 1024
"""The mark is in so many first bytes of a page."""
_SIDE, _WHOLE = 256, 200
"""Longest sides in pixels of crops, and of whole photos."""
_MARGIN = 1.4
_QUALITY = 82


@dataclass(frozen=True)
class _Tile:
    """A picture (a data URI) with a line underneath; `note` says why there is none."""

    line: str
    picture: str = ""
    note: str = ""


@dataclass(frozen=True)
class _Card:
    """A suggestion as the page shows it; examples have the numbers of pictures that several cards share. score,
    maybe_from, named_from: for the meter; confidence, needed, runner_up: the same for people.
    """

    concept: str
    name: str
    path: str
    crop: _Tile
    whole: _Tile
    examples: tuple[tuple[_Tile, int], ...]
    score: float
    maybe_from: float
    named_from: float
    confidence: str
    needed: str
    runner_up: str
    lines: tuple[str, str]  # confirm, reject


def check_target(target: Path) -> None:
    """Make sure that a page may be written there.

    Raises:
        UsageError: something else than a page of ours is there, or the folder is not.
    """
    if not (os.path.lexists(target.parent) and target.parent.is_dir()):  # lexists: False of names that are too long
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
    maybes: Sequence[Suggestion], target: Path, *, more: int = 0, step: Callable[[], None] = lambda: None
) -> None:
    """Write the page of some maybes, which only its owner can read; `more`: how many are not on it. The same maybes of
    the same photos give the same bytes. `step` hears of each maybe.

    Raises:
        UsageError: it may not be written there, see `check_target`.
        EngineError: it cannot be written there.
    """
    data = render_page(maybes, more=more, step=step).encode("utf-8", "backslashreplace")
    check_target(target)
    try:
        write_private(target, data)
    except OSError as err:
        raise EngineError(f"{target} cannot be written: {err.strerror or err}", hint="Give another file.") from err


def render_page(maybes: Sequence[Suggestion], *, more: int = 0, step: Callable[[], None] = lambda: None) -> str:
    """Render the page of suggestions as HTML; a photo that cannot be read any more becomes a tile that says so."""
    from jinja2 import Environment, StrictUndefined

    pictures = _Pictures()
    made: dict[int, _Card] = {}
    for place in sorted(range(len(maybes)), key=lambda i: (maybes[i].content_hash, i)):  # each photo decoded once
        made[place] = _make_card(maybes[place], pictures)
        step()
    cards = [made[i] for i in range(len(maybes))]
    lines = [c.lines for c in cards]
    data = {"page": sha256_of(repr(lines).encode())[:16], "lines": lines, "pictures": pictures.shared}
    template = Path(__file__).with_name("review.html.j2").read_text("utf-8")
    env = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return env.from_string(template).render(mark=_MARK, cards=cards, more=more, data=data)


def decision_line(maybe: Suggestion, verdict: Verdict) -> str:
    """Return a decision as a line that `read_decision_requests` reads.

    The line is ASCII, so that no character of a name ends it; bytes of a path that are not UTF-8 are lone surrogates.
    """
    photo, box = os.fspath(maybe.path.absolute()), list(maybe.match.box.rounded())
    return json.dumps({"photo": photo, "concept": maybe.match.name, "verdict": verdict, "box": box})


class _Pictures:
    """Pictures of photos: the last photo stays decoded, examples are made once and shared."""

    def __init__(self) -> None:
        self.shared: list[str] = []
        self._known: dict[tuple[Path, str, Box | None], tuple[int, str]] = {}
        self._load = lru_cache(maxsize=1)(_load)

    def of_maybe(self, maybe: Suggestion) -> tuple[_Tile, _Tile]:
        """Its region, and the whole photo with the region framed."""
        photo, note = self._load(maybe.path, maybe.content_hash)
        if photo is None:
            return _Tile("", note=note), _Tile("", note=note)
        box = photo.in_image(maybe.match.box)
        return _Tile("", _data_uri(_crop(photo.image, box))), _Tile("", _data_uri(_framed(photo.image, box)))

    def of_example(self, example: Example) -> tuple[_Tile, int]:
        """Return a tile, and the number of its picture, -1 when there is none."""
        key = (example.path, example.content_hash, example.box)
        if key not in self._known:
            photo, note = _load(example.path, example.content_hash)
            if photo is not None:
                self.shared.append(_data_uri(_crop(photo.image, photo.in_image(example.box or _all_of(photo)))))
            self._known[key] = (-1 if photo is None else len(self.shared) - 1, note)
        number, note = self._known[key]
        alike = "" if example.likeness is None else f"likeness {example.likeness:.2f}"
        return _Tile(", ".join(t for t in (alike, "confirmed" if example.confirmed else "") if t), note=note), number


def _load(path: Path, content_hash: str) -> tuple[Photo | None, str]:
    """Return a photo, or why it cannot be shown."""
    try:
        photo = load_photo(path)
    except PhotoError:
        return None, "The photo is not there any more." if not path.exists() else "The photo cannot be read."
    same = photo.facts.content_hash == content_hash
    return (photo, "") if same else (None, "The photo has changed since.")


def _make_card(maybe: Suggestion, pictures: _Pictures) -> _Card:
    crop, whole = pictures.of_maybe(maybe)
    match, rival = maybe.match, maybe.runner_up
    found, needed, *others = in_words(match.scale, match.score, match.threshold, *([rival.score] if rival else []))
    return _Card(
        concept=maybe.match.name,
        name=_text(maybe.path.name),
        path=_text(os.fspath(maybe.path)),
        crop=crop,
        whole=whole,
        examples=tuple(pictures.of_example(e) for e in maybe.nearest),
        score=match.score,
        maybe_from=maybe.maybe_from,
        named_from=match.threshold,
        confidence=found,
        needed=needed,
        runner_up="" if rival is None else f"{rival.name} ({others[0]})",
        lines=(decision_line(maybe, Verdict.CONFIRM), decision_line(maybe, Verdict.REJECT)),
    )


def _text(name: str) -> str:
    """Return a name for people; bytes that are not UTF-8 appear as escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def _all_of(photo: Photo) -> Box:
    return Box(0.0, 0.0, float(photo.facts.width), float(photo.facts.height))


def _crop(image: Image.Image, box: Box) -> Image.Image:
    """Return a region with some of what is around it."""
    grown = box.grown(_MARGIN, *image.size)
    x0, y0, x1, y1 = grown.rounded()
    x0, y0 = min(x0, image.width - 1), min(y0, image.height - 1)
    return _shrunk(image.crop((x0, y0, max(x0 + 1, x1), max(y0 + 1, y1))), _SIDE)


def _framed(image: Image.Image, box: Box) -> Image.Image:
    """Return a small copy of a picture with a region framed, white within black: seen on any ground."""
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
    """Return a copy of a picture, its longer side no longer than this."""
    factor = min(1.0, side / max(image.size))
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _data_uri(image: Image.Image) -> str:
    plain, data = image.convert("RGB"), io.BytesIO()
    plain.info.clear()  # nothing of the photo's file but its pixels
    plain.save(data, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
