"""A drawn photo library: ten enrolled individuals among many who are not, with its ground truth.

A `Library` is a plan: scenes, not pixels. `save_shot` draws one photo of it when it is needed, so that a library of
thousands of photos costs no memory.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from engine.benchmarks.benchmark import TRAINING_PHOTOS
from engine.core.types import Kind
from engine.storybook.photos import DrawnPhoto, save_photo
from engine.storybook.world import attributes as words
from engine.storybook.world.individuals import (
    Figure,
    Individual,
    Rng,
    draw_category,
    draw_individual,
    draw_lookalike,
    draw_twin,
    nameable,
    pick,
)
from engine.storybook.world.scenes import Scene, compose

POSITIVE = 0.15
"""Share of photos that show an enrolled individual."""
SEVERAL = 0.2
"""Share of the positive photos that show two, three or four of them, in equal parts."""
CROWDS = (2, 3, 4)
SORTS = ("random", "same_category", "look_alike")
_SORT_ODDS = (0.5, 0.3, 0.2)
_RECURRING = 0.5
"""Share of strangers who are acquaintances: the same few individuals over and over, as in a family's library."""
_ACQUAINTANCES, _LOOKALIKES_EACH = 60, 4
_TOGETHER = 0.5
"""How often two who look alike are in a photo together when there are several."""
_OFFSET = 11_000_003
"""Library seeds are offset so that none meets the scenes of training or of another benchmark."""


@dataclass(frozen=True)
class EnrolledIndividual:
    """An individual to enrol from its reference scenes; `resembles`: its look-alike's place in the library's list.

    `likeness` says how the two differ: "look_alike" in something that has a word, "twin" in details and proportions
    only, "sibling" in the face; "" without a look-alike.
    """

    name: str
    who: Individual
    kind: Kind
    references: tuple[Scene, ...]
    resembles: int | None = None
    likeness: str = ""


@dataclass(frozen=True)
class Shot:
    """A photo of the library. present: (place in the library's list, character of the scene) of who is enrolled;
    `sort`: "one", "crowd_2" …, or of which sort its stranger is; `against`: whom the stranger may be mistaken for.
    """

    number: int
    scene: Scene
    sort: str
    present: tuple[tuple[int, int], ...] = ()
    against: int | None = None


@dataclass(frozen=True)
class Library:
    """The enrolled, and the photos in the order they would be found on a disk."""

    seed: int
    enrolled: tuple[EnrolledIndividual, ...]
    shots: tuple[Shot, ...]


def draw_library(seed: int, photos: int = 2000, *, second_pair: str = "look_alike") -> Library:
    """Draw a library: ten concepts (three people, four pets, three things), `photos` photos.

    Two of the people are siblings, the pets are two pairs that look alike, two things look alike; 85 % of the
    photos show none of them, but strangers, others of their categories and look-alikes who are not enrolled. With
    `second_pair` "twin" the second pair of pets differs in details and proportions only.
    """
    enrolled = _draw_enrolled(np.random.default_rng((_OFFSET, seed, 0)), second_pair)
    rng = np.random.default_rng((_OFFSET, seed, 1))
    crowd = _draw_crowd(rng, enrolled)
    positive = round(POSITIVE * photos)
    several = round(SEVERAL * positive)
    sizes = [1] * (positive - several) + [CROWDS[i % len(CROWDS)] for i in range(several)]
    drawn = [_positive(rng, enrolled, crowd, n, i) for i, n in enumerate(sizes)]
    drawn += [_negative(rng, enrolled, crowd, i) for i in range(photos - positive)]
    order = rng.permutation(len(drawn))
    return Library(seed, enrolled, tuple(replace(drawn[int(k)], number=i) for i, k in enumerate(order)))


def save_shot(shot: Shot, folder: Path) -> DrawnPhoto:
    """Draw one photo of a library as a JPEG, with the boxes of all its characters."""
    return save_photo(shot.scene, folder / f"photo_{shot.number:05d}.jpg")


def save_references(library: Library, folder: Path) -> list[list[DrawnPhoto]]:
    """Draw the reference photos of every enrolled individual, a folder each."""
    return [
        [save_photo(scene, folder / f"concept_{i + 1}" / f"reference_{k + 1}.jpg") for k, scene in enumerate(own)]
        for i, own in enumerate(e.references for e in library.enrolled)
    ]


@dataclass(frozen=True)
class _Crowd:
    """Who is not enrolled: acquaintances, and look-alikes of each of the enrolled. `taken`: how words speak of the
    enrolled animals and things.
    """

    taken: frozenset[tuple[str, ...]]
    acquaintances: tuple[Individual, ...]
    lookalikes: tuple[tuple[Individual, ...], ...]


def _draw_enrolled(rng: Rng, second_pair: str) -> tuple[EnrolledIndividual, ...]:
    first = draw_individual(rng, pick(rng, words.PEOPLE))
    people = [first, draw_lookalike(rng, first), _of_another_category(rng, words.PEOPLE, first.category)]
    pet = draw_individual(rng, pick(rng, words.ANIMALS))
    other = _of_another_category(rng, words.ANIMALS, pet.category)
    assert isinstance(other, Figure)
    friend = draw_twin(rng, other) if second_pair == "twin" else draw_lookalike(rng, other)
    pets = [pet, draw_lookalike(rng, pet), other, friend]
    thing = draw_individual(rng, pick(rng, words.THINGS))
    things = [thing, draw_lookalike(rng, thing), _of_another_category(rng, words.THINGS, thing.category)]
    pairs = {0: (1, "sibling"), 1: (0, "sibling"), 3: (4, "look_alike"), 4: (3, "look_alike")}
    pairs |= {5: (6, second_pair), 6: (5, second_pair), 7: (8, "look_alike"), 8: (7, "look_alike")}
    return tuple(
        EnrolledIndividual(
            f"Concept {i + 1}", who, Kind(words.kind_of(who.category)), _references(rng, who), *pairs.get(i, ())
        )
        for i, who in enumerate([*people, *pets, *things])
    )


def _of_another_category(rng: Rng, categories: tuple[str, ...], taken: str) -> Individual:
    return draw_individual(rng, pick(rng, tuple(c for c in categories if c != taken)))


def _references(rng: Rng, who: Individual) -> tuple[Scene, ...]:
    """Two photos alone and two beside somebody of another category, in four places."""
    places = rng.permutation(words.PLACES)
    casts = [(who,) if k < TRAINING_PHOTOS // 2 else (who, _companion(rng, who)) for k in range(TRAINING_PHOTOS)]
    return tuple(compose(rng, cast, place=str(p)) for cast, p in zip(casts, places, strict=False))


def _companion(rng: Rng, who: Individual) -> Individual:
    """Somebody of another category; not a person beside a person, whose faces would be compared."""
    while True:
        category = draw_category(rng)
        if category != who.category and not (category in words.PEOPLE and who.category in words.PEOPLE):
            return draw_individual(rng, category)


def _draw_crowd(rng: Rng, enrolled: Sequence[EnrolledIndividual]) -> _Crowd:
    taken = frozenset(nameable(e.who) for e in enrolled if isinstance(e.who, Figure))
    people = [_unknown(taken, lambda: draw_individual(rng, draw_category(rng))) for _ in range(_ACQUAINTANCES)]
    alike = [[_unknown(taken, partial(draw_lookalike, rng, e.who)) for _ in range(_LOOKALIKES_EACH)] for e in enrolled]
    return _Crowd(taken, tuple(people), tuple(tuple(own) for own in alike))


def _positive(rng: Rng, enrolled: Sequence[EnrolledIndividual], crowd: _Crowd, size: int, turn: int) -> Shot:
    """A photo with one of the enrolled (each in turn) and perhaps others, or with several of them."""
    if size == 1:
        chosen = [turn % len(enrolled)]
    else:
        chosen = [int(i) for i in rng.choice(len(enrolled), size, replace=False)]
        friend = enrolled[chosen[0]].resembles
        if friend is not None and friend not in chosen and rng.random() < _TOGETHER:
            chosen[1] = friend
    cast = [enrolled[i].who for i in chosen]
    if size == 1:
        cast += [_stranger(rng, crowd) for _ in range(int(rng.choice(3, p=(0.5, 0.35, 0.15))))]
    order = rng.permutation(len(cast))
    places = {int(k): slot for slot, k in enumerate(order)}
    scene = compose(rng, tuple(cast[int(k)] for k in order))
    present = tuple((i, places[k]) for k, i in enumerate(chosen))
    return Shot(0, scene, "one" if size == 1 else f"crowd_{size}", present)


def _negative(rng: Rng, enrolled: Sequence[EnrolledIndividual], crowd: _Crowd, turn: int) -> Shot:
    sort = SORTS[int(rng.choice(len(SORTS), p=_SORT_ODDS))]
    against = turn % len(enrolled) if sort != "random" else None
    first = _stranger(rng, crowd) if against is None else _resembling(rng, enrolled[against].who, crowd, against, sort)
    cast = (first, *(_stranger(rng, crowd) for _ in range(int(rng.choice(4, p=(0.4, 0.35, 0.15, 0.1))))))
    return Shot(0, compose(rng, tuple(cast[int(k)] for k in rng.permutation(len(cast)))), sort, (), against)


def _stranger(rng: Rng, crowd: _Crowd) -> Individual:
    if rng.random() < _RECURRING:
        return crowd.acquaintances[int(rng.integers(len(crowd.acquaintances)))]
    return _unknown(crowd.taken, lambda: draw_individual(rng, draw_category(rng)))


def _resembling(rng: Rng, who: Individual, crowd: _Crowd, place: int, sort: str) -> Individual:
    if sort == "same_category":
        return _unknown(crowd.taken, lambda: draw_individual(rng, who.category))
    if rng.random() < _RECURRING:
        return crowd.lookalikes[place][int(rng.integers(_LOOKALIKES_EACH))]
    return _unknown(crowd.taken, lambda: draw_lookalike(rng, who))


def _unknown(taken: frozenset[tuple[str, ...]], draw: Callable[[], Individual]) -> Individual:
    """Draw until words can tell a stranger from all of the enrolled animals and things.

    The world has few attributes: without this, chance makes an unknown twin of somebody far more often than
    life does. People differ in their faces, whatever the words.
    """
    while True:
        found = draw()
        if nameable(found) not in taken:
            return found


def iter_truth(library: Library) -> Iterator[tuple[int, frozenset[str]]]:
    """Each photo's number with the names of who is in it."""
    for shot in library.shots:
        yield shot.number, frozenset(library.enrolled[i].name for i, _ in shot.present)
