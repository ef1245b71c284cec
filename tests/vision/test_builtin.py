"""The built-in recogniser on real photos, the way a user meets it."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from engine.core.cpu import available_cores
from engine.vision.config import find_recogniser
from engine.vision.onnx_threads import session_options


@pytest.fixture
def subjects(shared) -> Path:
    return shared / "photos" / "subjects"


@pytest.fixture
def rex(subjects, tmp_path) -> Path:
    """Three photos of a dog."""
    folder = tmp_path / "rex"
    folder.mkdir()
    for n in ("00", "01", "02"):
        shutil.copy(subjects / "dog6" / f"{n}.jpg", folder)
    return folder


@pytest.fixture
def library(subjects, tmp_path) -> Path:
    """One more photo of the dog, and photos of a cat, another dog, a teapot and a vase."""
    folder = tmp_path / "library"
    folder.mkdir()
    for name, photo in (("dog6", "03"), ("cat", "00"), ("dog2", "00"), ("teapot", "00"), ("vase", "00")):
        shutil.copy(subjects / name / f"{photo}.jpg", folder / f"{name}.jpg")
    return folder


def test_the_first_three_commands_put_a_dogs_name_into_its_photos_sidecar(myvlm, bare_home, rex, library):
    added = myvlm("add-concept", "Rex", rex)
    assert added.code == 0, added.err
    assert "Rex: pet (guessed), category dog (guessed" in added.out
    captioned = myvlm("caption", library)
    assert captioned.code == 0, captioned.err
    assert sorted(p.name for p in library.glob("*.xmp")) == ["dog6.jpg.xmp"]
    sidecar = (library / "dog6.jpg.xmp").read_text("utf-8")
    assert "<rdf:li>Rex</rdf:li>" in sidecar and "dc:description" not in sidecar
    assert "myvlm setup" in captioned.err


@pytest.mark.parametrize(
    ("subject", "kind", "word"),
    [
        ("cat2", "pet", "cat"),
        ("vase", "thing", "vase"),
        ("shiny_sneaker", "thing", "shoe"),
        ("robot_toy", "thing", "thing"),
    ],
)
def test_kind_and_word_are_guessed_where_they_are_sure(myvlm, bare_home, subjects, subject, kind, word):
    photos = sorted((subjects / subject).glob("*.jpg"))[:3]
    result = myvlm("add-concept", "It", *photos, "--json")
    assert (result.json["kind"], result.json["category"]) == (kind, word)


def test_what_the_user_says_overrides_the_guess(myvlm, bare_home, rex):
    result = myvlm("add-concept", "Rex", rex, "--category", "mug", "--json")
    assert (result.json["kind"], result.json["category"], result.json["category_guessed"]) == ("thing", "mug", False)


def test_a_library_is_scanned_and_captioned_again_without_looking(myvlm, bare_home, rex, library):
    myvlm("add-concept", "Rex", rex)
    assert myvlm("caption", library).code == 0
    before = {p.name: p.read_bytes() for p in library.iterdir()}
    again = myvlm("caption", library)
    assert "up to date" in again.err
    assert {p.name: p.read_bytes() for p in library.iterdir()} == before


def test_features_of_regions_of_another_size_have_another_id():
    """The cache and the heads must not mix them."""
    config = find_recogniser("builtin")
    assert replace(config, image_size=config.image_size + 16).regions_id != config.regions_id


@pytest.mark.parametrize("workers", ["", "1", "1000", "many"])
def test_sessions_have_a_thread_for_each_core_of_this_process(monkeypatch, workers):
    monkeypatch.setenv("MYVLM_WORKERS", workers)
    options = session_options()
    assert options.intra_op_num_threads == available_cores() == (1 if workers == "1000" else available_cores())
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
