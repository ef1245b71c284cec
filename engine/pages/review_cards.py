"""Describe the suggestions of a review as the page shows them: cards in groups of one concept, and their pictures."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.concepts.review import Example, Suggestion
from engine.core.colours import colour_of
from engine.core.types import Scale
from engine.pages.render import plain_text
from engine.pages.thumbnails import Picture, View
from engine.photos.metadata.exif import read_file
from engine.recognition.confidence import confidence, in_words

REFERENCES = 5
"""Most photos of a concept above its group."""
_LIKELIHOODS = ((0.895, "Likely"), (0.495, "Possible"), (-float("inf"), "Doubtful"))
"""The least confidence for each word; in whole percent 90 and 50."""
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class PictureSizes:
    """Longer sides in pixels: of crops and whole photos on cards, of known photos, and of the enlarged photo (0: the
    whole photo of the card).
    """

    card: int = 400
    whole: int = 240
    reference: int = 240
    enlarged: int = 1600


@dataclass(frozen=True)
class Known:
    """A photo to compare with: the number of its picture, and whether the user confirmed it in a review."""

    picture: int
    confirmed: bool


@dataclass(frozen=True)
class Card:
    """A suggestion as the page shows it.

    number: of the suggestion, in the order of the page. crop, whole, enlarged: numbers of pictures. likelihood,
    percent: how certain it is, in words and as a confidence; reasons: why the concept is not named in the photo, as
    sentences.
    """

    number: int
    concept: str
    name: str
    folder: str
    path: str
    date: str
    likelihood: str
    percent: str
    reasons: tuple[str, ...]
    crop: int
    whole: int
    enlarged: int
    known: tuple[Known, ...]


@dataclass(frozen=True)
class Group:
    """The cards of one concept, with the photos that it is known from, and what the user should know of it."""

    concept: str
    kind: str
    cards: tuple[Card, ...]
    known: tuple[Known, ...]
    note: str = ""


@dataclass
class _Pictures:
    """The pictures of a page; the same one has one number."""

    pictures: list[Picture] = field(default_factory=list)
    numbers: dict[Picture, int] = field(default_factory=dict)

    def number(self, picture: Picture) -> int:
        if picture not in self.numbers:
            self.numbers[picture] = len(self.pictures)
            self.pictures.append(picture)
        return self.numbers[picture]


def in_page_order(suggestions: Iterable[Suggestion]) -> list[Suggestion]:
    """Order suggestions as the page does: concepts with the most of them first, and of each the likeliest first."""
    given = list(suggestions)
    counts = Counter(s.match.concept_id for s in given)
    return sorted(given, key=lambda s: (-counts[s.match.concept_id], s.match.name.casefold(), s.match.concept_id))


def make_groups(
    suggestions: Sequence[Suggestion], sizes: PictureSizes
) -> tuple[tuple[Group, ...], tuple[Picture, ...]]:
    """Return the groups of a page and its pictures; suggestions: `in_page_order`. Only metadata is read of photos."""
    pictures, folder = _Pictures(), _common_folder(suggestions)
    by_concept: dict[str, list[Card]] = {}
    of_concept: dict[str, list[Suggestion]] = {}
    for number, suggestion in enumerate(suggestions):
        card = _make_card(number, suggestion, pictures, sizes, folder)
        by_concept.setdefault(suggestion.match.concept_id, []).append(card)
        of_concept.setdefault(suggestion.match.concept_id, []).append(suggestion)
    groups = tuple(_make_group(cards, of_concept[concept]) for concept, cards in by_concept.items())
    return groups, tuple(pictures.pictures)


def _make_group(cards: Sequence[Card], suggestions: Sequence[Suggestion]) -> Group:
    match, separable = suggestions[0].match, all(s.separable for s in suggestions)
    often = Counter(known for card in cards for known in card.known if known.picture >= 0)
    note = f"{match.name} looks much like others in these photos and is seldom named: add reference photos."
    return Group(
        concept=match.name,
        kind=str(match.kind),
        cards=tuple(cards),
        known=tuple(known for known, _ in often.most_common(REFERENCES)),
        note="" if separable else note,
    )


def _make_card(
    number: int, suggestion: Suggestion, pictures: _Pictures, sizes: PictureSizes, folder: Path | None
) -> Card:
    match, path, content = suggestion.match, suggestion.path, suggestion.content_hash
    colour = colour_of(match.name)
    crop = Picture(path, content, match.box, View.REGION, sizes.card, colour)
    whole = Picture(path, content, match.box, View.WHOLE, sizes.whole, colour)
    large = Picture(path, content, match.box, View.WHOLE, sizes.enlarged, colour) if sizes.enlarged else whole
    percent, *_ = in_words(match.scale, match.score, match.threshold)
    return Card(
        number=number,
        concept=match.name,
        name=plain_text(path.name),
        folder=_folder_text(path.parent.absolute(), folder),
        path=plain_text(os.fspath(path)),
        date=date_text(read_file(path).taken),
        likelihood=_likelihood(suggestion),
        percent=percent if match.scale in (Scale.LOG_ODDS, Scale.PROBABILITY) else "",
        reasons=tuple(_reasons(suggestion)),
        crop=pictures.number(crop),
        whole=pictures.number(whole),
        enlarged=pictures.number(large),
        known=tuple(_known(e, pictures, sizes.reference, colour) for e in suggestion.nearest),
    )


def _known(example: Example, pictures: _Pictures, side: int, colour: str) -> Known:
    picture = Picture(example.path, example.content_hash, example.box, View.REGION, side, colour)
    return Known(pictures.number(picture), example.confirmed)


def _likelihood(suggestion: Suggestion) -> str:
    """Return a word for a confidence; for a likeness, which has none, for its place between suggestion and name."""
    match = suggestion.match
    certain = confidence(match.score, match.scale)
    if certain is None:
        span = match.threshold - suggestion.suggested_from
        certain = (match.score - suggestion.suggested_from) / span if span > 0 else 1.0
    return next(word for lowest, word in _LIKELIHOODS if certain >= lowest)


def _reasons(suggestion: Suggestion) -> Iterable[str]:
    """Yield why the concept is not named there, and which other one is meant as well."""
    match, rival = suggestion.match, suggestion.runner_up
    has_confidence = match.scale in (Scale.LOG_ODDS, Scale.PROBABILITY)
    _, needed, *others = in_words(match.scale, match.score, match.threshold, *([rival.score] if rival else []))
    if match.score < match.threshold:
        yield f"a name needs {needed}" if has_confidence else "not alike enough for a name"
    else:
        yield "another name fits better there"
    if rival is not None and rival.score >= suggestion.suggested_from:
        yield f"Could be {rival.name} as well" + (f" ({others[0]})" if has_confidence else "")


def _common_folder(suggestions: Sequence[Suggestion]) -> Path | None:
    try:
        return Path(os.path.commonpath([s.path.parent.absolute() for s in suggestions]))
    except ValueError:  # none, or on different drives
        return None


def _folder_text(folder: Path, common: Path | None) -> str:
    """Return a folder as seen from the one that holds all photos; that one by its own name."""
    if common is not None and folder != common and folder.is_relative_to(common):
        return plain_text(folder.relative_to(common))
    return plain_text(folder.name or folder)


def date_text(taken: str | None) -> str:
    """Return a date of `taken.read_date` for people, as precise as it is known: "3 Feb 2011, 04:05"; "" without one."""
    if not taken:
        return ""
    day, _, time = taken.partition("T")
    year, month, number = (*day.split("-"), "", "")[:3]
    words = f"{int(number)} " if number else ""
    words += f"{_MONTHS[int(month) - 1]} " if month else ""
    return f"{words}{year}" + (f", {time[:5]}" if time else "")
