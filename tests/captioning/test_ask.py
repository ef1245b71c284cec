"""Questions that name somebody who is not there, or of whom the VLM cannot be told; photos that it does not know."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from engine.captioning.stand_ins import find_stand_ins
from engine.core.types import Kind
from engine.photos.decode import load_photo
from engine.vlms.base import Generation
from tests.learned import draw_album


def concept(name, category="dog", kind=Kind.PET):
    return SimpleNamespace(name=name, category=category, kind=kind)


REX, LUNA, ANNA = concept("rex"), concept("Luna"), concept("Anna", "girl", Kind.PERSON)


@pytest.fixture
def album(tmp_path):
    draw_album(tmp_path / "album")
    return tmp_path / "album"


@pytest.fixture
def real(tmp_path):
    """A photo that was not drawn by myvlm."""
    path = tmp_path / "real.jpg"
    Image.new("RGB", (320, 240), (90, 120, 60)).save(path)
    return path


@pytest.mark.parametrize(
    ("absent", "description", "asked", "reply"),
    [
        ([REX], "A red dog sits.", "Is the red dog here?", "Asked about the red dog instead: Yes."),
        ([REX], "A teapot.", None, "It shows: A teapot."),
        ([REX], "Luna sits next to a cat.", None, "It shows: Luna sits next to a cat."),
        ([ANNA], "A woman with red hair is here.", "Is the woman with red hair here?", None),
        ([concept("rex", "animal")], "A bear.", None, "It shows: A bear."),
        ([REX, LUNA], "A red dog.", None, "It shows: A red dog."),  # the one dog cannot stand for both
    ],
)
def test_who_is_not_there_is_not_presupposed(absent, description, asked, reply):
    found = find_stand_ins(absent, [], ["Luna"], description)
    question = f"Is {' with '.join(c.name.upper() for c in absent)} here?"
    assert (found.question(question) if not found.unnamed else None) == asked
    told = found.reply(description if found.unnamed else "Yes.")
    assert told.startswith(" and ".join(c.name for c in absent).capitalize()[:3])
    assert "not recognised in this photo. " in told
    assert reply is None or told.endswith(reply)


@pytest.mark.parametrize(
    ("unspoken", "description", "question", "answer", "reply"),
    [
        ([REX], "A red dog sits.", "Is the red dog here?", "The red dog is on a sofa.", "Rex is on a sofa."),
        ([REX], "A red dog sits.", "Is the red dog here?", "Yes, the dog is.", "Yes, rex is."),
        ([REX], "A dog next to a dog.", "Is the dog here?", "The dog is here.", "The dog is here."),
        ([REX], "A teapot.", "Is the dog here?", "The dog is here.", "The dog is here."),
        ([REX, LUNA], "A dog.", "Is the dog with the dog here?", "The dog is.", "The dog is."),
    ],
)
def test_a_name_comes_back_only_where_it_can_mean_nobody_else(unspoken, description, question, answer, reply):
    found = find_stand_ins([], unspoken, [], description)
    asked = f"Is {' with '.join(c.name for c in unspoken)} here?"
    assert found.question(asked) == question
    assert found.reply(answer) == reply


def test_an_untrained_concept_is_spoken_of_by_its_class_word(myvlm, session, album, monkeypatch):
    session.store._db.conn.execute("delete from embeddings")
    category = session.store.get("Rex").category
    texts = iter([f"A red {category} sits.", f"The red {category} is in the snow."])
    asked, encode = [], type(session.vlm).encode_prompt
    kind = type(session.vlm)
    monkeypatch.setattr(kind, "encode_prompt", lambda self, r: asked.append(r) or encode(self, r))
    monkeypatch.setattr(kind, "generate", lambda *_: [Generation(next(texts), capped=False)])
    result = myvlm("ask", album / "rex.jpg", "Where is rex?", "--json", "--speak", "embedding")
    assert result.code == 0, result.err
    (reply,) = result.json["photos"]
    assert reply["answer"] == "Rex is in the snow."
    assert (reply["absent"], reply["task"]) == ([], None)
    assert asked[1] == f"Where is the red {category}?"
    assert result.err.count("myvlm train Rex") == 1


def test_a_stranger_called_like_an_identifier_is_not_taken_for_the_concept(myvlm, session, album):
    identifier = session.store.get("Anna").identifier
    told = myvlm("ask", album / "both.jpg", f"Where is {identifier} in the image?", "--json").json["photos"][0]
    assert "Anna" not in told["answer"]
    assert {c["name"]: c["task"] for c in told["concepts"]}["Anna"] is None


def test_a_longer_name_is_not_taken_for_a_shorter_one(myvlm, session, album):
    session.store.rename("Anna", "Rex II")
    told = myvlm("ask", album / "both.jpg", "Where is rex ii in the image?", "--json").json["photos"][0]
    assert told["absent"] == []
    assert told["answer"].startswith("Rex II")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("rex.jpg", "Who", "is", "there"), "quote the question"),
        (("rex.jpg", "What's", "up?"), "quote the question"),
        (("rex.jpg", ""), "empty"),
        (("rex.jpg", "  "), "empty"),
        (("rex.jpg", "both.jpg"), "a photo and a question are needed"),
        (("rex.jpg", "hello", "--vlm", "none"), "--vlm none asks for none"),
    ],
)
def test_what_is_no_question_is_a_usage_error(myvlm, session, album, monkeypatch, arguments, words):
    monkeypatch.chdir(album)
    result = myvlm("ask", *arguments)
    assert (result.code, words in result.err, result.out) == (2, True, ""), result.err


def test_files_may_be_called_like_words_and_questions_may_be_long(myvlm, session, album, monkeypatch):
    monkeypatch.chdir(album)
    Path("rex.jpg").rename("is")
    Path("both.jpg").rename("there")
    result = myvlm("ask", "is", "there", f"Where is Rex in the image{'?' * 300}", "--jsonl")
    assert (result.code, [p["status"] for p in result.lines]) == (0, ["ok", "ok"]), result.err


def test_of_photos_that_the_vlm_does_not_know_nothing_is_said(myvlm, session, album, real):
    shutil.copy(real, real.with_name("other.jpg"))
    for photos in ((album / "rex.jpg", real, real.with_name("other.jpg")), (real,)):
        for options in ((), ("--vlm", "storybook")):
            result = myvlm("ask", *photos, "What is in the image?", *options)
            assert (result.code, result.out, "myvlm setup" in result.err) == (3, "", True), result.err


def test_a_damaged_file_among_drawings_fails_alone(myvlm, session, album):
    (album / "junk.jpg").write_bytes(b"no photo")
    result = myvlm("ask", album, "What is in the image?", "--vlm", "storybook", "--jsonl")
    assert result.code == 1
    assert sorted(p["status"] for p in result.lines) == ["failed", "ok", "ok", "ok"]


def test_the_vlm_points_into_no_photo_that_it_does_not_know(myvlm, session, album, real):
    load_photo(album / "rex.jpg").image.save(real, quality=95)  # the same picture, but nothing says who drew it
    refer = ("--method", "refer")
    assert myvlm("locate", "rex", real, "--json").json["photos"][0]["box"]
    for options in ((), ("--vlm", "storybook")):
        result = myvlm("locate", "rex", album / "rex.jpg", real, *refer, *options)
        assert (result.code, result.out, "--method refer" in result.err) == (3, "", True), result.err
