"""`myvlm evaluate --recognition`: what is counted, what is kept, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

from engine.benchmarks.library_cases import draw_library
from engine.benchmarks.library_figures import (
    EnrolledTruth,
    LibraryTruth,
    compare_with_truth,
    pool,
    rate_per_1000,
    truth_of_library,
)
from engine.benchmarks.recognition import MARK, RecognitionSettings, evaluate_recognition
from engine.benchmarks.recognition_changes import measure_decisions, measure_eleventh
from engine.benchmarks.recognition_library import copy_session, measure_both, scanned_library
from engine.benchmarks.recognition_measure import measure_recognition, read_library_truth, read_outcome
from engine.benchmarks.recognition_plot import curve_of
from engine.benchmarks.recognition_table import RecognitionResults, mixed_up, recognition_tables, with_suggestions
from engine.benchmarks.render import render_table
from engine.core.boxes import Box
from engine.core.errors import UsageError
from engine.session import SessionOptions

TWINS = (
    EnrolledTruth("Ann", "person", "sibling", 1),
    EnrolledTruth("Bea", "person", "sibling", 0),
    EnrolledTruth("Mug", "thing"),
)
TRUTH = LibraryTruth(TWINS, tuple(map(frozenset, ({0}, {1}, {2}, {0, 2}, (), ()))))
SAID = ({0: 0.9}, {0: None}, {}, {0: 0.5, 2: 0.7}, {2: None}, {})


def silent(text):
    pass


def part_of(truth=TRUTH, names=SAID, margins=None, seed=7):
    """A measured library, written by hand."""
    heads = {
        "names": [[[c, v] for c, v in own.items()] for own in names],
        "maybes": [[], [[1, 0.5]], [[2, None]], [], [], [[0, None]]],
        "margins": margins or [[[c, 1.0] for c in own] for own in names],
        "apart": [2],
        "calibrated": True,
        "expected": 0.5,
        "thresholds": {},
    }
    concepts = [{k: getattr(c, k) for k in ("name", "kind", "likeness", "resembles")} for c in truth.concepts]
    plain = {"concepts": concepts, "present": [sorted(p) for p in truth.present]}
    return {"seed": seed, "truth": plain, "heads": {"open-set": heads, "paper": heads}}


def test_outcome_by_hand():
    found = compare_with_truth(TRUTH, SAID)
    assert found.wrong == (0, 1, 0, 0, 1, 0)
    assert found.wrong_per_1000 == pytest.approx(1000 * 2 / 6)
    assert found.recalled == {0: (True, True), 1: (False,), 2: (False, True)}
    assert found.mixed == {0: (False, False), 1: (True,)}
    assert found.sets[2] == (1.0,)
    assert found.overlaps == (0.9, 0.5, 0.7)
    assert found.worst == 1


def test_libraries_are_pooled_by_observation():
    one = compare_with_truth(TRUTH, SAID)
    other = compare_with_truth(TRUTH, [{} for _ in SAID])
    both = pool([one, other])
    assert both.wrong == one.wrong + other.wrong
    assert both.recall[0].value == 0.5 and both.recall[0].n == 4
    assert pool([one]) == one


def test_rates_have_a_poisson_interval():
    none = rate_per_1000(0, 2000)
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(3.69 / 2, abs=0.03)  # exact: 3.689 events
    some = rate_per_1000(10, 1000)
    assert (some.low, some.high) == (pytest.approx(4.795, abs=0.03), pytest.approx(18.39, abs=0.03))  # exact
    assert rate_per_1000(0, 0).n == 0


def test_maybes_add_recall_and_work():
    review, recall = with_suggestions([part_of()])
    assert (review.value, review.n) == (500.0, 6)
    assert recall.value == 1.0
    assert read_outcome(part_of(), "open-set") == compare_with_truth(TRUTH, SAID)


def test_mix_ups_by_likeness():
    assert mixed_up([part_of()], "open-set", "sibling").value == pytest.approx(1 / 3, abs=1e-4)
    assert mixed_up([part_of()], "open-set", "look_alike").n == 0


MARGINS = [[[0, 2.0]], [[0, 0.5], [1, -1.0]], [[2, -0.5]], [[0, 1.0], [2, 1.0]], [[2, 0.0]], [[0, -3.0]]]


def test_curves_by_hand():
    curve = curve_of([part_of(margins=MARGINS)], "open-set")
    assert (curve.false * 6 / 1000).round().tolist() == [0, 0, 0, 1, 2, 2, 2, 3]
    assert (curve.recall * 5).round().tolist() == [0, 1, 3, 3, 3, 4, 5, 5]
    assert curve.at == 5
    people = curve_of([part_of(margins=MARGINS)], "open-set", lambda who: who.kind == "person")
    assert (people.recall * 3).round().tolist() == [0, 1, 2, 2, 3, 3]


def test_targets_are_met_or_missed():
    right = [dict.fromkeys(present, 0.8) for present in TRUTH.present]
    turn = {"photos": 3, "confirmed": 1, "rejected": 2, "own": [[3, 1], [1, 1]], "others": [[1, 0], [1, 1]]}
    decisions = {"concept": "Bea", "kind": "person", "likeness": "sibling", "turns": [turn]}
    eleventh = {"seconds": {"enrol": 1.0, "match": 0.5}, "threads": 2, "cores": 2, "photos": 6, "false_names": 0}
    good = recognition_tables(RecognitionResults([part_of(names=right)], {7: decisions}, eleventh))[0]
    met = {r[0].text: r[3].text for r in good.rows}
    assert met["false names per 1,000 photos"] == met["recall"] == met["IoU of right names' regions"] == "met"
    assert met["errors of the worst concept after 10 decisions"] == "met"
    assert met["errors of all others then"] == "missed"
    assert met["an eleventh concept over a scanned library"] == "met"
    assert met["3 concepts in a photo: F1 of the names"] == "—"
    bad = recognition_tables(RecognitionResults([part_of(), part_of(seed=8)]))
    met = {r[0].text: r[3].text for r in bad[0].rows}
    assert met["false names per 1,000 photos"] == met["recall"] == "missed"
    assert met["siblings taken for each other, of their photos"] == "missed"
    told = render_table(bad[0])
    assert "2 drawn libraries, 12 photos in all" in told
    assert "0.0 % (0.0–79.3), n 1: Bea (person) of library 7" in told
    assert [r[0].text for r in bad[1].rows] == ["7", "8"]


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """A library of 120 photos, scanned and calibrated: a few more than are needed for that."""
    with scanned_library(31, 120, SessionOptions("storybook", device="cpu"), silent) as found:
        yield found


@pytest.fixture(scope="module")
def part(ready):
    return json.loads(json.dumps(measure_both(ready)))


def test_what_is_measured_adds_up(ready, part):
    truth = read_library_truth(part["truth"])
    assert truth == truth_of_library(ready.library)
    ours, paper = (part["heads"][k] for k in ("open-set", "paper"))
    assert ours["calibrated"] and not paper["calibrated"]
    assert not any(paper["maybes"])
    named = {k: sum(map(len, part["heads"][k]["names"])) for k in part["heads"]}
    for heads, count in named.items():
        found = read_outcome(part, heads)
        assert sum(found.wrong) + sum(map(sum, found.recalled.values())) == count
        assert len(found.wrong) == 120
        assert {c: len(hits) for c, hits in found.recalled.items()} == {
            c: sum(c in p for p in truth.present) for c in range(10)
        }
        assert all(0.0 <= v <= 1.0 for v in found.overlaps)
    assert read_outcome(part, "paper").recall and named["paper"] > 0


@pytest.mark.parametrize("heads", ["open-set", "paper"])
def test_the_curve_goes_through_the_thresholds_as_they_are(part, heads):
    own, found = part["heads"][heads], read_outcome(part, heads)
    for names, margins in zip(own["names"], own["margins"], strict=True):
        assert {c for c, _ in names} == {c for c, m in margins if m >= 0}
    curve = curve_of([part], heads)
    assert (np.diff(curve.false) >= 0).all() and (np.diff(curve.recall) >= 0).all()
    assert curve.recall[-1] <= 1.0
    hits = [v for own in found.recalled.values() for v in own]
    assert curve.false[curve.at - 1] == pytest.approx(found.wrong_per_1000)
    assert curve.recall[curve.at - 1] == pytest.approx(sum(hits) / len(hits))


def test_photos_that_were_not_scanned_are_refused(ready):
    concepts = [ready.session.store.find(e.name) for e in ready.library.enrolled]
    with pytest.raises(UsageError, match="not scanned"):
        measure_recognition(ready.session, concepts, ["0" * 64], [{}], ready.root)


def test_who_could_not_be_enrolled_counts_as_missed(ready):
    concepts = [ready.session.store.find(e.name) for e in ready.library.enrolled]
    contents = [ready.photos[s.number].content_hash for s in ready.library.shots]
    boxes = [{0: Box(0, 0, 1, 1)} for _ in contents]
    found = measure_recognition(ready.session, [None, *concepts[1:]], contents, boxes, ready.root)
    assert 0 in found["apart"]
    assert not any(c == 0 for own in found["names"] for c, _ in own)


def test_decisions_are_tested_on_undecided_photos(ready, part):
    decided = ready.session.store.decisions.all()
    found = measure_decisions(ready)
    assert found["concept"] in [e.name for e in ready.library.enrolled]
    missed = sum(not v for own in read_outcome(part, "open-set").recalled.values() for v in own)
    wrong = sum(read_outcome(part, "open-set").wrong)
    before_all = [t["own"][0][k] + t["others"][0][k] for k in (0, 1) for t in found["turns"]]
    assert (sum(before_all[:2]), sum(before_all[2:])) == (missed, wrong)
    for turn in found["turns"]:
        assert turn["photos"] == 60
        assert turn["failed"] == 0
        assert turn["confirmed"] + turn["rejected"] <= 10
    assert sum(t["confirmed"] for t in found["turns"]) == sum(t["own"][0][0] for t in found["turns"])
    assert ready.session.store.decisions.all() == decided  # the store was a copy


def test_an_eleventh_concept_is_timed_and_leaves_no_trace(ready):
    found = measure_eleventh(ready)
    assert list(found["seconds"]) == ["enrol", "calibrate", "match"]
    assert found["photos"] == 120 and found["threads"] >= 1
    assert len(ready.session.store.all()) == 10
    with copy_session(ready.session) as other:
        assert [c.name for c in other.store.all()] == [c.name for c in ready.session.store.all()]


@pytest.mark.slow
def test_finished_libraries_are_not_measured_again(tmp_path, myvlm):
    settings = RecognitionSettings(seeds=(41,), photos=20, out=tmp_path / "out", device="cpu")
    told = []
    document, _ = evaluate_recognition(settings, told.append)
    assert any("library 41: 20 photos" in line for line in told)
    page = (tmp_path / "out" / "recognition.md").read_text("utf-8")
    assert MARK in page and "the usual thresholds were used" in page
    assert json.loads((tmp_path / "out" / "recognition.json").read_text("utf-8")) == document
    picture = (tmp_path / "out" / "recognition.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    told.clear()
    size = ("--seeds", "41", "--photos", "20", "--device", "cpu")
    again = myvlm("evaluate", "--recognition", *size, "--out", settings.out)
    assert again.code == 0, again.err
    assert "drawn" not in again.err and "20 photos (" not in again.err
    assert (tmp_path / "out" / "recognition.md").read_text("utf-8") == page
    assert (tmp_path / "out" / "recognition.png").read_bytes() == picture
    assert "| false names per 1,000 photos | ≤ 1 |" in again.out
    assert settings.digest("library", 41) != replace(settings, photos=21).digest("library", 41)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--recognition", "--paper"), "two evaluations"),
        (("--recognition", "--seed", "1"), "--seed is not for --recognition"),
        (("--recognition", "--captions", "given"), "--captions is not for --recognition"),
        (("--recognition", "--concepts", "3"), "--concepts is not for --recognition"),
        (("--recognition", "--steps", "3"), "--steps is not for --recognition"),
        (("--recognition", "--vlms", "storybook"), "--vlms is not for --recognition"),
        (("--recognition", "--tables", "1"), "--tables is not for --recognition"),
        (("--recognition", "--llm", "x"), "--llm is not for --recognition"),
        (("--recognition", "--seeds", "one"), "--seeds takes whole numbers"),
        (("--recognition", "--recogniser", "eyes"), "no recogniser called 'eyes'"),
        (("--workers", "2"), "--workers is for --paper or --recognition"),
        (("--speaking", "--paper"), "two evaluations"),
        (("--speaking", "--tables", "1"), "--tables is not for --speaking"),
        (("--speaking", "--recogniser", "eyes"), "--recogniser is not for --speaking"),
    ],
)
def test_requests_that_make_no_sense_are_refused(arguments, told, tmp_path, monkeypatch, myvlm):
    monkeypatch.chdir(tmp_path)
    result = myvlm("evaluate", *arguments)
    assert result.code == 2
    assert told in result.err


def test_files_of_others_are_not_overwritten(tmp_path, myvlm):
    (tmp_path / "recognition.md").write_text("mine", "utf-8")
    result = myvlm("evaluate", "--recognition", "--out", tmp_path)
    assert result.code == 2 and "is not from `myvlm evaluate --recognition`" in result.err
    assert (tmp_path / "recognition.md").read_text("utf-8") == "mine"


def test_the_eleventh_is_somebody_else():
    assert draw_library(31, 0).enrolled[-1].who != draw_library(31 + 7_000_000, 0).enrolled[-1].who
