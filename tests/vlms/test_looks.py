"""Looks: where a class word fits somebody else too, the VLM is told what the named concept looks like."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from engine.core.boxes import Box
from engine.core.types import Concept, Kind
from engine.vlms import captions, generate
from engine.vlms.looks import cut_out, find_unsure, with_look
from engine.vlms.name_rules import NameRules
from engine.vlms.personalised import PersonalisedConcept, tell_by_name
from engine.vlms.prompt_config import Naming
from engine.vlms.requests import CaptionForm
from tests.vlms.test_captions import Scripted
from tests.vlms.test_naming import CHAT

BOX = Box(0.4, 0.4, 0.6, 0.6)


def told(name, category="dog", kind=Kind.PET):
    return tell_by_name(Concept(name, name, kind, category, "sks", 1), BOX, Naming())


REX, MAX, MUG = told("Rex"), told("Max"), told("Mug", "mug", Kind.THING)
ANNA, KIM = told("Anna", "woman", Kind.PERSON), told("Kim", "person", Kind.PERSON)


@pytest.mark.parametrize(
    ("text", "concepts", "unsure"),
    [
        ("Rex sleeps next to a red mug.", [REX], []),
        ("Rex sleeps next to a white dog.", [REX], [0]),
        ("Rex sleeps beside two dogs.", [REX], [0]),
        ("Rex, a brown dog, sleeps.", [REX], []),
        ("Rex is a small brown dog on a sofa.", [REX], []),
        ("Rex is a brown dog next to a white dog.", [REX], [0]),
        ("A dog sleeps.", [REX], []),  # the name is missing: that is another fault
        ("Rex and Max sleep.", [REX, MAX], [0, 1]),
        ("Rex sleeps next to Mug.", [REX, MUG], []),
        ("Anna stands beside a man.", [ANNA], []),
        ("Anna stands beside another woman.", [ANNA], [0]),
        ("Anna stands among women.", [ANNA], [0]),
        ("Kim stands beside a man.", [KIM], [0]),
    ],
)
def test_who_may_have_been_mistaken(text, concepts, unsure):
    assert find_unsure(text, concepts) == unsure


def test_nobody_without_a_place_is_unsure():
    row = PersonalisedConcept(REX.concept, np.ones((1, 4), np.float32))
    assert find_unsure("Rex sleeps next to a white dog.", [row]) == []


@pytest.mark.parametrize(
    ("concept", "description", "look"),
    [
        (REX, "A striped red dog is lying on a sofa.", "striped red dog"),
        (REX, "A sofa.", ""),
        (ANNA, "The woman with long red hair is smiling.", "woman with long red hair"),
        (ANNA, "A girl with long red hair is smiling.", "girl with long red hair"),
    ],
)
def test_a_look_is_the_phrase_with_the_class_word(concept, description, look):
    assert with_look(concept, description).look == look


def test_crops_are_square_and_wider_around_a_face():
    image = Image.new("RGB", (400, 200))
    assert cut_out(image, REX).size == (120, 120)
    assert cut_out(image, ANNA).size == (320, 200)  # as far as the photo reaches


@pytest.fixture
def say(monkeypatch):
    def caption(*texts, look="A striped red dog is asleep.", form=CaptionForm()):  # noqa: B008 (frozen)
        script, asked = Scripted(*texts), []

        def describe(vlm, images, requests):
            asked.extend(zip((i.size for i in images), requests, strict=True))
            return [[look] for _ in images]

        monkeypatch.setattr(captions, "encode", lambda vlm, images: script)
        monkeypatch.setattr(captions, "generate_texts", script.generate)
        monkeypatch.setattr(generate, "ask_plain", describe)
        photo = Image.new("RGB", (400, 200))
        rules = NameRules(("Rex", "Max"))
        (result,) = captions.caption(SimpleNamespace(config=CHAT), [photo], [[REX]], [form], [rules])
        return result, script.requests, asked

    return caption


def test_a_text_with_another_dog_is_generated_again_with_the_look(say):
    result, requests, asked = say("Rex sleeps next to a red dog.", "Rex sleeps next to a white dog.")
    assert result.text == "Rex sleeps next to a white dog."
    assert "[1] Rex: the striped red dog in the middle" in requests[1]
    assert asked == [((120, 120), [asked[0][1][0]])] and "Rex" not in asked[0][1][0]


def test_a_second_text_without_the_name_is_not_taken(say):
    result, _, _ = say("Rex sleeps next to a red dog.", "A red dog sleeps.")
    assert result.text == "Rex sleeps next to a red dog."


def test_a_crop_without_its_class_changes_nothing(say):
    result, requests, asked = say("Rex sleeps next to a red dog.", look="A sofa.")
    assert result.text == "Rex sleeps next to a red dog." and len(requests) == len(asked) == 1


@pytest.mark.parametrize("form", [CaptionForm(style="keywords"), CaptionForm(language="German")])
def test_keywords_and_other_languages_are_not_compared(say, form):
    _, requests, asked = say("Rex, dog, sofa", form=form)
    assert len(requests) == 1 and not asked


def test_a_question_is_asked_with_the_look_of_whom_it_is_about(monkeypatch):
    script, sizes = Scripted("Rex is red."), []

    def describe(vlm, images, requests):
        sizes.extend(i.size for i in images)
        return [["A striped red dog is asleep."] for _ in images]

    monkeypatch.setattr(generate, "encode", lambda vlm, images: script)
    monkeypatch.setattr(generate, "generate_texts", script.generate)
    monkeypatch.setattr(generate, "ask_plain", describe)
    vlm, photo = SimpleNamespace(config=CHAT), Image.new("RGB", (400, 200))
    (reply,) = generate.answer(vlm, [photo], [[REX, MUG]], ["What color is Rex?"])
    assert reply.text == "Rex is red."
    assert "[1] Rex: the striped red dog in the middle" in script.requests[0]
    assert "[2] Mug: the mug in the middle" in script.requests[0] and len(sizes) == 1
