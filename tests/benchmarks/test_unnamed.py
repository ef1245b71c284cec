"""`evaluate --unnamed`: what is counted right, and the tables of a run."""

import json
import sys

import numpy as np
import pytest

from engine.benchmarks.render import render_table
from engine.benchmarks.unnamed_measure import compare
from engine.benchmarks.unnamed_methods import METHODS, USED, Sample, by_word
from engine.benchmarks.unnamed_tables import unnamed_tables
from engine.vision.config import GroupThresholds

THRESHOLDS = GroupThresholds(0.8, 0.7)


def sample(truth, photos=None, features=None, words=None):
    count = len(truth)
    features = np.eye(count, dtype=np.float32) if features is None else features
    photos = range(count) if photos is None else photos
    return Sample(features, np.array(photos), np.array(truth), words or ("",) * count)


def test_what_is_counted():
    found = compare(np.array([0, 0, 0, 0, 1, 2, 3]), sample([5, 5, 5, 6, 6, 6, 7]))
    assert found["pure"] == [False]
    assert (found["members"], found["pairs"]) == ([3, 4], [3, 6])
    assert found["found"] == [1.0, pytest.approx(1 / 3, abs=1e-4)]
    assert found["pieces"] == [1, 0]
    assert found["once"] == [False]


def test_groups_in_one_photo_do_not_count():
    found = compare(np.array([0, 0, 1, 1]), sample([1, 2, 3, 4], photos=[0, 0, 1, 2]))
    assert found["pure"] == [False]
    assert found["once"] == [False, False, True, True]


def vectors():
    """Two tight clusters of four, and two vectors far from all."""
    rng = np.random.default_rng(0)
    centres = np.repeat(np.linalg.qr(rng.normal(size=(8, 8)))[0][:4], [4, 4, 1, 1], axis=0)
    rows = centres + 0.02 * rng.normal(size=centres.shape)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("name", [n for n in METHODS if not n.startswith("HDBSCAN")])
def test_every_method_finds_what_is_plain(name):
    plain = sample([0] * 4 + [1] * 4 + [2, 3], features=vectors())
    found = compare(by_word(METHODS[name], plain, THRESHOLDS), plain)
    assert (found["found"], found["pieces"], found["pure"]) == ([1.0, 1.0], [1, 1], [True, True])


def test_hdbscan_finds_what_is_plain():
    pytest.importorskip("sklearn")
    plain = sample([0] * 4 + [1] * 4 + [2, 3], features=vectors())
    found = compare(by_word(METHODS["HDBSCAN, 3 or more"], plain, THRESHOLDS), plain)
    assert found["found"] == [1.0, 1.0]
    few = sample([0, 1], features=vectors()[:2])
    assert len(set(by_word(METHODS["HDBSCAN, 3 or more"], few, THRESHOLDS))) == 2


def test_class_words_are_kept_apart():
    plain = sample([0] * 4 + [1] * 6, features=vectors(), words=("dog", "dog", "cat", "cat") + ("dog",) * 6)
    labels = by_word(METHODS["average linkage, start"], plain, THRESHOLDS)
    assert labels[0] == labels[1] != labels[2] == labels[3]


def test_a_method_that_cannot_run_is_said_to_be_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    plain = compare(np.array([0, 0]), sample([1, 1])) | {"views": [True]}
    missing = {"reason": "scikit-learn is not installed"}
    methods = {USED: plain, **{name: missing if name.startswith("HDBSCAN") else plain for name in METHODS}}
    kind = {"sightings": 2, "recurring": 0, "once": 0, "thresholds": [0.8, 0.7], "methods": methods}
    (table,) = unnamed_tables("Drawn", [{"kinds": {"person": kind}}])
    rows = {row["method"]: row for row in table.document()["rows"]}
    assert rows["HDBSCAN, 3 or more"]["pure groups"] == {"not_measured": "scikit-learn is not installed"}
    assert rows[USED]["pure groups"]["value"] == 1.0
    assert rows[USED]["right views"]["n"] == 1
    assert any("A false detection" in note for note in table.notes)


def test_thresholds_that_were_chosen_on_the_photos_are_said_to_be():
    plain = compare(np.array([0, 0, 0]), sample([1, 1, 1])) | {"views": [True]}
    kind = {"sightings": 3, "recurring": 1, "once": 0, "thresholds": [0.8, 0.7]}
    kinds = {k: {**kind, "methods": dict.fromkeys((USED, *METHODS), plain)} for k in ("person", "pet")}
    faces, animals = unnamed_tables("Photos", [{"kinds": kinds}], ["dog", "mug"])
    assert (faces.title, animals.title) == (
        "Photos: faces",
        "Photos: animals (thresholds were chosen on these photos)",
    )
    assert unnamed_tables("Photos", [{"kinds": kinds}], ["rex"])[1].title == "Photos: animals"
    assert "100.0 % (–), n 1" in render_table(faces)
    assert "(100.0–100.0)" not in render_table(faces)


def test_a_run_writes_tables_and_continues(myvlm, tmp_path, shared):
    out = tmp_path / "out"
    root = tmp_path / "root"
    for name in ("dog", "cat"):
        (root / name).mkdir(parents=True)
        for k in range(3):
            (root / name / f"{k}.jpg").symlink_to(shared / "photos" / "subjects" / name / f"0{k}.jpg")
    command = ("evaluate", "--unnamed", "--photos", 40, "--seeds", 3, "--data", root, "--recogniser", "builtin")
    result = myvlm(*command, "--out", out, "--json")
    assert result.code == 0, result.err
    assert {t["id"] for t in result.json["tables"]} >= {"Drawn libraries-person", "Drawn libraries-pet"}
    page = (out / "unnamed.md").read_text("utf-8")
    assert "### Photos, builtin: animals (thresholds were chosen on these photos)" in page
    assert json.loads((out / "unnamed.json").read_text("utf-8")) == result.json
    stamp = (out / "unnamed-parts" / "drawn-seed3.json").stat().st_mtime_ns
    assert myvlm(*command[:6], "--out", out).code == 0
    assert (out / "unnamed-parts" / "drawn-seed3.json").stat().st_mtime_ns == stamp
    (out / "unnamed.md").write_text("mine")
    assert myvlm(*command[:6], "--out", out).code == 2
    assert myvlm("evaluate", "--unnamed", "--steps", 3).code == 2
    assert myvlm("evaluate", "--unnamed", "--speed").code == 2
