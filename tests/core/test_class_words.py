import pytest

from engine.core.class_words import are_other_animals, kind_of_word
from engine.core.types import Kind


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("dog", Kind.PET),
        ("golden retriever dog", Kind.PET),
        ("stuffed animal", Kind.THING),
        ("plush Bear", Kind.THING),
        ("toy dog", Kind.THING),
        ("toy", Kind.THING),
        ("my daughter", Kind.PERSON),
        ("teapot", Kind.THING),
        ("", Kind.THING),
    ],
)
def test_the_kind_of_a_class_word(word, kind):
    assert kind_of_word(word) is kind


def test_which_words_are_of_different_animals():
    assert are_other_animals("dog", "tabby cat")
    assert not are_other_animals("dog", "golden retriever puppy")
    assert not any(are_other_animals("dog", word) for word in ("pet", "corgi", "", "dog", "animal"))
    assert not are_other_animals("", "cat")
