"""The paper's protocol without a model: metrics by hand, judgements, splits, baselines, rendering."""

import json
from pathlib import Path

import pytest
from PIL import Image

from engine.benchmarks import wordscores
from engine.benchmarks.baselines import replace_keyword, rewriting_prompt
from engine.benchmarks.caption_correctness import (
    ValidationPhoto,
    find_leaks,
    has_right_companions,
    names_concept_and_companions,
    replace_identifier,
)
from engine.benchmarks.cases import CONCEPT, Case, Item, Truth, check_split, read_truth
from engine.benchmarks.drawn_cases import draw_cases, draw_crowd_photos
from engine.benchmarks.experiments import MeasurementStore
from engine.benchmarks.figures import Table, make_row, measured_cell, missing_cell
from engine.benchmarks.folder_cases import folder_cases, with_concept, with_kind
from engine.benchmarks.heads_experiment import fires
from engine.benchmarks.render import render_table
from engine.benchmarks.settings import FULL, Setting, settings_for
from engine.benchmarks.statistics import f1, mean, proportion, ratio
from engine.benchmarks.train_case import _negatives
from engine.core.errors import UsageError
from engine.core.types import Kind

GOLDEN = Path(__file__).parents[1] / "golden" / "evaluation_table.md"


def test_wilson_interval_of_eight_in_ten():
    found = proportion([True] * 8 + [False] * 2)
    assert (found.value, found.low, found.high) == (0.8, 0.4902, 0.9433)


def test_mean_interval_is_clipped_to_what_is_possible():
    found = mean([1.0, 0.5])
    assert (found.value, found.high) == (0.75, 1.24)
    assert found.clipped(0.0, 1.0).high == 1.0


def test_bleu_by_hand():
    pytest.importorskip("nltk")
    found = wordscores.bleu([("the dog is red", ["the dog is blue"])])
    assert found == pytest.approx([3 / 4, (3 / 4 * 2 / 3) ** 0.5, (3 / 4 * 2 / 3 * 1 / 2) ** (1 / 3), 0.0])


def test_bleu_counts_a_word_as_often_as_one_reference_has_it():
    pytest.importorskip("nltk")
    assert wordscores.bleu([("the the the the", ["the dog", "the the cat"])])[0] == pytest.approx(2 / 4)


def test_rouge_l_by_hand():
    pytest.importorskip("rouge_score")
    assert wordscores.rouge_l("sks is on the sofa.", ["a dog", "sks sits on the sofa"]) == pytest.approx(4 / 5)


def test_meteor_by_hand():
    pytest.importorskip("nltk")
    same = "sks is on the sofa"
    assert wordscores.meteor(same, [same]) == pytest.approx(1 - 0.5 * (1 / 5) ** 3)
    assert wordscores.meteor("dogs", ["a cat", "dog"]) == pytest.approx(0.5)  # a stem in one chunk of one word


def test_cider_by_hand():
    photos = [("a red dog", ["a red dog"]), ("a red cat", ["the blue cat"])]
    own, other = wordscores.cider(photos)
    assert own == pytest.approx(10 * 3 / 4)  # n-grams of 1, 2 and 3 words agree, there are none of 4
    assert other == pytest.approx(10 / 4 * 1 / 3)  # of three words with equal weights one is shared


def test_cider_punishes_another_length_and_common_words():
    import math

    both = [("a a dog", ["a dog"]), ("a cat", ["a cat"])]
    longer, same = wordscores.cider(both)
    assert same == pytest.approx(10 / 4 * 2)  # "a" is everywhere and weighs nothing
    unit = 1.0 + 1 / math.sqrt(2)  # "dog" alike; of "a a" and "a dog" one bigram is shared
    assert longer == pytest.approx(10 / 4 * unit * math.exp(-1 / 72))


@pytest.mark.parametrize(
    ("said", "present", "score"), [("ab", "ac", 0.5), ("", "", 1.0), ("a", "", 0.0), ("abc", "abcd", 6 / 7)]
)
def test_f1_of_names(said, present, score):
    assert f1(list(said), list(present)) == pytest.approx(score)


@pytest.mark.parametrize(
    ("caption", "keywords", "found"),
    [
        ("A red car is on the carpet.", ("car", "toy"), "sks is on the carpet."),
        ("The carpet is red.", ("car", "toy"), "The carpet is red."),
        ("A red dog is next to a blue dog.", ("dog", "animal"), "sks is next to a blue dog."),
        ("Two dog toys and a hotdog.", ("dog",), "Two sks toys and a hotdog."),
        ("An animal sleeps.", ("dog", "animal", "pet"), "sks sleeps."),
        ("A man with long brown hair is sad.", ("woman", "man"), "sks is sad."),
    ],
)
def test_keyword_replacement_is_word_bounded_and_changes_one_place(caption, keywords, found):
    assert replace_keyword(caption, keywords, "sks") == found


def test_the_language_model_is_asked_conditionally():
    text = rewriting_prompt("A dog sleeps.", ("dog", "animal", "pet"), "sks")
    assert 'Only if the word "dog" appears' in text
    assert "animal, pet" in text and '"sks"' in text and "A dog sleeps." in text


TRUTH = Truth(
    "0_same_0",
    "same",
    (f"{CONCEPT} is sitting on the beach with a ball, next to a blue dog.",),
    place="on the beach",
    held=("ball",),
    others=(("dog", "blue"),),
)
CONTEXT = (("companion", "mug"), ("object", "kite"), ("place", "in the snow"))
SHOWN = ValidationPhoto("Rex", "pet", "dog", ("dog",), CONTEXT, TRUTH)


def test_a_name_on_the_wrong_one_is_not_on_the_right_one():
    assert names_concept_and_companions(TRUTH, "sks is sitting on the beach, next to a blue dog.", "sks")
    assert not names_concept_and_companions(TRUTH, "sks is sitting on the beach, next to a red dog.", "sks")
    assert not names_concept_and_companions(TRUTH, "A red dog is sitting next to a blue dog.", "sks")
    assert has_right_companions(TRUTH, "A blue dog.")


@pytest.mark.parametrize(
    ("others", "caption", "right"),
    [
        ((("dog", "blue"), ("cat", "red")), "A red dog and a blue cat.", False),
        ((("dog", "blue"), ("cat", "red")), "A blue dog and a striped red cat.", True),
        ((("dog", "blue"),), "A red dog with blue stripes.", False),
        ((("woman", "red"),), "A man with long red hair is next to a woman with long black hair.", False),
        ((("woman", "red"),), "A man with black hair is next to a woman with long red hair and glasses.", True),
        ((("dog", "blue"), ("dog", "blue")), "A blue dog.", False),
    ],
)
def test_companions_have_their_own_colour(others, caption, right):
    assert has_right_companions(Truth("x", "same", others=others), caption) is right


def test_a_ratio_of_shares_has_a_paired_interval():
    same = ratio([True, False] * 20, [True, False] * 20)
    assert (same.value, same.n, same.low, same.high) == (1.0, 40, 1.0, 1.0)
    less = ratio([True, False] * 20, [True] * 40)
    assert less == ratio([True, False] * 20, [True] * 40)
    assert less.value == 0.5 and 0.3 < less.low < 0.5 < less.high < 0.7
    assert ratio([True], [False]).n == 0


def test_leaks_are_training_words_where_they_are_wrong():
    assert find_leaks(SHOWN, "sks is in the snow with a kite.") == {"place": True, "object": True, "companion": False}
    right = Truth("x", "one", place="in the snow", held=("kite",), others=(("mug", "red"),))
    shown = ValidationPhoto("Rex", "pet", "dog", ("dog",), SHOWN.context, right)
    assert find_leaks(shown, "sks is in the snow with a kite, next to a red mug.") == {}


def test_the_identifier_becomes_the_class_word():
    assert replace_identifier("sks is asleep next to sksy.", "sks", "dog") == "The dog is asleep next to sksy."


def test_truth_survives_json():
    assert read_truth(json.loads(json.dumps(TRUTH.document()))) == TRUTH


def test_settings_of_tables_are_measured_once():
    assert settings_for(("1", "2", "5", "6", "more")) == (
        FULL,
        Setting(1),
        Setting(2),
        Setting(augment=False),
        Setting(augment=False, penalty=False),
    )
    assert settings_for(("7",)) == ()


@pytest.mark.parametrize(("score", "found"), [(None, False), (0.5, True), (0.49, False)])
def test_heads_fire_from_their_threshold(score, found):
    assert fires({"score": score}, 0.5) is found


@pytest.fixture
def photos(tmp_path):
    for i in range(6):
        (tmp_path / f"{i}.jpg").write_bytes(f"photo {i}".encode())
    return [tmp_path / f"{i}.jpg" for i in range(6)]


def test_a_case_cannot_be_tested_with_what_it_is_learned_from(photos, tmp_path):
    copy = tmp_path / "copy.jpg"
    copy.write_bytes(photos[0].read_bytes())
    check_split("Rex", photos[:4], photos[4:])
    for leak in (photos[0], copy, tmp_path / "." / "0.jpg"):
        with pytest.raises(UsageError, match="both learned from and tested with"):
            Case("Rex", Kind.PET, "dog", ("dog",), tuple(photos[:4]), {}, (Item(leak, TRUTH),))


def test_drawn_cases_share_no_photo_and_are_the_same_for_a_seed(tmp_path):
    subjects, cases = draw_cases(tmp_path / "a", 3, 3, 1)
    again = draw_cases(tmp_path / "b", 3, 3, 1)[1]
    assert [c.validation[0].truth for c in cases] == [c.validation[0].truth for c in again]
    training = {p.read_bytes() for c in cases for p in c.training}
    tested = {i.path.read_bytes() for c in cases for i in (*c.validation, *c.strangers)}
    assert (len(training), len(tested), training & tested) == (12, 21, set())
    assert all(CONCEPT in t for c in cases for own in c.captions.values() for t in own)
    assert all(CONCEPT in r for c in cases for i in c.validation for r in i.truth.references)
    crowds = draw_crowd_photos(tmp_path / "c", subjects, 3, 2)
    assert [len(c.names) for c in crowds] == [1, 1, 2, 2, 3, 3]


def make_folder(root, concepts=("red_dog", "mug"), photos=6):
    for name in concepts:
        (root / name).mkdir(parents=True)
        for k in range(photos):
            Image.new("RGB", (8, 8), (40 * k, len(name) * 9, 0)).save(root / name / f"{k}.jpg")
    return root


def test_a_folder_is_split_by_seed_and_every_photo_has_one_place(tmp_path):
    root = make_folder(tmp_path / "data")
    captions = {"0.jpg": "sks sits.", "1": ["Red dog runs.", "A dog."]}
    (root / "red_dog" / "captions.json").write_text(json.dumps(captions))
    cases, left_out = folder_cases(root, 0, None, None)
    dog = next(c for c in cases if c.name == "red_dog")
    assert (left_out, dog.category, len(dog.training), len(dog.validation)) == ([], "dog", 4, 2)
    texts = {i.path.name: i.truth.references for i in dog.validation} | dog.captions
    assert texts.get("0.jpg") == ("<concept> sits.",)
    assert {"<concept> runs."} <= set(texts["1.jpg"])
    assert [c.training for c in folder_cases(root, 0, None, None)[0]] == [c.training for c in cases]
    assert [c.training for c in folder_cases(root, 1, None, None)[0]] != [c.training for c in cases]


@pytest.mark.parametrize(
    "captions",
    [
        {"mug/0.jpg": "S* on a table."},
        {"mug": {"0.jpg": ["<concept> on a table."]}},
        {"mug": {"0": "Mug on a table."}},
    ],
)
def test_captions_at_the_root_have_several_forms(tmp_path, captions):
    root = make_folder(tmp_path / "data", ("mug",))
    (root / "captions.json").write_text(json.dumps(captions))
    (case,) = folder_cases(root, 0, None, None)[0]
    texts = {i.path.name: i.truth.references for i in case.validation} | case.captions
    assert texts["0.jpg"] == ("<concept> on a table.",)


def test_copies_in_a_folder_are_taken_once_and_small_folders_left_out(tmp_path):
    root = make_folder(tmp_path / "data", ("mug", "dog"))
    (root / "mug" / "9.jpg").write_bytes((root / "mug" / "0.jpg").read_bytes())
    for k in range(2):
        (root / "dog" / f"{k}.jpg").unlink()
    (case,), left_out = folder_cases(root, 0, None, None)
    assert len(case.training) + len(case.validation) == 6
    assert left_out == ["dog: 4 photos, at least 5 are needed"]


@pytest.mark.parametrize("text", ["[]", "{", '{"0.jpg": 3}'])
def test_captions_that_cannot_be_understood_are_refused(tmp_path, text):
    root = make_folder(tmp_path / "data", ("mug",))
    (root / "mug" / "captions.json").write_text(text)
    with pytest.raises(UsageError):
        folder_cases(root, 0, None, None)


def test_concept_names_are_found_as_whole_words():
    assert with_concept("Red dog and a hotdog.", "red_dog") == "<concept> and a hotdog."
    assert with_concept("sks is a mug.", "mug") == "<concept> is a mug."


@pytest.mark.parametrize(
    "facts",
    [
        {"mug": {"kind": "toy"}},
        {"mug": "toy"},
        {"mug": {"keywords": "dog"}},
        {"mug": {"keywords": []}},
        {"mug": {"category": 3}},
    ],
)
def test_facts_that_cannot_be_understood_are_refused(tmp_path, facts):
    root = make_folder(tmp_path / "data", ("mug",))
    (root / "concepts.json").write_text(json.dumps(facts))
    with pytest.raises(UsageError, match="mug"):
        folder_cases(root, 0, None, None)


def test_captions_of_two_forms_under_one_key_are_refused(tmp_path):
    root = make_folder(tmp_path / "data", ("mug",))
    (root / "captions.json").write_text('{"mug": {"0.jpg": "A mug."}}')
    (root / "more_captions.json").write_text('{"mug": ["A mug."]}')
    with pytest.raises(UsageError, match="caption elsewhere"):
        folder_cases(root, 0, None, None)


def test_unreadable_photos_and_folders_below_are_left_out(tmp_path):
    root = make_folder(tmp_path / "data", ("001",))
    (root / "001" / "0.jpg").write_bytes(b"no picture")
    make_folder(root / "001", ("below",), 3)
    (case,), left_out = folder_cases(root, 0, None, None)
    assert (case.category, len(case.training), len(case.validation)) == ("001", 4, 1)
    assert left_out == ["001/0.jpg: not a picture that can be read"]


def test_a_found_kind_changes_the_usual_keywords_only(tmp_path):
    root = make_folder(tmp_path / "data", ("anna", "mug"))
    (root / "concepts.json").write_text('{"mug": {"keywords": ["cup"]}}')
    anna, mug = (with_kind(c, Kind.PERSON) for c in folder_cases(root, 0, None, None)[0])
    assert (anna.kind, anna.keywords, mug.keywords) == (Kind.PERSON, ("man", "woman", "person"), ("cup",))


def test_a_photo_in_two_folders_is_no_negative(tmp_path):
    root = make_folder(tmp_path / "data", ("anna", "mug"))
    anna, mug = folder_cases(root, 0, None, None)[0]
    shared = root / "anna" / mug.training[0].name
    mug.training[0].write_bytes(anna.validation[0].path.read_bytes())
    mug.training[1].write_bytes(anna.training[0].read_bytes())
    assert shared.exists()
    assert _negatives(anna, (anna, mug)) == list(mug.training[2:])


def test_parts_are_measured_once_for_a_digest(tmp_path):
    parts, made = MeasurementStore(tmp_path), []

    def measure():
        made.append(1)
        return {"value": 0.5}

    assert parts.get("a", "1", measure) == parts.get("a", "1", measure) == {"digest": "1", "value": 0.5}
    parts.get("a", "2", measure)
    (tmp_path / "a.json").write_text('{"digest": ')  # cut short
    parts.get("a", "2", measure)
    assert len(made) == 3


def test_a_table_is_rendered_like_the_golden_one():
    cells = (measured_cell(proportion([True] * 3 + [False])), measured_cell(mean([0.5, 0.25]), percent=False))
    reason = missing_cell("its weights are not on this disk")
    empty = (measured_cell(mean([])), reason)
    rows = (make_row(("storybook",), cells), make_row(("other",), (reason, reason)), make_row(("empty",), empty))
    table = Table("1", "Recall", ("VLM", "recall", "IoU"), rows, ("A note.",))
    assert render_table(table) == GOLDEN.read_text("utf-8")


def test_document_holds_reasons_and_intervals():
    table = Table(
        "1", "Recall", ("VLM", "recall", "IoU"), (make_row(("a",), (missing_cell("why"), measured_cell(mean([1.0])))),)
    )
    (found,) = table.document()["rows"]
    assert found["recall"] == {"not_measured": "why"}
    assert found["IoU"] == {"value": 1.0, "n": 1, "ci95": [1.0, 1.0]}
