"""Calibrating on a library that nobody has labelled: `myvlm calibrate`, and what `caption` does by itself."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from engine.core.errors import UsageError
from engine.core.paths import common_folder
from engine.photos.discovery import FoundFile, find_files
from engine.recognition.calibrate import MOST, calibrate, calibrated_on, sample
from engine.recognition.enrolled import gallery_digest, recognisable
from engine.recognition.gallery import load_gallery
from engine.recognition.thresholds import learn_from_decisions
from engine.session import Session, SessionOptions
from engine.storybook.album import REX
from engine.storybook.photos import save_photo
from engine.storybook.world.individuals import draw_category, draw_individual
from engine.storybook.world.scenes import compose
from tests.learned import draw_references

PHOTOS = 104


@pytest.fixture(scope="module")
def drawn_library(tmp_path_factory):
    """A hundred photos of strangers and a few of Rex."""
    folder = tmp_path_factory.mktemp("library") / "photos"
    rng = np.random.default_rng(9)
    for i in range(PHOTOS):
        cast = (REX,) if i % 26 == 0 else (draw_individual(rng, draw_category(rng)),)
        save_photo(compose(rng, cast), folder / f"{i:03}.jpg")
    return folder


@pytest.fixture
def library(drawn_library, tmp_path):
    """A copy that sidecars can be written to."""
    return Path(shutil.copytree(drawn_library, tmp_path / "photos"))


def stored(session):
    return list(session.store._db.query("select * from calibrations order by model"))


def test_a_library_is_calibrated_once_for_each_kind(myvlm, session, library):
    result = myvlm("calibrate", library, "--json")
    assert result.code == 0, result.err
    kinds = {k["kind"]: k for k in result.json["kinds"]}
    assert set(kinds) == {"people", "things"}
    assert result.json["photos"] == PHOTOS
    (rex,) = kinds["things"]["concepts"]
    assert rex["name"] == "Rex"
    assert rex["separable"]
    assert rex["maybe_threshold"] < rex["name_threshold"]
    promised = [k["false_names_per_1000"]["promised"] for k in kinds.values()]
    assert promised == [0.5, 0.5]  # one in a thousand, shared by two concepts
    for kind in kinds.values():
        low, high = kind["false_names_per_1000"]["interval95"]
        assert 0.0 <= low <= high
    assert calibrated_on(session, library) > 0
    assert calibrated_on(session, library / "part of it") > 0
    assert calibrated_on(session, library.parent) == 0
    before = stored(session)
    assert myvlm("calibrate", library, "--json").json == result.json
    assert [r["thresholds"] for r in stored(session)] == [r["thresholds"] for r in before]


def test_the_first_caption_calibrates_and_says_so_and_the_next_does_not(myvlm, session, library):
    first = myvlm("caption", library, "--json")
    assert f"Checked {PHOTOS} photos. Target: 1 wrong name in 1,000; expected: about " in first.err
    named = {Path(p["file"]).name for p in first.json["photos"] if any(c["name"] == "Rex" for c in p["concepts"])}
    assert named <= {f"{i:03}.jpg" for i in range(0, PHOTOS, 26)}
    assert named
    threshold = next(c["threshold"] for p in first.json["photos"] for c in p["concepts"])
    kept = {t for r in stored(session) for t in json.loads(r["thresholds"]).values() for t in t[:1]}
    assert any(abs(threshold - t) < 1e-3 for t in kept)
    again = myvlm("caption", library)
    assert "Checked" not in again.err
    assert "up to date" in again.err
    assert myvlm("status", library, "--json").json["summary"] == {"current": PHOTOS}


def test_a_new_concept_makes_another_calibration_of_the_same_rate(myvlm, session, library):
    assert myvlm("calibrate", library, "--false-names-per-1000", "0.5").code == 0
    strict = {k: t for r in stored(session) for k, t in json.loads(r["thresholds"]).items()}
    draw_references(library.parent / "Bo", draw_individual(np.random.default_rng(5), "cat"), 5)
    assert myvlm("add-concept", "Bo", library.parent / "Bo").code == 0
    assert calibrated_on(session, library) == 0
    assert f"Checked {PHOTOS} photos. Target: 0.5 wrong names in 1,000" in myvlm("caption", library).err
    assert {r["per_1000"] for r in stored(session)} == {0.5}
    assert len({k for r in stored(session) for k in json.loads(r["thresholds"])}) == len(strict) + 1
    usual = calibrate(session, list(find_files([library])), library, per_1000=5.0)
    for promise in usual:
        for concept_id, t in promise.thresholds.items():
            if concept_id in strict:
                assert t.name < strict[concept_id][0]


def test_a_dry_run_and_a_few_photos_calibrate_nothing(myvlm, session, library):
    assert "Checked" not in myvlm("caption", library, "--dry-run").err
    assert "only some are wanted" in myvlm("caption", library, "--limit", "1").err
    assert "Checked" not in myvlm("caption", library, "--include", "00*.jpg").err
    few = library.parent / "few"
    few.mkdir()
    for i in range(2 * PHOTOS):  # copies are no other photos
        shutil.copy(library / "000.jpg", few / f"{i}.jpg")
    assert stored(session) == []
    result = myvlm("calibrate", few)
    assert result.code == 2
    assert "1 different photo can be read" in result.err
    assert stored(session) == []


def test_what_cannot_be_read_is_told_and_the_rest_is_calibrated_on(myvlm, session, library):
    (library / "broken.jpg").write_bytes(b"no picture")
    result = myvlm("calibrate", library, "--json")
    assert result.code == 1
    assert result.json["photos"] == PHOTOS
    assert [Path(f).name for f in result.json["failed"]] == ["broken.jpg"]
    assert "broken.jpg" in result.err


def test_a_library_that_grew_is_calibrated_anew_and_takes_its_parts_along(myvlm, session, library):
    part = library / "part"
    part.mkdir()
    for i in range(100):
        (library / f"{i:03}.jpg").rename(part / f"{i:03}.jpg")
    assert myvlm("calibrate", part).code == 0
    assert {Path(os.fsdecode(r["root"])).name for r in stored(session)} == {"part"}
    files = list(find_files([library]))
    calibrate(session, files, library)
    assert {Path(os.fsdecode(r["root"])).name for r in stored(session)} == {"photos"}
    assert calibrated_on(session, part) == PHOTOS
    assert len(list((session.folder / "calibrations").glob("*.safetensors"))) == 2


def test_a_folder_is_the_same_however_it_is_spelled(session, library):
    link = library.parent / "link"
    link.symlink_to(library)
    assert common_folder([link]) == common_folder([library / ".." / "photos"]) == common_folder([library / "000.jpg"])


def test_thresholds_outlast_a_decision(myvlm, session, library):
    """A head that learned has other thresholds when it is calibrated, not before."""
    myvlm("calibrate", library)

    def thresholds():
        judges = load_gallery(
            session.store,
            session.recogniser_config,
            session.recognition,
            recognisable(session.store, session.recogniser_config),
            library,
        )
        return [j.name_thresholds.tolist() for j in (judges.faces, judges.regions) if j is not None]

    before = thresholds()
    assert myvlm("reject", library / "001.jpg", "Rex").code == 0
    assert calibrated_on(session, library) == 0
    assert thresholds() == before


def test_nothing_comes_back_after_forgetting(session, library):
    promises = calibrate(session, list(find_files([library])), library)
    assert promises
    rows = stored(session)
    kept = session.store.calibrations.pick(rows[0]["model"], rows[0]["gallery"], library)
    session.store.forget("Rex")
    session.store.forget("Anna")
    session.store.calibrations.save(kept)
    assert not list((session.folder / "calibrations").glob("*"))
    assert {r["file"] for r in stored(session)} <= {""}


def test_without_a_calibration_of_its_own_a_photo_has_that_of_another_library(session, library, tmp_path):
    calibrate(session, list(find_files([library])), library)
    (judge,) = [
        j
        for j in (
            load_gallery(
                session.store,
                session.recogniser_config,
                session.recognition,
                recognisable(session.store, session.recogniser_config),
                tmp_path / "x",
            ).regions,
        )
        if j
    ]
    assert judge.calibration is not None
    assert judge.calibration.root == library


def test_forgetting_leaves_no_features_and_no_thresholds(myvlm, session, library):
    myvlm("calibrate", library, "--false-names-per-1000", "2")
    folder = session.folder / "calibrations"
    assert list(folder.glob("*.safetensors"))
    assert myvlm("forget", "Rex", "--yes").code == 0
    assert not list(folder.glob("*"))
    assert {(r["gallery"], r["thresholds"]) for r in stored(session)} == {("", "{}")}
    assert session.store.calibrations.last_rate(library) == 2.0


def test_paper_heads_are_not_calibrated(session, library):
    paper = Session(SessionOptions("storybook", heads="paper"), session.folder)
    assert calibrated_on(paper, library) > 0
    with pytest.raises(UsageError, match="thresholds of their own"):
        calibrate(paper, list(find_files([library])), library)


def test_a_digest_tells_galleries_apart(session):
    config = session.recogniser_config
    marks = {c.name: (c.id, session.store.head_fingerprint(c, config.head_id(c.kind))) for c in session.store.all()}
    assert list(marks) == ["Anna", "Rex"]
    both = gallery_digest(config, dict(marks.values()))
    assert gallery_digest(config, dict([marks["Rex"]])) != both
    assert gallery_digest(config, dict([marks["Rex"], marks["Anna"]])) == both


@pytest.mark.parametrize(
    ("confirmed", "rejected", "expected"),
    [
        ([], [], 3.0),
        ([2.8], [], 3.0),  # one is too few
        ([2.8, 2.8, 2.8], [], 2.8),
        ([1.0, 1.0], [], 2.5),  # half a unit at most
        ([2.6, 2.6], [2.7], 2.8),  # above what was rejected
        ([2.6, 2.6], [5.0], 3.0),  # never higher than it was
        ([4.0, 4.0], [], 3.0),
    ],
)
def test_confirmations_lower_a_threshold_within_bounds(confirmed, rejected, expected):
    decided = [(np.array(confirmed), np.array(rejected))]
    found = learn_from_decisions(np.array([3.0]), np.array([1.0]), decided)
    assert found == pytest.approx([expected])


@pytest.mark.parametrize("stills", [0, 1, 7, MOST, MOST + 1, 7_001])
def test_a_sample_is_spread_evenly_and_holds_no_more(tmp_path, stills):
    files = [FoundFile(tmp_path / f"{n}.jpg", "photo") for n in range(stills)]
    mixed = iter([f for file in files for f in (file, FoundFile(tmp_path / "film.mp4", "video"))])
    chosen = sample(mixed, stills)
    assert len(chosen) == min(stills, MOST)
    numbers = [int(f.path.stem) for f in chosen]
    if stills > 1:
        assert (numbers[0], numbers[-1]) == (0, stills - 1)
        gaps = {b - a for a, b in zip(numbers, numbers[1:], strict=False)}
        assert max(gaps) - min(gaps) <= 1
