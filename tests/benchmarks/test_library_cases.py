"""A drawn library: the same from the same seed, and what it promises to hold."""

from pathlib import Path

import pytest

from engine.benchmarks.library_cases import (
    CONCEPT_COUNTS,
    Library,
    Shot,
    draw_library,
    iter_truth,
    save_references,
    save_shot,
)
from engine.benchmarks.library_figures import NamedRegion, measure_library
from engine.core.boxes import Box
from engine.core.types import Kind
from engine.storybook.photos import DrawnPhoto
from engine.storybook.world.individuals import Figure, nameable

PHOTOS = 400


@pytest.fixture(scope="module")
def library() -> Library:
    return draw_library(21, PHOTOS)


def test_same_seed_same_library(library: Library) -> None:
    assert draw_library(21, PHOTOS) == library
    assert draw_library(22, PHOTOS) != library


def test_shares(library: Library) -> None:
    positive = [s for s in library.shots if s.present]
    assert len(library.shots) == PHOTOS
    assert len(positive) == round(0.15 * PHOTOS)
    assert sum(len(s.present) > 1 for s in positive) == round(0.2 * len(positive))
    assert {len(s.present) for s in positive} == {1, *CONCEPT_COUNTS}
    assert [s.number for s in library.shots] == list(range(PHOTOS))


def test_concepts(library: Library) -> None:
    kinds = [e.kind for e in library.enrolled]
    assert kinds.count(Kind.PERSON) == 3
    assert kinds.count(Kind.PET) == 4
    assert all(len(e.references) == 4 for e in library.enrolled)
    for i, e in enumerate(library.enrolled):
        if e.resembles is not None:
            assert library.enrolled[e.resembles].resembles == i
            assert library.enrolled[e.resembles].who.category == e.who.category
    assert {e.likeness for e in library.enrolled} == {"", "sibling", "look_alike"}


def test_second_pair_of_twins() -> None:
    twins = [e for e in draw_library(21, 20, second_pair="twin").enrolled if e.likeness == "twin"]
    assert len(twins) == 2
    assert nameable(twins[0].who) == nameable(twins[1].who)
    assert twins[0].who != twins[1].who


def test_truth_points_at_the_enrolled(library: Library) -> None:
    for shot in library.shots:
        for place, slot in shot.present:
            assert shot.scene.characters[slot].who == library.enrolled[place].who
    names = dict(iter_truth(library))
    assert sum(map(len, names.values())) == sum(len(s.present) for s in library.shots)


def test_no_stranger_is_an_unknown_twin(library: Library) -> None:
    enrolled = {e.who for e in library.enrolled}
    taken = {nameable(w) for w in enrolled if isinstance(w, Figure)}
    strangers = {c.who for s in library.shots for c in s.scene.characters} - enrolled
    assert not taken & {nameable(w) for w in strangers}


def test_draws_files(library: Library, tmp_path: Path) -> None:
    shot = next(s for s in library.shots if len(s.present) == 2)
    photo = save_shot(shot, tmp_path)
    assert photo.path.is_file()
    assert len(photo.boxes) == len(shot.scene.characters)
    small = Library(library.seed, library.enrolled[:1], ())
    assert [len(own) for own in save_references(small, tmp_path)] == [4]


def test_figures_of_a_perfect_and_of_a_blind_recogniser(library: Library) -> None:
    drawn = {s.number: _drawn(s) for s in library.shots}
    right = {
        s.number: [NamedRegion(library.enrolled[i].name, _truth(s, c)) for i, c in s.present] for s in library.shots
    }
    perfect = measure_library(library, drawn, right)
    assert perfect.wrong == 0
    assert perfect.worst == 1.0
    assert [f.value for f in perfect.sets.values()] == [1.0, 1.0, 1.0]
    assert perfect.overlap.value == 1.0
    blind = measure_library(library, drawn, {})
    assert blind.recall["all"].value == 0.0
    assert blind.wrong_per_1000 == 0.0


def test_figures_count_wrong_names_and_mix_ups(library: Library) -> None:
    other = {i: library.enrolled[e.resembles].name for i, e in enumerate(library.enrolled) if e.resembles is not None}
    swapped = {
        s.number: [NamedRegion(other[i], _truth(s, c)) for i, c in s.present if i in other]
        for s in library.shots
        if len(s.present) == 1
    }
    found = measure_library(library, {s.number: _drawn(s) for s in library.shots}, swapped)
    assert found.wrong == sum(map(len, swapped.values()))
    assert max(f.value or 0.0 for f in found.mixed_up.values()) > 0.5


def _truth(shot: Shot, slot: int) -> Box:
    return Box(10.0 * slot, 0.0, 10.0 * slot + 9.0, 9.0)


def _drawn(shot: Shot) -> DrawnPhoto:
    boxes = tuple(_truth(shot, k) for k in range(len(shot.scene.characters)))
    return DrawnPhoto(Path(f"{shot.number}.jpg"), shot.scene, boxes, boxes)
