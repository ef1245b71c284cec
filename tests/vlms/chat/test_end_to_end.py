"""A folder captioned with a chat checkpoint that nobody trained: random words, right names, right sidecars."""

import json

import pytest

from tests.captioning.test_names_only import words
from tests.learned import draw_album
from tests.vlms.chat.tiny import FAMILIES, save_family


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    family = next(f for f in FAMILIES if f.name == "qwen3_vl")
    return save_family(family, tmp_path_factory.mktemp("qwen3_vl"))


@pytest.fixture
def album(tmp_path, session):
    folder = tmp_path / "album"
    draw_album(folder)
    return folder


def test_names_are_right_whatever_the_words_are(myvlm, session, album, checkpoint):
    recogniser = session.recogniser_config.name
    command = ("caption", album, "--vlm", checkpoint, "--recogniser", recogniser, "--style", "alt-text")
    result = myvlm(*command)
    assert result.code == 0, result.err
    description, keywords, _ = words(album / "both.jpg")
    assert keywords == ["Anna", "Rex"]
    assert all(name in description for name in keywords)
    record = json.loads((album / "both.jpg.myvlm.json").read_text())
    assert record["request"]["told"] == {"Anna": "names", "Rex": "names"}
    assert (record["request"]["style"], record["vlm"]["id"]) == ("alt-text", f"folder:{checkpoint.name}")
    nobody = words(album / "nobody.jpg")
    assert nobody[1] == []
    assert not any(name in nobody[0] for name in keywords)
    assert "Nothing to do" in myvlm(*command).err
    assert myvlm(*command[:-2], "--json").json["summary"] == {"ok": 3}


def test_an_embedding_that_was_trained_for_it_is_used(myvlm, session, album, checkpoint):
    recogniser = ("--recogniser", session.recogniser_config.name)
    trained = myvlm("train", "Rex", "--vlm", checkpoint, "--steps", "2")
    assert trained.code == 0, trained.err
    result = myvlm("caption", album, "--vlm", checkpoint, *recogniser, "--speak", "both")
    assert result.code == 0, result.err
    record = json.loads((album / "both.jpg.myvlm.json").read_text())
    assert record["request"]["told"] == {"Anna": "names", "Rex": "both"}
    assert "Rex" in record["caption"]
