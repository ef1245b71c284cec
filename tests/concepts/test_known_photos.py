"""confirm, reject and locate of photos that the cache knows: nothing is decoded, no model and no torch is loaded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.core.boxes import Box
from engine.core.types import Concept, Decision, Kind, Verdict
from engine.photos.decode import load_photo
from engine.recognition import feedback_features
from engine.recognition.feedback_features import gather_feedback, key_of, rank_by_views
from engine.session import Session, SessionOptions
from engine.store.heads import FeedbackFeatures
from tests.learned import draw_album

ROOT = Path(__file__).parents[2]


@pytest.fixture
def album(session, myvlm, tmp_path):
    """Rex alone, Rex with Anna, nobody, all scanned; a store that knows both is MYVLM_HOME."""
    draw_album(tmp_path / "album")
    assert myvlm("scan", tmp_path / "album").code == 0
    return tmp_path / "album"


@pytest.fixture
def forbid(monkeypatch):
    """A function after which decoding a photo and loading the recogniser's models fail."""

    def refuse(*_given):
        raise AssertionError("this needs neither pixels nor models")

    def forbid():
        for module in ("engine.captioning.locate", "engine.concepts.decide", "engine.recognition.feedback_features"):
            monkeypatch.setattr(f"{module}.decode_photo", refuse)
        monkeypatch.setattr("engine.recognition.explain.explain.load_photo", refuse)
        monkeypatch.setattr(Session, "recogniser", property(refuse))

    return forbid


def without_times(document):
    return [{k: v for k, v in photo.items() if k != "seconds"} for photo in document["photos"]]


@pytest.mark.parametrize("name", ["Rex", "Anna"])
def test_locate_finds_the_same_in_the_cache(myvlm, album, forbid, name):
    assert myvlm("concepts", "clear-cache").code == 0
    decoded = myvlm("locate", name, album, "--json")
    forbid()
    known = myvlm("locate", name, album, "--json")
    assert known.code == decoded.code == 0
    assert without_times(known.json) == without_times(decoded.json)
    assert sum(p["box"] is not None for p in known.json["photos"]) >= 1


def test_locate_still_says_which_photo_is_damaged(myvlm, album):
    data = (album / "rex.jpg").read_bytes()
    (album / "rex.jpg").write_bytes(data[: len(data) // 2])
    result = myvlm("locate", "Rex", album, "--json")
    assert result.code == 1
    assert {Path(p["file"]).name: p["status"] for p in result.json["photos"]}["rex.jpg"] == "failed"


@pytest.mark.parametrize("verdict", ["confirm", "reject"])
def test_a_decision_about_a_person_takes_the_cached_face(myvlm, album, forbid, session, verdict):
    forbid()
    result = myvlm(verdict, album / "both.jpg", "Anna")
    assert result.code == 0, result.err
    assert "looked at the photos again" not in result.err
    assert "confidence before: " in result.out
    config, anna = session.recogniser_config, session.store.get("Anna")
    learned = session.store.load_head(anna.id, config.head_id(Kind.PERSON)).feedback
    ((_, rows),) = (learned.confirmed or learned.rejected).items()
    photo = load_photo(album / "both.jpg")
    faces = session.extractor.cached_faces(photo.facts.content_hash)
    assert any(np.array_equal(rows[0], f.embedding) for f in faces)


def test_a_box_outside_of_a_known_photo_is_refused(myvlm, album, forbid):
    forbid()
    result = myvlm("confirm", album / "both.jpg", "Anna", "--box", "90000,90000,90010,90010")
    assert result.code == 2
    assert "outside" in result.err


def test_it_is_said_when_the_recogniser_looks_again(myvlm, album):
    result = myvlm("confirm", album / "rex.jpg", "Rex")
    assert "storybook looked at the photos again" in result.err


def test_cached_features_are_those_of_the_region(home, drawn, monkeypatch):
    """The built-in recogniser makes no altered views: what it encodes anew is what the cache holds."""
    session = Session(SessionOptions("none", "builtin"), home)
    photo = load_photo(drawn.path)
    (found,) = session.extractor.find_regions([photo], keep=True)
    box = found.regions[2].box
    thing = Concept("id", "rex", Kind.PET, "dog", "sks", 1, ())
    at_box = Decision("id", photo.facts.content_hash, drawn.path, Box(*box.rounded()), Verdict.CONFIRM, "")
    own_box = Decision("id", photo.facts.content_hash, drawn.path, Box(3.0, 5.0, 60.0, 77.0), Verdict.CONFIRM, "")

    def features(decision):
        learned, missing = gather_feedback(
            session.extractor, thing, [decision], rank_by_views(found.features), FeedbackFeatures()
        )
        assert not missing
        return learned.confirmed[key_of(decision)]

    encoded = session.extractor.encode_views(photo.image, box, np.random.default_rng(0))
    assert len(encoded) == 1
    assert (features(own_box) @ encoded.T).item() < 0.999
    monkeypatch.setattr(feedback_features, "_encode", None)  # from here on, encoding fails
    assert (features(at_box) @ encoded.T).item() > 0.999


def test_a_decision_has_features_while_another_process_holds_the_cache(session, album, monkeypatch):
    monkeypatch.setattr(session.cache, "load", lambda content_hash, *models: None)
    photo = album / "both.jpg"
    read = load_photo(photo)
    for kind in (Kind.PERSON, Kind.PET):
        decision = Decision("id", read.facts.content_hash, photo, None, Verdict.CONFIRM, "")
        concept = Concept("id", "name", kind, "", "sks", 1, ())
        learned, missing = gather_feedback(
            session.extractor, concept, [decision], lambda features: features.sum(axis=1), FeedbackFeatures()
        )
        assert not missing and list(learned.confirmed) == [key_of(decision)]


@pytest.mark.parametrize("command", [["locate", "Anna"], ["confirm", "Anna"]])
def test_no_torch_is_imported(album, command):
    """In a process of its own, because the tests have imported torch long ago."""
    code = (
        "import sys; from myvlm_cli.main import app; app(sys.argv[1:], standalone_mode=False);"
        " print(sorted({'torch', 'transformers', 'open_clip', 'onnxruntime', 'huggingface_hub'} & set(sys.modules)))"
    )
    photo = str(album / "both.jpg")
    words = [command[0], photo, command[1]] if command[0] == "confirm" else [*command, photo]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1].replace("'", '"')) == []
