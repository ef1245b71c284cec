"""Which words of a text are names that must not be there, and what stays of the text without them."""

from dataclasses import replace

import pytest

from engine.core.types import Concept, Kind
from engine.vlms.name_rules import NameRules

REX = Concept("r", "Rex", Kind.PET, "dog", "Rex", 1)
JAN = Concept("j", "Jan", Kind.PERSON, "man", "Jan", 1)
STRICT = NameRules(("Rex",), strict=True)


@pytest.mark.parametrize(
    "text",
    [
        "A golden Labrador is lying on the grass.",
        "A red Tesla is parked outside.",
        "A panorama of Paris and the Seine at dusk.",
        "A poster of Germany and France.",
        "The dog is a black Labrador and looks happy.",
        "People in front of a shop called Starbucks.",
        "A ferry named Aurora is in the harbour.",
        "A table with Italian and French flags.",
        "Behind the houses, Vesuvius is visible.",
        "The sign says Open and hangs over the door.",
        "A woman reads a magazine called Vogue.",
    ],
)
def test_a_true_sentence_without_a_name_is_kept(text):
    assert STRICT.wrong_names(text, []) == ()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("A man named Bert waves.", "Bert"),
        ("A small dog called Fido sleeps.", "Fido"),
        ("A woman, who is called Greta, waves.", "Greta"),
        ("A girl waves; her name is Mia.", "Mia"),
        ("Rex runs, while Karl sits on a bench.", "Karl"),
        ("Rex sleeps and Otto is smiling at him.", "Otto"),
        ("In the garden, Bella plays with a ball.", "Bella"),
    ],
)
def test_a_made_up_name_is_found(text, name):
    assert STRICT.wrong_names(text, [REX]) == (name,)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Snow", "Snow covers the mountains."),
        ("Rocky", "Rocky cliffs rise above the sea."),
        ("Sandy", "Sandy beach with palm trees."),
        ("Dawn", "Dawn over the city."),
        ("Tiger", "A Tiger lies in the grass."),
        ("mug", "On the table is a mug."),
    ],
)
def test_an_ordinary_word_is_no_name(name, text):
    assert NameRules((name,)).wrong_names(text, []) == ()


@pytest.mark.parametrize("text", ["Two children play with Rocky.", "The girl and Snow are in the garden."])
def test_an_ordinary_word_within_a_sentence_is_a_name(text):
    (wrong,) = NameRules(("Rocky", "Snow")).wrong_names(text, [])
    assert wrong in text


@pytest.mark.parametrize("text", ["Ein Tiger liegt im Gras.", "Eine alte Wolke am Himmel.", "Il y a un Tiger."])
def test_an_indefinite_article_before_a_word_makes_it_no_name_in_other_languages(text):
    assert NameRules(("Tiger", "Wolke"), inflected=True).wrong_names(text, []) == ()


def test_a_name_of_the_place_that_was_told_is_no_wrong_name():
    text = "The harbour of Sydney in the evening."
    assert NameRules(("Sydney",)).wrong_names(text, []) == ("Sydney",)
    assert NameRules(("Sydney",), frozenset({"Sydney"})).wrong_names(text, []) == ()


def test_names_with_endings_are_found_in_other_languages():
    rules = NameRules(("Rex", "Jan", "Jana", "Ben"), inflected=True)
    assert rules.wrong_names("Rexin koira.", []) == ("Rex",)
    assert rules.wrong_names("Rexin koira.", [REX]) == ()
    assert rules.wrong_names("Jana steht am See.", [JAN]) == ("Jana",)
    assert rules.wrong_names("Benzin steht da.", []) == ()


def test_only_an_ending_of_a_name_names_somebody():
    rules = NameRules(("Jan", "Jana"), inflected=True)
    jana = replace(JAN, id="a", name="Jana", identifier="Jana", category="woman")
    assert rules.count_faults("Jana steht am See.", [JAN, jana]) == 1
    assert rules.count_faults("Jan und Jana stehen am See.", [JAN, jana]) == 0
    ben = replace(JAN, name="Ben", identifier="Ben")
    assert rules.count_faults("Benzin steht da.", [ben]) == 1
    assert rules.count_faults("Bens Hut liegt da.", [ben]) == 0


def test_what_stays_of_sentences_and_of_lists():
    rules = NameRules(("Max", "Snow"))
    assert rules.without_wrong("Rex sleeps. Max barks! The sea is calm.", []) == "Rex sleeps. The sea is calm."
    assert rules.without_wrong("Rex sleeps...  here.", []) == "Rex sleeps...  here."
    assert rules.without_wrong("A cat and Snow play. White snow covers the hill.", []) == "White snow covers the hill."
    assert rules.without_wrong("dog, Max, beach", [], listed=True) == "dog, beach"
