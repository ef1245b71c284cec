"""Captions with names told by text: generated, checked, generated again, repaired. The VLM's texts are scripted."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from engine.core.boxes import Box
from engine.core.errors import PhotoError
from engine.core.types import Concept, Kind
from engine.vlms import captions
from engine.vlms.generation import Generation
from engine.vlms.name_rules import NameRules
from engine.vlms.personalised import tell_by_name
from engine.vlms.prompt_config import Naming
from engine.vlms.requests import CaptionForm
from tests.vlms.test_naming import CHAT

REX = Concept("r", "Rex", Kind.PET, "dog", "sks", 1)
ANNA = Concept("a", "Anna", Kind.PERSON, "woman", "Bob", 1)
SENTENCE = CaptionForm()
RULES = NameRules(("Rex", "Anna", "Max"), strict=True)


class Scripted:
    """Replies with texts in their order, and keeps the requests."""

    def __init__(self, *texts):
        self.texts, self.requests = list(texts), []

    def generate(self, vlm, features, concepts, requests, limit=None):
        self.requests += requests
        texts = [self.texts.pop(0) for _ in requests]
        if any(text is None for text in texts):
            raise PhotoError("the server gave no answer")
        return [Generation(text, capped=False) for text in texts]

    def select(self, numbers):
        return self


@pytest.fixture
def say(monkeypatch):
    def caption(*texts, concepts=(REX,), rules=RULES, form=SENTENCE):
        script = Scripted(*texts)
        monkeypatch.setattr(captions, "encode", lambda vlm, images: script)
        monkeypatch.setattr(captions, "generate_texts", script.generate)
        told = [tell_by_name(c, Box(0.1, 0.1, 0.3, 0.3), Naming()) for c in concepts]
        (result,) = captions.caption(SimpleNamespace(config=CHAT), [None], [told], [form], [rules])
        return result, script

    return caption


def test_a_right_caption_is_kept_after_one_request(say):
    result, script = say("Rex sleeps on a sofa.")
    assert (result.text, result.repaired, result.removed, len(script.requests)) == ("Rex sleeps on a sofa.", (), (), 1)


def test_a_missing_name_is_asked_for_once_more(say):
    result, script = say("A dog sleeps.", "Rex sleeps.")
    assert (result.text, result.repaired) == ("Rex sleeps.", ())
    assert script.requests[1].endswith("Use these names and no others: Rex.")


def test_a_name_that_stays_away_is_put_in(say):
    result, _ = say("A brown dog sleeps.", "A brown dog sleeps here.")
    assert (result.text, result.repaired) == ("Rex sleeps.", ("Rex",))


def test_a_name_that_was_not_recognised_never_stays(say):
    result, script = say("Rex plays with Max.", "Rex plays with Max again.", "A dog plays. Max watches.")
    assert "Max" not in result.text
    assert (result.text, result.repaired, result.removed) == ("Rex plays.", ("Rex",), ("Max",))
    assert len(script.requests) == 3


def test_when_nothing_right_is_left_the_names_stay(say):
    result, _ = say("Max runs.", "Max runs.", "Max runs.")
    assert result.text == "Here: Rex."


def test_a_wrong_name_in_a_photo_of_nobody_is_dropped(say):
    result, _ = say("A dog runs. Max watches.", concepts=())
    assert (result.text, result.removed) == ("A dog runs.", ("Max",))


def test_an_inflected_name_counts_in_other_languages(say):
    form, rules = CaptionForm(language="Finnish"), replace(RULES, strict=False, inflected=True)
    result, script = say("Koira Rexin sohvalla.", form=form, rules=rules)
    assert (result.text, len(script.requests)) == ("Koira Rexin sohvalla.", 1)
    result, _ = say("Koira nukkuu.", "Koira nukkuu.", form=form, rules=rules)
    assert result.text == "Koira nukkuu. (Rex)"


def test_a_longer_name_does_not_stand_for_a_shorter_one(say):
    maria = Concept("m", "Anna Maria", Kind.PERSON, "girl", "Tom", 1)
    result, _ = say("Anna Maria reads.", "Anna Maria reads.", concepts=(ANNA, maria))
    assert (result.text, result.repaired) == ("Anna Maria reads. Also here: Anna.", ("Anna",))
    result, script = say("Anna Maria reads to Anna.", concepts=(ANNA, maria))
    assert (result.text, len(script.requests)) == ("Anna Maria reads to Anna.", 1)
    assert say("Here with Anna Maria and Anna.", concepts=(ANNA, maria))[0].text == "Here with Anna Maria and Anna."


def test_two_names_in_one_photo(say):
    result, script = say("Rex sits.", "Anna pets Rex.", concepts=(REX, ANNA))
    assert result.text == "Anna pets Rex."
    assert len(script.requests) == 2


def test_a_true_caption_without_names_is_kept(say):
    result, script = say("A golden Labrador is lying on the grass.", concepts=())
    assert (result.text, result.removed, len(script.requests)) == (
        "A golden Labrador is lying on the grass.",
        (),
        1,
    )


def test_keywords_take_a_name_as_an_item(say):
    form = CaptionForm("keywords")
    assert say("dog, beach", "dog, sea", form=form)[0].text == "dog, beach, Rex"
    result, _ = say("Rex, Max, sea", "Rex, Max, sea", "dog, Max, sea", form=form)
    assert (result.text, result.removed) == ("dog, sea, Rex", ("Max",))


def test_a_name_in_lower_case_is_told_with_a_capital_and_written_as_the_user_spells_it(say):
    rex = Concept("r", "rex", Kind.PET, "dog", "sks", 1)
    result, script = say("On the sofa lies Rex.", concepts=(rex,), rules=NameRules(("rex",)))
    assert (result.text, len(script.requests)) == ("On the sofa lies rex.", 1)
    assert "[1] Rex: the dog" in script.requests[0]


def test_a_second_request_that_fails_leaves_the_first_text(say):
    result, _ = say("A dog sleeps.", None)
    assert (result.text, result.repaired) == ("Rex sleeps.", ("Rex",))


def test_where_no_plain_caption_comes_the_names_stay(say):
    result, _ = say("Rex plays with Max.", "Rex plays with Max.", None)
    assert (result.text, result.removed) == ("Here: Rex.", ("Max",))


def test_a_first_request_that_fails_fails_the_photo(say):
    with pytest.raises(PhotoError):
        say(None)


def test_a_text_that_was_cut_at_the_token_limit_is_told(say, monkeypatch):
    assert not say("Rex sleeps.")[0].capped
    cut = [Generation("Rex sleeps on a sofa.", capped=True)]
    monkeypatch.setattr(captions, "generate_texts", lambda *args: cut)
    told = [tell_by_name(REX, Box(0.1, 0.1, 0.3, 0.3), Naming())]
    (result,) = captions.caption(SimpleNamespace(config=CHAT), [None], [told], [SENTENCE], [RULES])
    assert (result.text, result.capped) == ("Rex sleeps on a sofa.", True)
