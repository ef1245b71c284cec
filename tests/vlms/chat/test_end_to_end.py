"""A folder captioned with a chat checkpoint that nobody trained: random words, right names, right sidecars."""

import json

import pytest
from PIL import Image

from tests.captioning.test_names_only import words
from tests.learned import draw_album
from tests.photo_files import exif_bytes
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
    assert myvlm("status", *command[1:], "--json").json["summary"] == {"current": 3}
    assert myvlm("status", *command[1:-2], "--json").json["summary"] == {"stale": 3}
    assert myvlm("status", *command[1:], "--language", "de", "--json").json["summary"] == {"stale": 3}
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


def test_a_date_that_was_written_into_the_photo_since_is_told(myvlm, session, album, checkpoint):
    photo = album / "nobody.jpg"
    options = ("--vlm", checkpoint, "--recogniser", session.recogniser_config.name, "--context")
    assert myvlm("caption", photo, *options).code == 0
    assert myvlm("status", photo, *options, "--json").json["summary"] == {"current": 1}
    add_date(photo, "2024:05:12 17:40:00")
    assert myvlm("status", photo, *options, "--json").json["summary"] == {"stale": 1}
    assert myvlm("caption", photo, *options).code == 0
    record = json.loads((album / "nobody.jpg.myvlm.json").read_text())
    assert "on Sunday, 12 May 2024, at 17:40" in record["request"]["context"]


def add_date(photo, date):
    """Replace a JPEG's EXIF by one with a date; the picture's own bytes stay."""
    data = photo.read_bytes()
    start = data.index(b"\xff\xe1")
    end = start + 2 + int.from_bytes(data[start + 2 : start + 4])
    with Image.open(photo) as opened:
        turned = opened.getexif().get(0x0112)
    exif = exif_bytes(turned, exif=((0x9003, date),))
    photo.write_bytes(data[:start] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif + data[end:])
