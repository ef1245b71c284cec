"""What the review page says about a suggestion, and which pictures it has."""

from dataclasses import replace
from pathlib import Path

import pytest

from engine.concepts.review import Example, Suggestion
from engine.core.boxes import Box
from engine.core.types import Kind, Match, Scale
from engine.pages.review_cards import PictureSizes, date_text, in_page_order, make_groups
from engine.recognition.explain.runner_up import RunnerUp

MATCH = Match("id-rex", "Rex", Kind.PET, 1, 2.0, 4.49, Box(10, 10, 50, 50), "detector", Scale.LOG_ODDS)
REX = Suggestion(Path("/photos/2024/beach/a.jpg"), "a" * 64, MATCH, 1.0)


def card_of(suggestion):
    groups, _ = make_groups([suggestion], PictureSizes())
    return groups[0].cards[0]


def scored(score, **changes):
    return replace(REX, match=replace(MATCH, score=score), **changes)


@pytest.mark.parametrize(
    ("suggestion", "told"),
    [
        (scored(2.94), ("Likely", "95 %", ("a name needs 99 %",))),
        (scored(0.5), ("Possible", "62 %", ("a name needs 99 %",))),
        (scored(-2.0), ("Doubtful", "12 %", ("a name needs 99 %",))),
        (scored(5.0), ("Likely", "99.3 %", ("another name fits better there",))),
        (
            scored(2.0, runner_up=RunnerUp("Max", 1.5)),
            ("Possible", "88 %", ("a name needs 99 %", "Could be Max as well (82 %)")),
        ),
        (scored(2.0, runner_up=RunnerUp("Max", 0.5)), ("Possible", "88 %", ("a name needs 99 %",))),
    ],
)
def test_a_card_says_how_certain_it_is_and_why_it_is_no_name(suggestion, told):
    card = card_of(suggestion)
    assert (card.likelihood, card.percent, card.reasons) == told


@pytest.mark.parametrize(("score", "word"), [(0.32, "Likely"), (0.27, "Possible"), (0.21, "Doubtful")])
def test_a_likeness_is_told_in_words_only(score, word):
    match = replace(MATCH, score=score, threshold=0.325, scale=Scale.COSINE)
    card = card_of(replace(REX, match=match, suggested_from=0.2))
    assert (card.likelihood, card.percent, card.reasons) == (word, "", ("not alike enough for a name",))


def test_groups_are_of_one_concept_with_the_largest_first():
    anna = replace(MATCH, concept_id="id-anna", name="Anna")
    given = [
        replace(REX, path=Path("/photos/b.jpg"), match=anna),
        REX,
        replace(REX, path=Path("/photos/c.jpg"), match=anna),
    ]
    ordered = in_page_order(given)
    groups, _ = make_groups(ordered, PictureSizes())
    assert [(g.concept, len(g.cards)) for g in groups] == [("Anna", 2), ("Rex", 1)]
    assert [c.number for g in groups for c in g.cards] == [0, 1, 2]
    assert [c.name for c in groups[0].cards] == ["b.jpg", "c.jpg"]


def test_photos_are_told_apart_by_folder():
    folders = ("/photos/2024/beach/a.jpg", "/photos/2024/party/a.jpg", "/photos/a.jpg")
    groups, _ = make_groups([replace(REX, path=Path(p)) for p in folders], PictureSizes())
    assert [c.folder for c in groups[0].cards] == ["2024/beach", "2024/party", "photos"]
    assert card_of(REX).folder == "beach"


@pytest.mark.parametrize(
    ("taken", "text"),
    [
        (None, ""),
        ("2011", "2011"),
        ("2011-02", "Feb 2011"),
        ("2011-02-03", "3 Feb 2011"),
        ("2011-12-13T04:05:06.5+02:00", "13 Dec 2011, 04:05"),
    ],
)
def test_dates_are_as_precise_as_they_are_known(taken, text):
    assert date_text(taken) == text


def test_the_same_picture_has_one_number():
    example = Example(Path("/rex/1.jpg"), "b" * 64, None, 0.8)
    second = replace(REX, path=Path("/photos/b.jpg"), content_hash="c" * 64)
    groups, pictures = make_groups([replace(s, nearest=(example,)) for s in (REX, second)], PictureSizes())
    cards = groups[0].cards
    assert cards[0].known == cards[1].known
    assert groups[0].known == cards[0].known
    assert len(pictures) == 2 * 3 + 1
    assert {pictures[c.enlarged].side for c in cards} == {1600}


def test_a_concept_that_is_like_others_says_so():
    groups, _ = make_groups([replace(REX, separable=False)], PictureSizes())
    assert "looks much like others" in groups[0].note
    assert make_groups([REX], PictureSizes())[0][0].note == ""
