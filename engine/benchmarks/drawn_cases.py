"""Draw the cases of the storybook: concepts with their full ground truth."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.benchmarks.benchmark import BenchmarkPhoto, Subject, draw_subjects, draw_tests
from engine.benchmarks.cases import CONCEPT, Case, Item, Truth
from engine.storybook.photos import DrawnPhoto, save_photo
from engine.storybook.world import attributes as words
from engine.storybook.world.individuals import Individual, main_color
from engine.storybook.world.language import CAPTION_STYLES, PLACE_PHRASES, caption, questions
from engine.storybook.world.scenes import Scene, compose

CROWD_SIZES = (1, 2, 3, 4)
_OFFSET = 7_000_003
_PERSON_WORDS = {"man": ("man", "person", "boy"), "woman": ("woman", "person", "girl")}
_PERSON_WORDS |= {"boy": ("boy", "person", "man"), "girl": ("girl", "person", "woman")}


@dataclass(frozen=True)
class CrowdPhoto:
    """A photo with one to four of the seed's concepts, and their names."""

    photo: DrawnPhoto
    names: tuple[str, ...]


def keywords_of(category: str) -> tuple[str, ...]:
    """Return three words by which a plain caption may mention a concept of this category."""
    if category in words.PEOPLE:
        return _PERSON_WORDS[category]
    return (category, "animal", "pet") if category in words.ANIMALS else (category, "toy", "object")


def draw_cases(folder: Path, seed: int, concepts: int, photos: int) -> tuple[list[Subject], list[Case]]:
    """Draw a seed's concepts, with `photos` validation photos in each split and `photos` strangers of each sort."""
    subjects = draw_subjects(folder / "training", seed, concepts)
    cases = []
    for number, subject in enumerate(subjects):
        tests = list(draw_tests(folder / "tests", subject, number, seed, photos))
        cases.append(_case(subject, tests))
    return subjects, cases


def _case(subject: Subject, tests: list[BenchmarkPhoto]) -> Case:
    captions: dict[str, tuple[str, ...]] = {
        name: (text.replace(subject.name, CONCEPT),) for name, text in subject.captions.items()
    }
    return Case(
        name=subject.name,
        kind=subject.kind,
        category=subject.who.category,
        keywords=keywords_of(subject.who.category),
        training=tuple(p.path for p in subject.photos),
        captions=captions,
        validation=tuple(_item(t) for t in tests if t.subject),
        strangers=tuple(_item(t) for t in tests if t.subject is None),
        context=_context([p.scene for p in subject.photos], subject.who),
    )


def _context(scenes: list[Scene], who: Individual) -> tuple[tuple[str, str], ...]:
    """List what scenes show beside an individual, as (sort, word)."""
    words_by_sort = set()
    for scene in scenes:
        words_by_sort.add(("place", PLACE_PHRASES[scene.place]))
        words_by_sort |= {("object", c.holds) for c in scene.characters if c.holds}
        words_by_sort |= {("companion", c.who.category) for c in scene.characters if c.who != who}
    return tuple(sorted(words_by_sort))


def _item(test: BenchmarkPhoto) -> Item:
    scene, i = test.photo.scene, test.index
    shows_concept = test.subject is not None
    frame, face = test.photo.boxes[i], test.photo.faces[i]
    truth = Truth(
        id=test.photo.path.stem,
        split=test.split,
        references=references_of(scene, i) if shows_concept else (),
        place=PLACE_PHRASES[scene.place],
        held=tuple(sorted({c.holds for c in scene.characters if c.holds})),
        others=tuple(
            (c.who.category, main_color(c.who)) for k, c in enumerate(scene.characters) if k != i or not shows_concept
        ),
        frame=(frame.x0, frame.y0, frame.x1, frame.y1) if shows_concept else None,
        face=(face.x0, face.y0, face.x1, face.y1) if shows_concept and face else None,
        questions=tuple(questions(scene, i, CONCEPT)) if shows_concept else (),
    )
    return Item(test.photo.path, truth)


def references_of(scene: Scene, index: int) -> tuple[str, ...]:
    """Return all captions of a scene with the concept in it: in each style, starting with each character."""
    names = {index: CONCEPT}
    starts = range(len(scene.characters))
    return tuple(sorted({caption(scene, start, names, style) for start in starts for style in CAPTION_STYLES}))


def draw_crowd_photos(folder: Path, subjects: list[Subject], seed: int, photos: int) -> list[CrowdPhoto]:
    """Draw `photos` photos for each number of concepts in one photo, one to four."""
    rng = np.random.default_rng((_OFFSET, seed))
    crowds = []
    for size in (n for n in CROWD_SIZES if n <= len(subjects)):
        for k in range(photos):
            chosen = [subjects[int(i)] for i in rng.choice(len(subjects), size, replace=False)]
            photo = save_photo(compose(rng, tuple(s.who for s in chosen)), folder / f"crowd_{size}_{k}.jpg")
            crowds.append(CrowdPhoto(photo, tuple(s.name for s in chosen)))
    return crowds
