"""Special tokens, made-up turns and broken characters never reach a caption or an answer."""

import time

import engine.core.device  # noqa: F401

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.photos.decode import load_photo
from engine.vlms import captions, generate
from engine.vlms.base import Generation
from engine.vlms.clean_text import clean_text
from engine.vlms.personalised import PersonalisedConcept
from engine.vlms.wording import (
    capitalise_openings,
    find_names,
    has_word,
    mentions,
    replace_names,
    replace_words,
    spell_identifiers,
)
from tests.learned import draw_album


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("A dog on the sofa.", "A dog on the sofa."),
        ("A dog <100> on the sofa.", "A dog on the sofa."),
        ("<s> A dog. </s>", "A dog."),
        ("<pad>A dog<unk>.", "A dog."),
        ("<|im_start|>A dog.<|im_end|>", "A dog."),
        ("A dog.<|endoftext|>", "A dog."),
        ("<p>A dog</p> {<12><30><45><60>} on <p>a sofa</p> {<1><2><3><4>}.", "A dog on a sofa."),
        ("A dog {<12><30><45><60>}<delim>{<1><2><3><4>}", "A dog"),
        ("[INST] A dog. [/INST]", "A dog."),
        ("<<SYS>>A dog.<</SYS>>", "A dog."),
        ("<image>\nA dog.", "A dog."),
        ("ASSISTANT: A dog.", "A dog."),
        ("A dog. USER: And now?", "A dog."),
        ("A dog. ### Human: more", "A dog."),
        ("A dog.<0x0A>", "A dog."),
        ("A d\u0007og \ufffdhere\u200b.", "A dog here."),
        ("A  dog\n\n on   the sofa.", "A dog on the sofa."),
        ("<extra_id_0> A dog", "A dog"),
        ("3 < 4 and 5 > 4", "3 < 4 and 5 > 4"),
        ("The user: a man.", "The user: a man."),
        ("A whiteboard with ### notes on it", "A whiteboard with ### notes on it"),
        ("A screen says USER: login", "A screen says USER: login"),
        ("Dr. Who and a dog", "Dr. Who and a dog"),
        ("", ""),
        ("</s>", ""),
        ("<s></s> A dog.", "A dog."),
        ("[INST] Caption this. [/INST] A dog.", "A dog."),
        ("Question: What is it? Answer: a dog", "a dog"),
        ("USER: What is it? ASSISTANT: A dog.", "A dog."),
        ("ASSISTANT: ASSISTANT: A dog. USER: more", "A dog."),
        ("### A dog.", "A dog."),
        ("#1 in the race", "#1 in the race"),
        ("A dog.\nUser: and now?", "A dog."),
        ("A dog.</s> A dog.</s>", "A dog."),
        ("A dog {<12> <30> <45><60>} .", "A dog."),
        ("[caption] A dog<br/> [UNK].", "A dog."),
        ("A\u202e dog\ud800\uffff\U000f0000.", "A dog."),
        ("\U0001f468\u200d\U0001f469\u200d\U0001f467 here", "\U0001f468\u200d\U0001f469\u200d\U0001f467 here"),
        ("I <3 dogs", "I <3 dogs"),
    ],
)
def test_debris_is_removed_and_words_stay(text, clean):
    assert clean_text(text) == clean


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("A dog sleeps. It is on the", "A dog sleeps."),
        ("The U.S. flag is on the", "The U.S. flag is on the"),
        ("The U.S. Army is on the", "The U.S. Army is on the"),
        ("A dog at 10 a.m. in the park", "A dog at 10 a.m. in the park"),
        ("A dog sleeps. It is asleep.", "A dog sleeps. It is asleep."),
        ("A dog that sleeps on the", "A dog that sleeps on the"),
        ('He says "Sit." The dog', 'He says "Sit."'),
        ("A man next to Mr. Smi", "A man next to Mr. Smi"),
        ("A dog. He is on St. Mary's", "A dog."),
        ("A dog. It is at {<12><30", "A dog."),
        ("A dog <p", "A dog"),
        ("一只狗。它在", "一只狗。"),
    ],
)
def test_an_unfinished_last_sentence_is_cut_off(text, clean):
    assert clean_text(text, capped=True) == clean


def test_lines_stay_where_one_of_them_is_wanted():
    assert clean_text("Sure:\n\n Rex  sleeps.</s>", keep_lines=True) == "Sure:\nRex sleeps."


@given(st.text(alphabet=st.sampled_from("<>/{}[]|#: \n.,!sp1aUSER\ufffd\x07"), max_size=60), st.booleans())
def test_cleaning_twice_changes_no_more_and_leaves_no_broken_character(text, capped):
    clean = clean_text(text, capped=capped)
    assert not set(clean) & set("\ufffd\x07\n")
    assert clean == " ".join(clean.split())


@pytest.mark.parametrize("text", ["<p> ", "<1>", "{<1>", "[INST]", "USER:", "</s>", " ", "{", "\n", ". "])
def test_cleaning_takes_no_longer_than_reading(text):
    began = time.process_time()
    clean_text(text * 2000 + "x", capped=True)
    assert time.process_time() - began < 2


def test_no_caption_or_answer_has_debris(session, tmp_path, monkeypatch):
    draw_album(tmp_path)
    image = load_photo(tmp_path / "rex.jpg").image
    concept = session.store.get("Rex")
    known = PersonalisedConcept(
        concept, session.store.load_embedding(concept, session.vlm_id, session.vlm_revision).vector
    )
    said = f"<s> {concept.identifier} is here <100>.</s>"
    monkeypatch.setattr(
        session.vlm, "generate", lambda rows, ids, limit=None: [Generation(said, capped=False) for _ in rows]
    )
    assert captions.caption(session.vlm, [image], [[known]])[0].text == "Rex is here."
    assert generate.answer(session.vlm, [image], [[known]], ["Who is here?"])[0].text == "Rex is here."
    assert generate.ask_plain(session.vlm, [image], [["Who?"]]) == [[f"{concept.identifier} is here."]]


def test_boxes_are_read_from_the_marks_that_are_cleaned_away(session, tmp_path, monkeypatch):
    draw_album(tmp_path)
    image = load_photo(tmp_path / "both.jpg").image
    concept = session.store.get("Rex")
    known = PersonalisedConcept(concept, torch.zeros(1, session.vlm.width).numpy())
    answer = Generation("<p>Rex</p> {<10><20><50><60>}", capped=False)
    monkeypatch.setattr(session.vlm, "generate", lambda rows, ids, limit=None: [answer])
    assert generate.refer(session.vlm, [image], [known])[0] is not None


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ("rex sleeps. Here is rex. rex wakes", ["rex"], "Rex sleeps. Here is rex. Rex wakes"),
        ("rex's bowl! rexford", ["rex"], "Rex's bowl! rexford"),
        ("iPhone and the iPhone", ["iPhone"], "iPhone and the iPhone"),
        ("élan stands.", ["élan"], "Élan stands."),
        ("a rex", [], "a rex"),
    ],
)
def test_a_small_name_has_a_capital_where_it_opens_a_sentence(text, names, expected):
    assert capitalise_openings(text, names) == expected


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("SKS on a sofa", {"sks": "Rex"}, "Rex on a sofa"),
        ("With BOB.", {"Bob": "Anna"}, "With Anna."),
        ("a bear beside Bear", {"Bear": "Rex"}, "a bear beside Rex"),  # the animal is not the identifier
        ("A. B", {"A": "Rex"}, "Rex. B"),
    ],
)
def test_identifiers_are_found_in_capitals(text, words, expected):
    assert replace_words(text, words) == expected
    assert all(has_word(text, w) for w in words)


@pytest.mark.parametrize(
    ("text", "name", "found"),
    [
        ("What is REX holding?", "rex", True),
        ("rex’s ball", "Rex", True),
        ("James' hat", "James", True),
        ("Wo ist STRASSE?", "Straße", True),
        ("ipek?", "İpek", True),
        ("Rexford", "Rex", False),
        ("IŞIL?", "Işıl", True),
        ("o'brien's hat", "O’Brien", True),
        ("mary  ann", "Mary Ann", True),
        ("小白在哪里?", "小白", True),
    ],
)
def test_names_are_found_without_case(text, name, found):
    assert mentions(text, name) is found
    assert (replace_names(text, {name: "sks"}) != text) is found


def test_of_overlapping_names_the_longest_is_found():
    names = ["Rex", "Rex II", "Anna", "Anna's cat"]
    assert [n for *_, n in find_names("Is rex ii with ANNA’S CAT?", names)] == ["Rex II", "Anna's cat"]
    assert [n for *_, n in find_names("Is Anna's dog with Rex?", names)] == ["Anna", "Rex"]


@pytest.mark.parametrize(
    ("text", "identifiers", "expected"),
    [
        ("Here is SKS with Sks.", ["sks"], "Here is sks with sks."),
        ("bob and his dog", ["Bob"], "Bob and his dog"),  # else a name that nobody has would stay in the caption
        ("a girl with a bob", ["Bob"], "a girl with a bob"),
        ("brown bear and Bear", ["Bear"], "brown bear and Bear"),
        ("a dog", ["A"], "a dog"),
        ("annabelle", ["Anna"], "annabelle"),
    ],
)
def test_identifiers_are_known_in_any_case(text, identifiers, expected):
    assert spell_identifiers(text, identifiers) == expected
