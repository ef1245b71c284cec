"""The storybook benchmark: concepts to learn, and test photos in the splits of storybook.md."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.core.types import Kind
from engine.storybook.photos import DrawnPhoto, save_photo
from engine.storybook.world import attributes as words
from engine.storybook.world.individuals import Individual, Rng, draw_category, draw_individual, draw_lookalike, pick
from engine.storybook.world.language import caption, facts_of
from engine.storybook.world.scenes import compose

SPLITS = ("one", "diff", "same", "second")
STRANGERS = ("random", "same_category", "look_alike")
TRAINING_PHOTOS = 4
_KINDS = (words.ANIMALS, words.THINGS, words.PEOPLE)
_OFFSET = 1_000_003
"""Benchmark seeds are offset so that none meets the scenes that the models were trained on."""


@dataclass(frozen=True)
class Subject:
    """An individual to learn: photos with its captions (display name in them)."""

    name: str
    who: Individual
    kind: Kind
    photos: tuple[DrawnPhoto, ...]
    captions: dict[str, str]


@dataclass(frozen=True)
class Test:
    """A test photo; `subject` is who of the subjects is in it (index into its scene: `index`), None for strangers."""

    photo: DrawnPhoto
    split: str
    subject: Subject | None
    against: Subject | None  # strangers: the subject that they might be mistaken for
    index: int = 0


def draw_subjects(folder: Path, seed: int, n: int) -> list[Subject]:
    """N individuals, pets, things and people in turn, each with four training photos: two alone, two with
    somebody of another category.
    """
    rng = np.random.default_rng((_OFFSET, seed))
    subjects = []
    for i in range(n):
        group = _KINDS[i % 3]
        who = draw_individual(rng, pick(rng, group))
        name = f"Concept {i + 1}"
        subjects.append(_draw_subject(rng, folder / f"concept_{i + 1}", name, who))
    return subjects


def _draw_subject(rng: Rng, folder: Path, name: str, who: Individual) -> Subject:
    photos, captions = [], {}
    places = rng.permutation(words.PLACES)
    for k in range(TRAINING_PHOTOS):
        cast = (who,) if k < 2 else (who, _other(rng, who))
        photo = save_photo(compose(rng, cast, place=str(places[k])), folder / f"training_{k + 1}.jpg")
        photos.append(photo)
        captions[photo.path.name] = caption(photo.scene, 0, {0: name})
    return Subject(name, who, Kind(words.kind_of(who.category)), tuple(photos), captions)


def _other(rng: Rng, who: Individual) -> Individual:
    """Somebody of another category (for people: not a person, whose faces would be compared)."""
    while True:
        category = draw_category(rng)
        if category != who.category:
            return draw_individual(rng, category)


def draw_tests(folder: Path, subject: Subject, number: int, seed: int, n: int) -> Iterator[Test]:
    """N test photos of a subject in each split, then n strangers of each sort, in scenes never seen."""
    rng = np.random.default_rng((_OFFSET, seed, number + 1))
    who = subject.who
    for split in SPLITS:
        for k in range(n):
            cast, index, equal = _cast(rng, who, split)
            photo = save_photo(compose(rng, cast, equal=equal), folder / f"{number}_{split}_{k}.jpg")
            yield Test(photo, split, subject, None, index)
    for sort in STRANGERS:
        for k in range(n):
            cast = _strangers(rng, who, sort)
            photo = save_photo(compose(rng, cast), folder / f"{number}_{sort}_{k}.jpg")
            yield Test(photo, sort, None, subject)


def _cast(rng: Rng, who: Individual, split: str) -> tuple[tuple[Individual, ...], int, bool | None]:
    if split == "one":
        return (who,), 0, None
    if split == "diff":
        return (who, _other(rng, who)), 0, None
    if split == "same":
        return (who, _unlike(rng, who)), 0, None
    companion = _unlike(rng, who) if rng.random() < 0.5 else _other(rng, who)
    return (companion, who), 1, False


def _unlike(rng: Rng, who: Individual) -> Individual:
    """Somebody of the same category whom words can tell apart."""
    while True:
        other = draw_individual(rng, who.category)
        if not facts_of(other) <= facts_of(who) and not facts_of(who) <= facts_of(other):
            return other


def _strangers(rng: Rng, who: Individual, sort: str) -> tuple[Individual, ...]:
    if sort == "random":
        first = _other(rng, who)
    else:
        first = _unlike(rng, who) if sort == "same_category" else draw_lookalike(rng, who)
    return (first,) if rng.random() < 0.5 else (first, _other(rng, who))
