import numpy as np
import pytest

from engine.core.class_words import kind_of_word
from engine.core.types import Kind
from engine.vision.class_guess import ClassWords, imagenet_words, softmax

MEMBERS = np.array([[1, 0], [1, 0], [0, 1], [0, 0]], np.float32)
WORDS = ClassWords(("dog", "mug"), MEMBERS, 0.5)


def test_the_probabilities_of_a_words_classes_are_summed():
    """Two breeds at a third each are a dog, although the mug at a third is as likely as either."""
    third = np.log([[1.0, 1.0, 1.0, 1e-6]])
    assert WORDS.guess(third) == ("dog",)


def test_an_unsure_guess_gives_no_word():
    even = np.zeros((1, 4))
    assert WORDS.guess(even) == ("dog",)
    assert ClassWords(("dog", "mug"), MEMBERS, 0.6).guess(even) == ("",)


def test_a_class_without_a_word_gives_no_word():
    assert WORDS.guess(np.array([[0.0, 0.0, 0.0, 9.0]])) == ("",)


def test_softmax_sums_to_one_for_large_logits():
    assert np.allclose(softmax(np.array([[1000.0, 1000.0, -1000.0]])), [[0.5, 0.5, 0.0]])


@pytest.mark.parametrize(
    ("word", "kind"),
    [("dog", Kind.PET), ("cat", Kind.PET), ("parrot", Kind.PET), ("mug", Kind.THING), ("teddy", Kind.THING)],
)
def test_the_table_gives_words_whose_kind_is_known(word, kind):
    assert word in imagenet_words(0.5).words
    assert kind_of_word(word) is kind


def test_no_word_of_the_table_stands_for_a_person_or_for_nothing():
    table = imagenet_words(0.5)
    assert all(kind_of_word(w) is not Kind.PERSON for w in table.words)
    assert (table.members.sum(axis=0) > 0).all()


def test_all_breeds_of_dogs_are_dogs():
    """ImageNet-1k lists the breeds as classes 151 (Chihuahua) to 268 (Mexican hairless)."""
    table = imagenet_words(0.5)
    assert table.members[151:269, table.words.index("dog")].all()
