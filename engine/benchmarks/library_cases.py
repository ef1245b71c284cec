"""Draw photo libraries with ground truth: ten enrolled individuals among many that are not.

A `Library` is a plan of scenes without pixels; `save_shot` draws one photo of it, so a library of thousands of photos
needs little memory. `docs/storybook.md`, "Drawn libraries", describes them, and
`docs/experiments.md#how-hard-the-drawn-libraries-are` compares them with real ones.
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
    draw_figure,
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
CONCEPT_COUNTS = (2, 3, 4)
SORTS = ("random", "same_category", "look_alike")
_SORT_ODDS = (0.5, 0.3, 0.2)
_RECURRING = 0.5
"""Share of strangers that are acquaintances: a few individuals that recur, as in a family's library."""
_ACQUAINTANCES, _LOOKALIKES_EACH = 60, 4
_TOGETHER = 0.5
"""Probability that two look-alikes are in a photo together, among photos of several concepts."""
_OFFSET = 11_000_003
"""Added to the libraries' seeds, so that no scene is one of the training or of another benchmark."""


@dataclass(frozen=True)
class EnrolledIndividual:
    """An individual to enrol, with its reference scenes.

    resembles: index of its look-alike among the library's enrolled; likeness: how the two differ, "look_alike" in
    something that has a word, "twin" in details and proportions only, "sibling" in the face; "" without a look-alike.
    """

    name: str
    who: Individual
    kind: Kind
    references: tuple[Scene, ...]
    resembles: int | None = None
    likeness: str = ""


@dataclass(frozen=True)
class Shot:
    """A photo of the library.

    sort: "one", "crowd_2" …, or the sort of its stranger; present: (index among the library's enrolled, index among the
    scene's characters) of each enrolled individual that it shows; against: index of the individual that the stranger
    resembles.
    """

    number: int
    scene: Scene
    sort: str
    present: tuple[tuple[int, int], ...] = ()
    against: int | None = None


@dataclass(frozen=True)
class Library:
    """The enrolled individuals, and the photos in the order in which they would be found on a disk."""

    seed: int
    enrolled: tuple[EnrolledIndividual, ...]
    shots: tuple[Shot, ...]


def draw_library(seed: int, photos: int = 2000, *, second_pair: str = "look_alike") -> Library:
    """Draw a library: ten concepts (three people, four pets, three things) and `photos` photos.

    Two of the people are siblings, the pets are two pairs of look-alikes, two things are look-alikes. 85 % of the
    photos show none of them but strangers: random ones, of their categories, and look-alikes that are not enrolled.
    With `second_pair` "twin", the second pair of pets differs in details and proportions only.
    """
    enrolled = _draw_enrolled(np.random.default_rng((_OFFSET, seed, 0)), second_pair)
    rng = np.random.default_rng((_OFFSET, seed, 1))
    strangers = _draw_strangers(rng, enrolled)
    positive = round(POSITIVE * photos)
    several = round(SEVERAL * positive)
    sizes = [1] * (positive - several) + [CONCEPT_COUNTS[i % len(CONCEPT_COUNTS)] for i in range(several)]
    drawn = [_draw_positive(rng, enrolled, strangers, n, i) for i, n in enumerate(sizes)]
    drawn += [_draw_negative(rng, enrolled, strangers, i) for i in range(photos - positive)]
    order = rng.permutation(len(drawn))
    return Library(seed, enrolled, tuple(replace(drawn[int(k)], number=i) for i, k in enumerate(order)))


def save_shot(shot: Shot, folder: Path) -> DrawnPhoto:
    """Draw one photo of a library as a JPEG, with the boxes of all its characters."""
    return save_photo(shot.scene, folder / f"photo_{shot.number:05d}.jpg")


def save_references(library: Library, folder: Path) -> list[list[DrawnPhoto]]:
    """Draw the reference photos of each enrolled individual into a folder of its own."""
    return [
        [
            save_photo(scene, folder / f"concept_{i + 1}" / f"reference_{k + 1}.jpg")
            for k, scene in enumerate(individual.references)
        ]
        for i, individual in enumerate(library.enrolled)
    ]


@dataclass(frozen=True)
class _Strangers:
    """Individuals that are not enrolled: acquaintances, and look-alikes of each enrolled individual.

    taken: the nameable attributes of the enrolled animals and things.
    """

    taken: frozenset[tuple[str, ...]]
    acquaintances: tuple[Individual, ...]
    lookalikes: tuple[tuple[Individual, ...], ...]


def _draw_enrolled(rng: Rng, second_pair: str) -> tuple[EnrolledIndividual, ...]:
    first = draw_individual(rng, pick(rng, words.PEOPLE))
    people = [
        first,
        draw_lookalike(rng, first),
        draw_individual(rng, _other_category(rng, words.PEOPLE, first.category)),
    ]
    pet = draw_individual(rng, pick(rng, words.ANIMALS))
    other = draw_figure(rng, _other_category(rng, words.ANIMALS, pet.category))
    resembling = draw_twin(rng, other) if second_pair == "twin" else draw_lookalike(rng, other)
    pets = [pet, draw_lookalike(rng, pet), other, resembling]
    thing = draw_individual(rng, pick(rng, words.THINGS))
    things = [
        thing,
        draw_lookalike(rng, thing),
        draw_individual(rng, _other_category(rng, words.THINGS, thing.category)),
    ]
    pairs = {0: (1, "sibling"), 1: (0, "sibling"), 3: (4, "look_alike"), 4: (3, "look_alike")}
    pairs |= {5: (6, second_pair), 6: (5, second_pair), 7: (8, "look_alike"), 8: (7, "look_alike")}
    return tuple(
        EnrolledIndividual(
            f"Concept {i + 1}", who, Kind(words.kind_of(who.category)), _references(rng, who), *pairs.get(i, ())
        )
        for i, who in enumerate([*people, *pets, *things])
    )


def _other_category(rng: Rng, categories: tuple[str, ...], taken: str) -> str:
    return pick(rng, tuple(c for c in categories if c != taken))


def _references(rng: Rng, who: Individual) -> tuple[Scene, ...]:
    """Compose two scenes of the individual alone and two beside one of another category, in four places."""
    places = rng.permutation(words.PLACES)
    casts = [(who,) if k < TRAINING_PHOTOS // 2 else (who, _companion(rng, who)) for k in range(TRAINING_PHOTOS)]
    return tuple(compose(rng, cast, place=str(p)) for cast, p in zip(casts, places, strict=False))


def _companion(rng: Rng, who: Individual) -> Individual:
    """Draw an individual of another category; beside a person no other person, because faces would be compared."""
    while True:
        category = draw_category(rng)
        if category != who.category and not (category in words.PEOPLE and who.category in words.PEOPLE):
            return draw_individual(rng, category)


def _draw_strangers(rng: Rng, enrolled: Sequence[EnrolledIndividual]) -> _Strangers:
    taken = frozenset(nameable(e.who) for e in enrolled if isinstance(e.who, Figure))
    acquaintances = [
        _draw_distinct(taken, lambda: draw_individual(rng, draw_category(rng))) for _ in range(_ACQUAINTANCES)
    ]
    lookalikes = [
        tuple(_draw_distinct(taken, partial(draw_lookalike, rng, e.who)) for _ in range(_LOOKALIKES_EACH))
        for e in enrolled
    ]
    return _Strangers(taken, tuple(acquaintances), tuple(lookalikes))


def _draw_positive(
    rng: Rng, enrolled: Sequence[EnrolledIndividual], strangers: _Strangers, size: int, turn: int
) -> Shot:
    """Draw a photo with one enrolled individual (each in turn) and up to two strangers, or with several enrolled."""
    if size == 1:
        chosen = [turn % len(enrolled)]
    else:
        chosen = [int(i) for i in rng.choice(len(enrolled), size, replace=False)]
        lookalike = enrolled[chosen[0]].resembles
        if lookalike is not None and lookalike not in chosen and rng.random() < _TOGETHER:
            chosen[1] = lookalike
    cast = [enrolled[i].who for i in chosen]
    if size == 1:
        cast += [_draw_stranger(rng, strangers) for _ in range(int(rng.choice(3, p=(0.5, 0.35, 0.15))))]
    order = rng.permutation(len(cast))
    places = {int(k): slot for slot, k in enumerate(order)}
    scene = compose(rng, tuple(cast[int(k)] for k in order))
    present = tuple((i, places[k]) for k, i in enumerate(chosen))
    return Shot(0, scene, "one" if size == 1 else f"crowd_{size}", present)


def _draw_negative(rng: Rng, enrolled: Sequence[EnrolledIndividual], strangers: _Strangers, turn: int) -> Shot:
    sort = SORTS[int(rng.choice(len(SORTS), p=_SORT_ODDS))]
    against = turn % len(enrolled) if sort != "random" else None
    if against is None:
        first = _draw_stranger(rng, strangers)
    else:
        first = _draw_resembling(rng, enrolled[against].who, strangers, against, sort)
    cast = (first, *(_draw_stranger(rng, strangers) for _ in range(int(rng.choice(4, p=(0.4, 0.35, 0.15, 0.1))))))
    return Shot(0, compose(rng, tuple(cast[int(k)] for k in rng.permutation(len(cast)))), sort, (), against)


def _draw_stranger(rng: Rng, strangers: _Strangers) -> Individual:
    if rng.random() < _RECURRING:
        return strangers.acquaintances[int(rng.integers(len(strangers.acquaintances)))]
    return _draw_distinct(strangers.taken, lambda: draw_individual(rng, draw_category(rng)))


def _draw_resembling(rng: Rng, who: Individual, strangers: _Strangers, place: int, sort: str) -> Individual:
    if sort == "same_category":
        return _draw_distinct(strangers.taken, lambda: draw_individual(rng, who.category))
    if rng.random() < _RECURRING:
        return strangers.lookalikes[place][int(rng.integers(_LOOKALIKES_EACH))]
    return _draw_distinct(strangers.taken, lambda: draw_lookalike(rng, who))


def _draw_distinct(taken: frozenset[tuple[str, ...]], draw: Callable[[], Individual]) -> Individual:
    """Draw a stranger that words can tell apart from all enrolled animals and things.

    The world has few attributes, so that without this, strangers would be twins of enrolled individuals far more often
    than in real life. People differ in their faces, whatever words describe them.
    """
    while True:
        individual = draw()
        if nameable(individual) not in taken:
            return individual


def iter_truth(library: Library) -> Iterator[tuple[int, frozenset[str]]]:
    """Yield each photo's number with the names of the individuals that it shows."""
    for shot in library.shots:
        yield shot.number, frozenset(library.enrolled[i].name for i, _ in shot.present)
