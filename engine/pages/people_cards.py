"""Describe groups without a name as the people page shows them: a card for each, and their pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.core.types import Kind
from engine.pages.render import plain_text
from engine.pages.review_cards import date_text
from engine.pages.thumbnails import Picture, View
from engine.unnamed.groups import Group, Sighting

VIEWS = 5
"""Pictures on a card: the most typical view, and four that differ."""
MOST_MEMBERS = 120
"""Members that the page shows of a group; more have no other information."""
_CARD, _SMALL, _WHOLE = 400, 200, 1600
"""Longer sides of pictures in pixels."""


@dataclass(frozen=True)
class Member:
    """A photo of a group.

    crop, whole: numbers of pictures. label: its name. place: its folder, and when it was taken.
    """

    crop: int
    whole: int
    label: str
    place: str


@dataclass(frozen=True)
class GroupCard:
    """A group as the page shows it.

    number: from 0. views: numbers of pictures, the most typical first. photos: how many. dates: in words. kind: what
    it is, such as "dog"; "" for a person. maybe: the concept that the recogniser suggests, or "". left_out: how many
    members the page does not show.
    """

    number: int
    views: tuple[int, ...]
    photos: int
    dates: str
    kind: str
    maybe: str
    members: tuple[Member, ...]
    left_out: int


def make_cards(groups: Sequence[Group], kind: Kind) -> tuple[tuple[GroupCard, ...], tuple[Picture, ...]]:
    """Return the cards of a page and its pictures; no photo is read."""
    pictures: list[Picture] = []

    def add(sighting: Sighting, view: View, side: int) -> int:
        pictures.append(Picture(sighting.path, sighting.content_hash, sighting.box, view, side))
        return len(pictures) - 1

    cards = []
    for number, group in enumerate(groups):
        views = [add(s, View.REGION, _SMALL if k else _CARD) for k, s in enumerate(group.best[:VIEWS])]
        members = [
            Member(add(m, View.REGION, _SMALL), add(m, View.WHOLE, _WHOLE), *_texts(m.path, m.taken))
            for m in group.members[:MOST_MEMBERS]
        ]
        word = group.word if kind is Kind.PET and group.word not in ("pet", "animal") else ""
        left_out = len(group.members) - len(members)
        dates = dates_text(*group.dates)
        cards.append(GroupCard(number, tuple(views), group.photos, dates, word, group.maybe, tuple(members), left_out))
    return tuple(cards), tuple(pictures)


def _texts(path: Path, taken: str) -> tuple[str, str]:
    date = date_text(taken)
    return plain_text(path.name), plain_text(path.parent.name) + (f" · {date}" if date else "")


def dates_text(first: str, last: str) -> str:
    """Return the days of the first and the last photo in words: "May 2021 – Nov 2024"; "" without dates."""
    months = [date_text(day[:7]) for day in (first, last) if day]
    return " – ".join(dict.fromkeys(months))
