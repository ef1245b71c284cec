"""Special tokens, made-up turns and broken characters never reach a caption or an answer."""

import pytest
import torch

from engine import tasks
from engine.photos.decode import load_photo
from engine.vlms.base import Generation
from engine.vlms.debris import clean_text
from engine.vlms.wording import capitalise_openings, has_word, mentions, replace_names, replace_words
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
        ("Dr. Who and a dog", "Dr. Who and a dog"),
        ("", ""),
        ("</s>", ""),
    ],
)
def test_debris_is_removed_and_words_stay(text, clean):
    assert clean_text(text) == clean


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("A dog sleeps. It is on the", "A dog sleeps."),
        ("A dog sleeps. It is asleep.", "A dog sleeps. It is asleep."),
        ("A dog that sleeps on the", "A dog that sleeps on the"),
        ('He says "Sit." The dog', 'He says "Sit."'),
    ],
)
def test_an_unfinished_last_sentence_is_cut_off(text, clean):
    assert clean_text(text, capped=True) == clean


def test_no_caption_or_answer_has_debris(session, tmp_path, monkeypatch):
    draw_album(tmp_path)
    image = load_photo(tmp_path / "rex.jpg").image
    concept = session.store.get("Rex")
    known = tasks.Known(concept, session.store.load_embedding(concept, session.vlm_id, session.vlm_revision).vector)
    said = f"<s> {concept.identifier} is here <100>.</s>"
    monkeypatch.setattr(session.vlm, "generate", lambda rows, ids: [Generation(said, capped=False) for _ in rows])
    assert tasks.caption(session.vlm, [image], [[known]])[0].text == "Rex is here."
    assert tasks.answer(session.vlm, [image], [[known]], ["Who is here?"])[0].text == "Rex is here."
    assert tasks.ask_plain(session.vlm, [image], [["Who?"]]) == [[f"{concept.identifier} is here."]]


def test_boxes_are_read_from_the_marks_that_are_cleaned_away(session, tmp_path, monkeypatch):
    draw_album(tmp_path)
    image = load_photo(tmp_path / "both.jpg").image
    concept = session.store.get("Rex")
    known = tasks.Known(concept, torch.zeros(1, session.vlm.width).numpy())
    answer = Generation("<p>Rex</p> {<10><20><50><60>}", capped=False)
    monkeypatch.setattr(session.vlm, "generate", lambda rows, ids: [answer])
    assert tasks.refer(session.vlm, [image], [known])[0] is not None


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
    ],
)
def test_names_are_found_without_case(text, name, found):
    assert mentions(text, name) is found
    assert (replace_names(text, {name: "sks"}) != text) is found
