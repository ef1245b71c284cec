import pytest

from engine.core.class_words import kind_of_word
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
