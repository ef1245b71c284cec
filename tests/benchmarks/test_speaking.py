"""`evaluate --speaking`: what is measured of names as text, embeddings and both, and what its tables say."""

from dataclasses import replace

import pytest

from engine.benchmarks.drawn_cases import draw_cases
from engine.benchmarks.speaking import SpeakingSettings, evaluate_speaking
from engine.benchmarks.speaking_measure import Learned, _judge, _validation, ways_of
from engine.benchmarks.speaking_tables import speaking_tables
from engine.core.errors import UsageError
from engine.core.types import Concept, Kind
from engine.vlms.find import find_config


def silent(text):
    pass


def caption(way, split, *, named=True, right=True, same=False):
    return {"way": way, "split": split, "named": named, "right": right, "same": same, "context": True}


SEED = {
    "captions": [
        caption("names", "one"),
        caption("names", "diff"),
        caption("names", "same", right=False, same=True),
        caption("names", "second", named=False, right=False, same=True),
    ],
    "class_word": [caption("names", "same", right=False, same=True)],
    "strangers": [caption("names", "random"), caption("names", "look_alike", named=False)],
    "answers": [{"way": "names", "split": "one", "right": True}, {"way": "names", "split": "diff", "right": False}],
    "crowds": [{"way": "names", "present": ["A", "B"], "own": ["A"], "checked": ["A", "B"]}],
}


def values(table, line):
    return {k: v.get("value") for k, v in table.document()["rows"][line].items() if isinstance(v, dict)}


def test_shares_are_of_their_own_photos():
    captions, crowds, strangers, answers = speaking_tables({"storybook": [SEED]})
    found = values(captions, 0)
    assert (found["recall"], found["lowest recall of a split"], found["right one"]) == (0.75, 0.0, 0.5)
    assert (found["alone"], found["same category"], found["of one class"]) == (1.0, 0.0, 0.0)
    assert captions.document()["rows"][1]["told by"] == "name, class word only"
    assert values(crowds, 0)["2 concepts"] == pytest.approx(2 / 3, abs=1e-3)
    assert values(crowds, 1)["2 concepts"] == 1.0
    assert (values(strangers, 0)["of another category"], values(strangers, 0)["look-alike"]) == (1.0, 0.0)
    assert (values(answers, 0)["all"], values(answers, 0)["alone"]) == (0.5, 1.0)


def test_only_what_was_measured_has_a_line():
    captions, *_ = speaking_tables({"storybook": [SEED]})
    assert [row["told by"] for row in captions.document()["rows"]] == ["name", "name, class word only"]


def test_a_caption_is_right_when_the_companion_is_still_who_it_is(tmp_path):
    _, (case,) = draw_cases(tmp_path, 3, 1, 1)
    known = Learned(case, None, Concept("c", "C", case.kind or Kind.THING, case.category, "Rex", 1), None)
    given = next(g for g in _validation([known]) if g.item.truth.split == "diff")
    right = given.item.truth.references[0].replace("<concept>", "Rex")
    assert [_judge("names", given, right)[key] for key in ("named", "right", "context")] == [True] * 3
    without = _judge("names", given, right.replace("Rex", "A dog"))
    assert (without["named"], without["right"], without["context"]) == (False, False, True)


def test_a_vlm_without_a_wording_is_told_by_embeddings_only():
    assert ways_of(find_config("storybook")) == ("names", "embedding", "both")
    assert ways_of(replace(find_config("storybook"), naming=None)) == ("embedding",)


def test_files_of_others_are_not_overwritten(tmp_path):
    (tmp_path / "speaking.md").write_text("mine")
    with pytest.raises(UsageError, match="is not from `myvlm evaluate --speaking`"):
        evaluate_speaking(SpeakingSettings(out=tmp_path), silent)


@pytest.mark.slow
def test_a_run_gives_the_same_bytes_again(tmp_path):
    settings = SpeakingSettings(seeds=(3,), concepts=2, photos=1, steps=2, out=tmp_path, device="cpu")
    document, tables = evaluate_speaking(settings, silent)
    assert [t.id for t in tables] == ["captions", "crowds", "strangers", "answers"]
    assert values(tables[0], 0)["recall"] == 1.0
    written = {p.name: p.read_bytes() for p in tmp_path.glob("speaking.*")}
    assert set(written) == {"speaking.md", "speaking.json"}
    (tmp_path / "speaking-parts" / "storybook-seed3.json").unlink()
    assert evaluate_speaking(settings, silent)[0] == document
    assert {p.name: p.read_bytes() for p in tmp_path.glob("speaking.*")} == written
