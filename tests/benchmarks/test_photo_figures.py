"""The figures of recognition in photos, counted by hand on made-up outcomes."""

import pytest

from engine.benchmarks.photo_figures import (
    Round,
    RoundConcept,
    ShownPhoto,
    ThresholdSort,
    WrongName,
    count_by_concept,
    count_figures,
    count_pairs,
    list_wrong_names,
    photo_curve,
)
from engine.benchmarks.statistics import repeated_proportion

REX, MUG = RoundConcept("rex", "pet", "pet"), RoundConcept("mug", "thing", "thing")


def shown(photo, concept, names=(), maybes=(), *, alike=False, margins=None):
    """A photo of a folder; concept, names and maybes are 0 for Rex and 1 for the mug."""
    return ShownPhoto(
        photo, photo.partition("/")[0], concept, frozenset(names), frozenset(maybes), alike, margins or {}
    )


FIRST = (
    shown("rex/1", 0, [0], margins={0: 2.0, 1: -3.0}),
    shown("rex/2", 0, [], [0], margins={0: -0.5}),
    shown("rex/3", 0, [1], margins={1: 0.5}),
    shown("mug/1", 1, [1], margins={1: 1.0}),
    shown("mug/2", 1, [], [0]),
    shown("dog/1", None, [0], alike=True, margins={0: 0.5}),
    shown("dog/2", None, [], [0], alike=True, margins={0: -1.0}),
    shown("sea/1", None, [0, 1], margins={0: 0.25, 1: 0.25}),
    shown("sea/2", None),
)
SECOND = (shown("rex/1", 0, [0]), shown("dog/1", None, alike=True), shown("sea/1", None))


def a_round(photos=FIRST, concepts=(REX, MUG), **more):
    facts = {"recogniser": "r", "references": 3, "seed": 0, "thresholds": ThresholdSort.PRIOR}
    return Round(**facts | more, concepts=concepts, photos=photos)


def triple(estimate):
    return estimate.value, estimate.n


def test_figures_of_one_round():
    found = count_figures([a_round()])
    assert triple(found.recall) == (0.4, 5)  # rex/1 and mug/1
    assert triple(found.recall_with_maybes) == (0.6, 5)  # rex/2, too
    assert triple(found.mix_ups) == (0.2, 5)  # rex/3 is called mug
    assert triple(found.wrong_names) == (0.5, 4)  # dog/1 and sea/1
    assert triple(found.wrong_maybes) == (0.25, 4)  # dog/2
    assert (found.names, found.looks) == (3, 4)  # sea/1 has two names


def test_a_photo_of_several_rounds_counts_once_for_the_interval():
    found = count_figures([a_round(), a_round(SECOND, seed=1)])
    assert triple(found.recall) == (0.5, 5)  # 3 of 6 looks at 5 photos
    assert triple(found.wrong_names) == (pytest.approx(2 / 6, abs=1e-4), 4)
    assert (found.names, found.looks) == (3, 6)


def test_the_interval_is_wilsons():
    found = repeated_proportion([("a", True), ("b", False), ("b", False), ("a", True)])
    assert (found.value, found.n, found.low, found.high) == (0.5, 2, 0.0945, 0.9055)  # 1 of 2, Wilson 1927
    assert repeated_proportion([]).n == 0


def test_figures_by_kind():
    pets, things = (count_figures([a_round()], kind=kind) for kind in ("pet", "thing"))
    assert (triple(pets.recall), triple(things.recall)) == ((pytest.approx(1 / 3, abs=1e-4), 3), (0.5, 2))
    assert (triple(pets.wrong_names), triple(things.wrong_names)) == ((0.5, 4), (0.25, 4))
    assert (pets.names, things.names) == (2, 1)
    assert (pets.mix_ups.value, things.mix_ups.value) == (pytest.approx(1 / 3, abs=1e-4), 0.0)
    assert (pets.wrong_maybes.value, things.wrong_maybes.value) == (0.25, 0.0)


def test_rounds_without_the_kind_are_not_counted():
    only_mug = a_round((shown("mug/1", 0, [0]), shown("dog/1", None, [0])), concepts=(MUG,))
    assert count_figures([a_round(), only_mug], kind="pet") == count_figures([a_round()], kind="pet")
    assert count_figures([only_mug], kind="pet").recall.n == 0


def test_same_category_strangers():
    found = count_figures([a_round()], alike=True)
    assert (triple(found.wrong_names), triple(found.wrong_maybes)) == ((0.5, 2), (0.5, 2))
    assert (found.names, found.looks) == (1, 2)


def test_figures_by_concept():
    mug, rex = count_by_concept([a_round()])
    assert (mug.name, mug.kind, triple(mug.recall), triple(mug.recall_with_maybes)) == (
        "mug",
        "thing",
        (0.5, 2),
        (0.5, 2),
    )
    assert (triple(rex.recall), triple(rex.recall_with_maybes)) == (
        (pytest.approx(1 / 3, abs=1e-4), 3),
        (pytest.approx(2 / 3, abs=1e-4), 3),
    )
    assert (mug.names, mug.looks) == (2, 7)  # rex/3 and sea/1, of the seven photos that do not show it
    assert (rex.names, rex.looks) == (2, 6)  # dog/1 and sea/1


def test_look_alikes():
    dog, dog2 = RoundConcept("dog", "pet", "pet"), RoundConcept("dog2", "pet", "pet")
    alone = a_round(
        (shown("dog/1", 0, [0]), shown("dog2/1", None, [0]), shown("dog2/2", None, [], [0])), concepts=(dog,)
    )
    both = a_round(
        (shown("dog/1", 0, [0]), shown("dog/2", 0, [], [0]), shown("dog2/1", 1, [0]), shown("dog2/2", 1, [1], [0])),
        concepts=(dog, dog2),
    )
    of_alone, of_other, of_first, of_second = count_pairs([alone, both])
    assert (of_alone.enrolled, of_alone.folder, triple(of_alone.right)) == (("dog",), "dog", (1.0, 1))
    assert of_alone.wrong is None and of_other.right is None
    assert (triple(of_other.wrong), triple(of_other.wrong_maybe)) == ((0.5, 2), (0.5, 2))
    assert (triple(of_first.right), triple(of_first.right_maybe), triple(of_first.wrong)) == (
        (0.5, 2),
        (0.5, 2),
        (0, 2),
    )
    assert (of_second.folder, triple(of_second.right), triple(of_second.wrong)) == ("dog2", (0.5, 2), (0.5, 2))
    assert (triple(of_second.right_maybe), triple(of_second.wrong_maybe)) == ((0.0, 2), (0.5, 2))


def test_wrong_names_are_listed_by_how_often():
    assert list_wrong_names([a_round(), a_round(FIRST[:3], seed=1)]) == [
        WrongName("rex/3", "mug", "rex", 2),
        WrongName("dog/1", "rex", "", 1),
        WrongName("sea/1", "mug", "", 1),
        WrongName("sea/1", "rex", "", 1),
    ]


def test_the_curve_passes_through_the_thresholds_as_they_are():
    curve = photo_curve([a_round()])
    # Margins of right names 2.0, 1.0, -0.5 of five tests; of strangers' names 0.5, 0.25 twice, -1.0 in four photos.
    assert curve.recall.tolist() == pytest.approx([0, 0.2, 0.4, 0.4, 0.4, 0.6, 0.6])
    assert curve.false.tolist() == pytest.approx([0, 0, 0, 25, 75, 75, 100])
    figures = count_figures([a_round()])
    assert curve.recall[curve.at - 1] == figures.recall.value
    assert curve.false[curve.at - 1] == 100 * figures.names / figures.looks
