"""The speed benchmark: what is compared gives the same results, and the command writes its tables."""

import json
from functools import partial

import pytest

from engine.benchmarks.speed import captions as captions_case
from engine.benchmarks.speed.drawn_library import draw_photos, fresh_session
from engine.benchmarks.speed.measurement import Measurement, in_turn
from engine.benchmarks.speed.run import CASES, SpeedRequest, evaluate_speed
from engine.captioning.caption import prepare_run
from engine.captioning.caption_run import CaptionRequest
from engine.captioning.pipeline import caption_files
from engine.captioning.requested_concepts import choose_requested
from engine.core.errors import UsageError
from engine.photos.decode import load_photo
from engine.session import Session, SessionOptions
from engine.sidecars.writer import Writer
from engine.vlms import captions


def silent(line):
    pass


def test_two_ways_take_turns_and_the_first_time_does_not_count():
    order = []
    ours, theirs = in_turn(partial(order.append, "ours"), partial(order.append, "theirs"), 2)
    assert order == ["ours", "theirs"] * 3 and len(ours) == len(theirs) == 2
    measured = Measurement("a", "b", "c", "d", (1.0, 9.0, 2.0), (3.0, 4.0, 5.0))
    assert measured.speedup == 2.0


def test_captions_are_the_same_in_both_ways(tmp_path):
    files = draw_photos(tmp_path, 5, 0)
    vlm = Session(SessionOptions("storybook", "storybook"), tmp_path / "home").vlm

    def run(way):
        session, _ = fresh_session(tmp_path, cached=True)
        session.__dict__["vlm"] = vlm
        concepts = choose_requested(
            session.store, session.recogniser_config, session.recognition, session.vlm_in_use, None
        )
        with Writer(session.folder, "caption") as writer:
            results = list(way(prepare_run(session, CaptionRequest(), concepts, writer), files, 2))
        return [(r.path, r.caption, r.status, [m.name for m in r.matches]) for r in results]

    overlapping = run(caption_files)
    assert overlapping == run(captions_case.one_after_the_other)
    assert len({text for _, text, _, _ in overlapping}) > 1
    images = [load_photo(f.path).image for f in files]
    ours = [c.text for c in captions.caption(vlm, images, [[]] * 5)]
    assert captions_case.published_loop(vlm, images) == ours


def test_the_command_writes_tables(myvlm, tmp_path):
    result = myvlm(
        *("evaluate", "--speed", "--cases", "captions", "--photos", "2", "--rounds", "1"),
        *("--out", tmp_path / "out", "--json"),
    )
    document = json.loads((tmp_path / "out" / "speed.json").read_text())
    assert (result.code, result.json) == (0, document)
    assert [c["case"] for c in document["cases"]] == ["captions", "captions"]
    assert all(c["speedup"] > 0 and len(c["seconds"]) == 1 for c in document["cases"])
    page = (tmp_path / "out" / "speed.md").read_text()
    assert "one photo at a time" in page and "times as fast" in page


def test_what_is_not_a_case_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no case 'naps'"):
        evaluate_speed(SpeedRequest(("naps",), out=tmp_path), silent)


def test_a_page_of_somebody_else_is_kept(tmp_path):
    (tmp_path / "speed.md").write_text("mine")
    with pytest.raises(UsageError, match="is not from"):
        evaluate_speed(SpeedRequest((), out=tmp_path), silent)


@pytest.mark.parametrize("case", [c for c in CASES if c != "captions"])
def test_every_case_has_a_module(case):
    pytest.importorskip(CASES[case])


def test_device_is_not_for_it(myvlm):
    assert "--device is not for --speed" in myvlm("evaluate", "--speed", "--device", "cpu").err
