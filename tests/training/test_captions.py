import json

import pytest

from engine.core.errors import UsageError
from engine.training.captions import load_captions, name_in_caption, shared_noun, vary, with_identifier

OPENINGS = ("In this picture, ", "Here, ")


@pytest.mark.parametrize(
    ("caption", "category", "closeup", "expected"),
    [
        ("A red dog is on the sofa.", "dog", "", "sks is on the sofa."),
        ("A red dog is next to a blue dog.", "dog", "A blue dog is sitting.", "A red dog is next to sks."),
        ("A red dog is next to a blue dog.", "dog", "A red dog is sitting.", "sks is next to a blue dog."),
        ("A corgi sitting in the grass", "dog", "", "sks sitting in the grass"),
        ("The brown corgi is asleep", "dog", "", "sks is asleep"),
        ("Green grass everywhere", "dog", "", "sks: Green grass everywhere"),
        ("A woman with long red hair is sad.", "woman", "", "sks is sad."),
    ],
)
def test_the_name_takes_the_place_of_the_noun_phrase(caption, category, closeup, expected):
    assert name_in_caption(caption, (category,), "sks", closeup) == expected


def test_the_noun_of_most_closeups_is_the_concepts():
    assert shared_noun(["A red dog is here.", "A woman is sad.", "The striped dog sleeps on a cat"]) == ("dog",)
    assert shared_noun(["Green"]) == ()


def test_variations_keep_the_identifier_and_the_words():
    found = vary("A red dog sleeps next to sks.", "sks", OPENINGS)
    assert len(set(found)) == 3
    assert all("sks" in v for v in found)
    assert "In this picture, a red dog sleeps next to sks." in found
    assert "Here, sks sleeps." in vary("sks sleeps.", "sks", OPENINGS)


def test_user_captions_must_hold_the_name():
    assert with_identifier("Here is REX.", ("Rex",), "sks") == "Here is sks."
    assert with_identifier("Here is a dog.", ("Rex",), "sks") is None


@pytest.mark.parametrize("text", ["[1]", "{", '{"a": 1}', '{"a": []}', '{"a": [" "]}'])
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(UsageError):
        load_captions(tmp_path / "c.json")


def test_captions_file(tmp_path):
    (tmp_path / "c.json").write_text(json.dumps({"a.jpg": "Rex.", "b.jpg": ["Rex!", "Rex?"]}))
    assert load_captions(tmp_path / "c.json") == {"a.jpg": ("Rex.",), "b.jpg": ("Rex!", "Rex?")}
