"""Learning to answer questions: what is trained, in which mix, and which embedding answers."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import engine.core.device  # noqa: F401

import numpy as np
import pytest
import torch
from PIL import Image

from engine.core.errors import UsageError
from engine.photos.decode import load_photo
from engine.training.optimiser import TrainingExample, draw_turn
from engine.training.questions import PERSON, THING, Turn, load_answers, name_in_answer, questions_for
from engine.training.reference_photos import load_references
from engine.training.targets import PlainCaption, TargetBuilder
from engine.training.train import plan
from tests.learned import draw_album, train


@pytest.fixture
def album(tmp_path):
    draw_album(tmp_path / "album")
    return tmp_path / "album"


def test_there_are_ten_questions_with_the_caption():
    assert len(THING) == len(set(THING)) == len(PERSON) == len(set(PERSON)) == 9
    assert all("{x}" in q for q in THING + PERSON)
    assert questions_for("thing", {"thing": ["Where is {x}?"]}) == ("Where is {x}?",)
    assert questions_for("person", {"thing": ["Where is {x}?"]}) == PERSON


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The dog is in the snow.", "sks is in the snow."),
        ("Yes, the dog is the main subject.", "Yes, sks is the main subject."),
        ("The red dog is next to a brown dog.", "sks is next to a brown dog."),
        ("The dog's fur is soft, and the dogs are two.", "sks's fur is soft, and the dogs are two."),
        ("Yes.", "Yes."),
    ],
)
def test_the_name_takes_the_place_of_the_class_word(answer, expected):
    assert name_in_answer(answer, "the dog", "dog", "sks") == expected


def test_every_question_is_drawn_as_often_as_the_caption():
    """The published code drifts to 92 % captions; the paper draws one of ten uniformly."""
    turns = tuple(Turn(f"question {k}", ("yes", "no")) for k in range(9))
    example = TrainingExample(Image.new("RGB", (4, 4)), ("one", "two", "three"), turns)
    rng = np.random.default_rng(0)
    drawn = [draw_turn(example, "caption", rng) for _ in range(20_000)]
    counts = Counter(request for request, _ in drawn)
    assert len(counts) == 10
    assert all(abs(n - 2_000) < 200 for n in counts.values()), counts  # 4.7 standard deviations
    late = Counter(request for request, _ in drawn[-5_000:])
    assert abs(late["caption"] - 500) < 100
    assert {a for r, a in drawn if r == "caption"} == {"one", "two", "three"}


@pytest.mark.parametrize(
    "text", ["[1]", "{", '{"a": 1}', '{"a": {}}', '{"a": {"Where?": " "}}', '{"a": {"Where?": 1}}']
)
def test_other_answer_files_are_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UsageError):
        load_answers(tmp_path / "a.json")


def test_targets_are_written_by_the_plain_vlm_about_the_class_word(session):
    for name, identifier, forms in (("Rex", "sks", THING), ("Anna", "Bob", PERSON)):
        found = plan(session, session.store.get(name), task="vqa")
        assert len(found.questions) == 4
        for _, turns in found.questions:
            assert [t.request for t in turns] == [f.format(x=identifier) for f in forms]
            assert all(len(t.answers) == 1 and identifier in t.answers[0] for t in turns)
            assert not any("the dog" in t.answers[0].lower() or "the girl" in t.answers[0].lower() for t in turns)
    assert plan(session, session.store.get("Rex")).questions == ()


@pytest.mark.parametrize(
    ("whole", "closeup", "phrase"),
    [
        ("A red dog sleeps on the beach.", "A red dog sleeps.", "the dog"),
        ("A red dog sits next to a blue dog.", "A striped blue dog is sitting.", "the striped blue dog"),
        ("A red dog sits next to a blue dog.", "Something blue.", "the dog"),
    ],
)
def test_where_there_are_several_of_a_class_the_closeups_words_are_used(session, monkeypatch, whole, closeup, phrase):
    concept = replace(session.store.get("Rex"), category="dog")
    photos = load_references(concept, edge=64)[0][:1]
    vlm = session.vlm_in_use
    author = TargetBuilder(vlm, session.store, concept, photos)
    monkeypatch.setattr(author, "_plain_captions", [PlainCaption(whole, closeup)])
    asked = []
    answer = lambda vlm, images, requests: asked.extend(requests[0]) or [["The dog."] * len(requests[0])]  # noqa: E731
    monkeypatch.setattr("engine.vlms.generate.ask_plain", answer)
    author.questions(None)
    assert asked[0] == f"What color is {phrase}?"


def test_show_captions_prints_everything_and_trains_nothing(myvlm, session):
    before = session.store.get("Rex").version
    result = myvlm("train", "rex", "--show-captions", "--task", "vqa", "--json")
    assert result.code == 0, result.err
    (document,) = result.json["concepts"]
    assert set(document["captions"]) == set(document["answers"]) == {f"{k}.jpg" for k in range(4)}
    assert all(len(answers) == 9 for answers in document["answers"].values())
    assert all("sks" in text for texts in document["captions"].values() for text in texts)
    text = myvlm("train", "rex", "--show-captions")
    assert text.code == 0
    assert len([line for line in text.out.splitlines() if "sks" in line]) == 1 + 4 * 3
    assert session.store.get("Rex").version == before


def test_what_is_shown_can_be_edited_and_given_back(myvlm, session, tmp_path):
    (shown,) = myvlm("train", "rex", "--show-captions", "--task", "vqa", "--json").json["concepts"]
    shown["answers"]["1.jpg"] = {"What is Rex holding?": "Rex is holding a kite."}
    for key in ("captions", "answers"):
        (tmp_path / f"{key}.json").write_text(json.dumps(shown[key]))
    files = ("--captions", tmp_path / "captions.json", "--answers", tmp_path / "answers.json")
    (again,) = myvlm("train", "rex", "--show-captions", "--task", "vqa", *files, "--json").json["concepts"]
    assert again["captions"] == shown["captions"]
    assert again["captions_by"] == "you"
    assert again["answers"] == shown["answers"] | {"1.jpg": {"What is sks holding?": "sks is holding a kite."}}


@pytest.mark.parametrize(
    ("answers", "extra", "words"),
    [
        ({"0.jpg": {"What is this?": "Rex."}}, ("--task", "vqa"), "does not name 'Rex'"),
        ({"other.jpg": {"Where is Rex?": "At home."}}, ("--task", "vqa"), "says nothing of any of these photos"),
        ({"0.jpg": {"Where is Rex?": "At home."}}, (), "only used when answering is trained"),
    ],
)
def test_answers_that_do_not_fit_are_refused(myvlm, session, tmp_path, answers, extra, words):
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    result = myvlm("train", "rex", "--answers", tmp_path / "answers.json", *extra)
    assert (result.code, words in result.err) == (2, True), result.err


def test_photos_without_given_answers_get_the_vlms(session, tmp_path):
    (tmp_path / "answers.json").write_text(json.dumps({"0.jpg": {"Where is REX?": "At home."}}))
    found = plan(session, session.store.get("Rex"), task="vqa", answers=tmp_path / "answers.json")
    assert [len(turns) for _, turns in found.questions] == [1, 9, 9, 9]
    assert found.questions[0][1] == (Turn("Where is sks?", ("At home.",)),)
    assert len([n for n in found.notes if "the VLM wrote its answers" in n]) == 3


def test_questions_have_a_penalty_weight_and_a_wording_of_their_own(session, monkeypatch):
    config = session.vlm_config
    requests = config.requests | {"question": "[vqa] {question}"}
    own = replace(config, requests=requests, injection=replace(config.injection, vqa_penalty_weight=10.0))
    monkeypatch.setitem(session.__dict__, "vlm_config", own)
    session.vlm.config = own
    weights, asked = [], []
    loss, encode = session.vlm.loss_behind, session.vlm.encode_example
    monkeypatch.setattr(
        session.vlm, "loss_behind", lambda *a, penalty_weight=None: weights.append(penalty_weight) or loss(*a)
    )
    monkeypatch.setattr(session.vlm, "encode_example", lambda q, a: asked.append(q) or encode(q, a))
    train(session, "Rex", task="vqa", steps=4)
    assert weights == [10.0] * 4
    assert {q.startswith("[vqa] ") or q == "Please caption this image of sks." for q in asked} == {True}
    assert any(q.startswith("[vqa] ") for q in asked)
    train(session, "Rex", steps=1)
    assert weights[4:] == [None]


def test_people_may_have_steps_of_their_own(session, monkeypatch):
    config = session.vlm_config
    monkeypatch.setitem(
        session.__dict__, "vlm_config", replace(config, training=replace(config.training, steps=5, person_steps=7))
    )
    assert plan(session, session.store.get("Rex")).settings.steps == 5
    assert plan(session, session.store.get("Anna")).settings.steps == 7
    assert plan(session, session.store.get("Anna"), steps=9).settings.steps == 9


def test_both_embeddings_are_kept_and_ask_uses_the_one_for_questions(myvlm, session, album):
    shown = myvlm("concepts", "show", "rex", "--json").json
    assert [e["task"] for e in shown["embeddings"]] == ["caption", "vqa"]
    result = myvlm("ask", album, "Where is it in the image?", "--json")
    assert result.code == 0, result.err
    found = {Path(p["file"]).stem: p for p in result.json["photos"]}
    assert {stem: p["task"] for stem, p in found.items()} == {"rex": "vqa", "both": "caption+vqa", "nobody": None}
    assert {c["name"]: c["task"] for c in found["both"]["concepts"]} == {"Anna": "caption", "Rex": "vqa"}
    result = myvlm("ask", album / "rex.jpg", album / "both.jpg", "Where is rex in the image?", "--jsonl")
    assert [(p["status"], p["task"], p["answer"]) for p in result.lines] == [("ok", "vqa", "Rex is in the snow.")] * 2


def test_training_questions_resumes_apart_from_captions(session):
    concept = session.store.get("Rex")
    files = {session.store.training_file(concept, session.vlm_id, task) for task in ("caption", "vqa")}
    assert len(files) == 2


def test_all_trains_what_lacks_the_task(myvlm, session):
    result = myvlm("train", "--all", "--task", "vqa", "--steps", "1", "--json")
    assert result.code == 0, result.err
    assert [(d["name"], d["task"]) for d in result.json["concepts"]] == [("Anna", "vqa")]


def test_without_concepts_captions_are_the_plain_vlms_byte_for_byte(myvlm, session, album):
    paths = sorted(album.glob("*.jpg"))
    vlm = session.vlm
    rows = vlm.inject(vlm.encode(vlm.preprocess([load_photo(p).image for p in paths])), [torch.zeros(0, vlm.width)] * 3)
    plain = [g.text for g in vlm.generate(rows, [vlm.encode_prompt(vlm.config.request("caption"))] * 3)]
    result = myvlm("caption", album, "--no-concepts", "--dry-run", "--jsonl")
    assert [p["caption"] for p in result.lines] == plain
    named = {Path(p["file"]).stem: p for p in myvlm("caption", album, "--dry-run", "--jsonl").lines}
    assert named["nobody"]["concepts"] == []
    assert named["nobody"]["caption"] == dict(zip([p.stem for p in paths], plain, strict=True))["nobody"]
