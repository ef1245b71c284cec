"""One name for two in a sentence is a wrong name: the plain caption takes over."""

from types import SimpleNamespace

import numpy as np
import pytest

from engine.core.types import Concept, Kind
from engine.vlms import captions
from engine.vlms.base import ImageFeatures
from engine.vlms.find import find_config
from engine.vlms.generation import Generation
from engine.vlms.personalised import PersonalisedConcept
from engine.vlms.repair import drop_repeats

ANNA = Concept("a", "Anna", Kind.PERSON, "girl", "Bob", 1)


class Scripted:
    """Says one thing where a concept is given and another where none is."""

    def __init__(self, named, plain):
        self.named, self.plain = named, plain

    def generate(self, vlm, seen, known, requests, limit):
        return [Generation(self.named if own else self.plain, capped=False) for own in known]


@pytest.fixture
def say(monkeypatch):
    import torch

    def caption(named, plain):
        features = ImageFeatures(torch.zeros(1, 1, 1), torch.ones(1))
        monkeypatch.setattr(captions, "encode", lambda vlm, images: features)
        monkeypatch.setattr(captions, "generate_texts", Scripted(named, plain).generate)
        return captions.caption(
            SimpleNamespace(config=find_config("storybook")), [None], [[PersonalisedConcept(ANNA, np.zeros((1, 1)))]]
        )[0]

    return caption


def test_the_plain_caption_takes_over_with_the_name_put_in(say):
    said = say("Bob is on the beach, next to Bob with a book.", "A girl is on the beach, next to a red dog.")
    assert (said.text, said.repaired) == ("Anna is on the beach, next to a red dog.", ("Anna",))
    assert said.raw == "Bob is on the beach, next to Bob with a book."


def test_where_the_name_belongs_is_not_guessed(say):
    said = say("Bob is on the beach, next to Bob.", "A girl is on the beach, next to a girl with red hair.")
    assert said.text == "A girl is on the beach, next to a girl with red hair. Also here: Anna."


@pytest.mark.parametrize("text", ["Bob is on Bob's bed.", "Bob is asleep. Bob is on the sofa.", "Bobby is with Bob."])
def test_a_name_that_comes_back_is_not_two(say, text):
    assert say(text, "nothing").repaired == ()


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Rex is here, next to Bob and a mug and Bob.", "Rex is here, next to Bob and a mug."),
        ("A dog, next to Bob and Bob and Bob.", "A dog, next to Bob."),
        ("Bob is next to Rex and Bob.", "Bob is next to Rex and Bob."),
        ("A dog is next to Bob and Bob's cat.", "A dog is next to Bob and Bob's cat."),
        ("A dog is next to Bobby and Bob.", "A dog is next to Bobby and Bob."),
    ],
)
def test_a_name_twice_in_one_list_is_said_once(text, kept):
    assert drop_repeats(text, "Bob") == kept
