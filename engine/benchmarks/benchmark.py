"""Draw the storybook benchmark: concepts to learn, and photos to test with (`docs/storybook.md`, "Test splits")."""

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
"""Added to the benchmark's seeds, so that no scene is one that the models were trained on."""


@dataclass(frozen=True)
class Subject:
    """An individual to learn, with its training photos, and their captions with its display name, by file name."""

    name: str
    who: Individual
    kind: Kind
    photos: tuple[DrawnPhoto, ...]
    captions: dict[str, str]


@dataclass(frozen=True)
class BenchmarkPhoto:
    """A photo to test with.

    subject: the subject that it shows, at `index` of its scene; None in photos of strangers.
    """

    photo: DrawnPhoto
    split: str
    subject: Subject | None
    against: Subject | None  # strangers: the subject that they might be mistaken for
    index: int = 0


def draw_subjects(folder: Path, seed: int, n: int) -> list[Subject]:
    """Draw n individuals (pets, things and people in turn), each with four training photos.

    Two show the individual alone, two beside an individual of another category.
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
        cast = (who,) if k < 2 else (who, _draw_other_category(rng, who))
        photo = save_photo(compose(rng, cast, place=str(places[k])), folder / f"training_{k + 1}.jpg")
        photos.append(photo)
        captions[photo.path.name] = caption(photo.scene, 0, {0: name})
    return Subject(name, who, Kind(words.kind_of(who.category)), tuple(photos), captions)


def _draw_other_category(rng: Rng, who: Individual) -> Individual:
    """Draw an individual of another category."""
    while True:
        category = draw_category(rng)
        if category != who.category:
            return draw_individual(rng, category)


def draw_tests(folder: Path, subject: Subject, number: int, seed: int, n: int) -> Iterator[BenchmarkPhoto]:
    """Draw n photos of a subject in each split, then n photos of strangers of each sort."""
    rng = np.random.default_rng((_OFFSET, seed, number + 1))
    who = subject.who
    for split in SPLITS:
        for k in range(n):
            cast, index, equal = _draw_cast(rng, who, split)
            photo = save_photo(compose(rng, cast, equal=equal), folder / f"{number}_{split}_{k}.jpg")
            yield BenchmarkPhoto(photo, split, subject, None, index)
    for sort in STRANGERS:
        for k in range(n):
            cast = _draw_strangers(rng, who, sort)
            photo = save_photo(compose(rng, cast), folder / f"{number}_{sort}_{k}.jpg")
            yield BenchmarkPhoto(photo, sort, None, subject)


def _draw_cast(rng: Rng, who: Individual, split: str) -> tuple[tuple[Individual, ...], int, bool | None]:
    if split == "one":
        return (who,), 0, None
    if split == "diff":
        return (who, _draw_other_category(rng, who)), 0, None
    if split == "same":
        return (who, _draw_distinguishable(rng, who)), 0, None
    companion = _draw_distinguishable(rng, who) if rng.random() < 0.5 else _draw_other_category(rng, who)
    return (companion, who), 1, False


def _draw_distinguishable(rng: Rng, who: Individual) -> Individual:
    """Draw an individual of the same category that words can tell apart."""
    while True:
        other = draw_individual(rng, who.category)
        if not facts_of(other) <= facts_of(who) and not facts_of(who) <= facts_of(other):
            return other


def _draw_strangers(rng: Rng, who: Individual, sort: str) -> tuple[Individual, ...]:
    if sort == "random":
        first = _draw_other_category(rng, who)
    else:
        first = _draw_distinguishable(rng, who) if sort == "same_category" else draw_lookalike(rng, who)
    return (first,) if rng.random() < 0.5 else (first, _draw_other_category(rng, who))
