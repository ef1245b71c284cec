"""Write the review page: one self-contained HTML file with the crop of each suggestion beside similar references.

The user decides about the suggestions there; the browser saves the lines that `read_decision_requests` reads.
The page shows faces and names, so only its owner may read the file. It loads nothing, and its content security policy
prevents its script from sending anything.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from engine.concepts.review import Example, Suggestion
from engine.core.boxes import Box
from engine.core.errors import PhotoError
from engine.core.files import sha256_of
from engine.core.types import Verdict
from engine.pages.page_file import write_page_file
from engine.pages.pictures import crop, data_uri, framed, jpeg
from engine.pages.render import plain_text, render_page
from engine.photos.decode import Photo, load_photo
from engine.recognition.confidence import in_words

PAGE_LIMIT = 500
"""Default for the most suggestions on a page; each takes about 25 kB."""
MARK = "myvlm review"
_SIDE, _WHOLE = 256, 200
"""Longest sides in pixels of crops and of whole photos."""


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
    write_page_file(render_review(suggestions, more=more, step=step), target, MARK)


def render_review(suggestions: Sequence[Suggestion], *, more: int = 0, step: Callable[[], None] = lambda: None) -> str:
    """Return the review page as HTML; for a photo that can no longer be read, the tile gives the reason."""
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
    return render_page(
        "review.html.j2",
        mark=MARK,
        scripts=["review.js"],
        styles=["review.css"],
        data=data,
        cards=cards,
        more=more,
    )


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
        return _Tile("", data_uri(jpeg(crop(photo.image, box, _SIDE)))), _Tile(
            "", data_uri(jpeg(framed(photo.image, box, _WHOLE)))
        )

    def of_example(self, example: Example) -> tuple[_Tile, int]:
        """Return a tile and the number of its picture; -1 if there is no picture."""
        key = (example.path, example.content_hash, example.box)
        if key not in self._examples:
            photo, note = _load(example.path, example.content_hash)
            if photo is not None:
                self.shared.append(_crop_of(photo, example.box))
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
        name=plain_text(suggestion.path.name),
        path=plain_text(os.fspath(suggestion.path)),
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


def _crop_of(photo: Photo, box: Box | None) -> str:
    whole = Box(0.0, 0.0, float(photo.facts.width), float(photo.facts.height))
    return data_uri(jpeg(crop(photo.image, photo.in_image(box or whole), _SIDE)))
