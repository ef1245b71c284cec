"""The paper's protocol with the storybook: what is learned from, what comes out, and that it comes out again."""

import json
from pathlib import Path

import pytest

from engine.evaluation.drawn_cases import draw_cases
from engine.evaluation.report import evaluate_paper
from engine.evaluation.settings import FULL, PaperSettings
from engine.evaluation.teach import learn_embedding, learn_head
from engine.pipeline.session import Choices, Session

SETTINGS = {"seeds": (5,), "concepts": 2, "photos": 1, "steps": 2, "vlms": ("storybook",)}


def silent(text):
    pass


@pytest.fixture
def opened(monkeypatch):
    """The photos whose files are read, by any road."""
    read, found = Path.read_bytes, []

    def record(path):
        if path.suffix == ".jpg":
            found.append(path.resolve())
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", record)
    return found


@pytest.mark.slow
def test_head_and_embedding_see_training_photos_only(tmp_path, opened):
    _, cases = draw_cases(tmp_path / "drawn", 5, 3, 1)
    session = Session(Choices("storybook", device="cpu"), tmp_path / "store")
    for case in cases:
        tested = {i.path.resolve() for c in cases for i in (*c.validation, *c.strangers)}
        opened.clear()
        learn_head(session, case, cases, 0)
        assert opened and set(opened) == {p.resolve() for p in case.training}
        opened.clear()
        learn_embedding(session, case, FULL, 0, 1)
        assert opened and set(opened) == {p.resolve() for p in case.training}
        assert not tested & set(opened)
    assert session.store.all() == ()  # nobody stays enrolled: heads are trained one at a time


@pytest.mark.slow
def test_the_paper_protocol_end_to_end_and_again(tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("nltk")
    settings = PaperSettings(**SETTINGS | {"vlms": ("storybook", "llava-1.6")}, out=tmp_path / "out")
    document, tables = evaluate_paper(settings, silent)
    assert [t.id for t in tables][:6] == ["1", "2", "4", "5", "6", "7"]
    assert {"splits", "context", "leakage", "crowds", "vqa", "questions", "boxes"} <= {t.id for t in tables}
    rows = {(r["method"], r["VLM"].split()[0]): r for r in document["tables"][0]["rows"]}
    assert rows["MyVLM", "storybook"]["all"]["n"] == 8
    assert rows["MyVLM", "llava-1.6"]["all"] == {"not_measured": "its weights are not on this disk"}
    assert "several" not in rows["in-context photos", "storybook"]["all"]["not_measured"]
    page = (tmp_path / "out" / "README.md").read_bytes()
    for stem in ("recall", "training", "heads"):
        assert (tmp_path / "out" / f"{stem}.png").stat().st_size > 5000
    files = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir() if p.is_file()}
    for part in ("storybook-seed5-answers.json", "storybook-seed5-plain.json", "heads-storybook-seed5.json"):
        (tmp_path / "out" / "parts" / part).unlink()  # as if the run had been interrupted
    evaluate_paper(settings, silent)
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir() if p.is_file()} == files
    assert b"not measured: needs Java" in page


@pytest.mark.slow
def test_a_folder_in_the_papers_layout(tmp_path):
    _, cases = draw_cases(tmp_path / "drawn", 6, 2, 1)
    root = tmp_path / "data"
    for case in cases:
        folder = root / f"{case.name.replace(' ', '_')}_{case.category}"
        folder.mkdir(parents=True)
        captions = {p.name: case.captions[p.name][0].replace("<concept>", "sks") for p in case.training}
        captions |= {i.path.name: [i.truth.references[0]] for i in case.validation}
        for path in (*case.training, *(i.path for i in case.validation)):
            (folder / path.name).write_bytes(path.read_bytes())
        (folder / "captions.json").write_text(json.dumps(captions))
    settings = PaperSettings(**SETTINGS | {"concepts": None, "photos": None}, out=tmp_path / "out", data=root)
    document, _ = evaluate_paper(settings, silent)
    tables = {t["id"]: t["rows"] for t in document["tables"]}
    mine = next(r for r in tables["1"] if r["method"] == "MyVLM")
    assert mine["all"]["n"] == 8
    assert mine["on the right one"] == {"not_measured": "no ground truth of a user's photos"}
    assert tables["context"][0]["place"] == {"not_measured": "no ground truth of a user's photos"}
    assert tables["7"][1]["recall"]["n"] == 8
    for split in document["splits"]["5"]:
        assert not set(split["training"]) & {Path(v).name for v in split["validation"]}
