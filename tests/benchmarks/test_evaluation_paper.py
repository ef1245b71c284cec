"""The paper's protocol with the storybook: what is learned from, what comes out, and that it comes out again."""

import json
import os
import sys
from pathlib import Path

import pytest

from engine.benchmarks.baselines import Rewriter
from engine.benchmarks.drawn_cases import draw_cases
from engine.benchmarks.figures import missing_cell
from engine.benchmarks.generation import CaptionGenerator, GenerationRequest
from engine.benchmarks.heads_experiment import fires, measure_heads
from engine.benchmarks.report import evaluate_paper
from engine.benchmarks.results_view import attempt
from engine.benchmarks.settings import FULL, PaperSettings
from engine.benchmarks.train_case import train_embedding, train_head
from engine.core.errors import EnvironmentFault, NoUsablePhotoError, UsageError
from engine.core.paths import STORYBOOK
from engine.session import Session, SessionOptions
from engine.vlms.find import find_config

SETTINGS = {"seeds": (5,), "concepts": 2, "photos": 1, "steps": 2, "vlms": ("storybook",)}


def silent(text):
    pass


@pytest.fixture
def opened(monkeypatch):
    """The photos whose files are read, by any function."""
    opening, found = os.open, []

    def record(path, *flags, **options):
        if os.fspath(path).endswith(".jpg"):
            found.append(Path(path).resolve())
        return opening(path, *flags, **options)

    monkeypatch.setattr(os, "open", record)
    return found


def test_head_and_embedding_see_training_photos_only(tmp_path, opened):
    _, cases = draw_cases(tmp_path / "drawn", 5, 3, 1)
    session = Session(SessionOptions("storybook", device="cpu"), tmp_path / "store")
    for case in cases:
        tested = {i.path.resolve() for c in cases for i in (*c.validation, *c.strangers)}
        opened.clear()
        train_head(session, case, cases, 0)
        assert opened and set(opened) == {p.resolve() for p in case.training}
        opened.clear()
        train_embedding(session.vlm, case, FULL, seed=0, steps=1)
        assert opened and set(opened) == {p.resolve() for p in case.training}
        assert not tested & set(opened)
    assert session.store.all() == ()  # nobody stays enrolled: heads are trained one at a time


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--paper", "--seeds", "one"), "--seeds takes whole numbers"),
        (("--paper", "--tables", "1,9"), "--tables takes some of"),
        (("--vlms", "storybook"), "--vlms is for --paper"),
        (("--out", "there"), "--out is for --paper"),
        (("--paper", "--seed", "1"), "--seed is not for --paper"),
        (("--paper", "--captions", "written"), "--captions is not for --paper"),
        (("--paper", "--vlms", "storybok"), "no VLM called 'storybok'"),
        (("--paper", "--vlms", ""), "--vlms is empty"),
        (("--paper", "--vlms", ","), "no VLM to measure"),
        (("--paper", "--recogniser", "eyes"), "no recogniser called 'eyes'"),
        (("--paper", "--data", "no-such-folder"), "is not a folder"),
    ],
)
def test_requests_that_make_no_sense_are_refused(arguments, told, tmp_path, monkeypatch, capsys):
    from myvlm_cli.main import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["myvlm", "evaluate", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert (stop.value.code, told in capsys.readouterr().err) == (2, True)


@pytest.mark.parametrize("name", ["README.md", "paper.json", "recall.png", "heads.svg"])
def test_files_of_others_are_not_overwritten(tmp_path, name):
    (tmp_path / name).write_text('{"my": "own"}')
    with pytest.raises(UsageError, match="is not from"):
        evaluate_paper(PaperSettings(**SETTINGS, out=tmp_path), silent)
    assert (tmp_path / name).read_text() == '{"my": "own"}'


def test_what_cannot_be_loaded_is_a_reason():
    def fail():
        raise EnvironmentFault("needs nltk", hint="Run: pip")

    assert attempt(fail, 2) == (missing_cell("needs nltk: Run: pip"),) * 2


def test_photos_with_different_numbers_of_rows_are_asked_together(tmp_path):
    import torch

    from engine.vlms.base import Generation, ImageFeatures

    class Uneven:
        width = 2

        def preprocess(self, images):
            return images

        def encode(self, images):
            return ImageFeatures([torch.full((k + 1, 2), float(k)) for k, _ in enumerate(images)], torch.ones(2))

        def inject(self, seen, embeddings):
            return seen.features

        def encode_prompt(self, request):
            return [1]

        def generate(self, rows, ids):
            return [Generation(str(len(r)), capped=False) for r in rows]

    _, (case, *_) = draw_cases(tmp_path / "drawn", 5, 1, 1)
    one, two = case.training[:2]
    generator = CaptionGenerator(find_config("storybook"), Uneven)
    requests = [GenerationRequest(one, "x"), GenerationRequest(two, "x"), GenerationRequest(one, "y")]
    assert generator.generate(requests) == ["1", "2", "1"]
    assert generator.generate([GenerationRequest(two, "z")]) == ["2"]


def test_an_untrainable_head_never_fires(tmp_path, monkeypatch):
    def fail(*arguments):
        raise NoUsablePhotoError("no face")

    monkeypatch.setattr("engine.benchmarks.heads_experiment.train_head", fail)
    _, cases = draw_cases(tmp_path / "drawn", 5, 3, 1)
    rows = measure_heads(Session(SessionOptions("storybook", device="cpu"), tmp_path / "store"), cases, 0)["heads"]
    assert [r["head"] for r in rows] == ["linear", "linear", "face"]
    assert not any(fires(own, r["threshold"]) for r in rows for own in r["own"])


def test_a_photo_in_two_folders_is_no_rival(tmp_path, monkeypatch):
    def fail(*arguments):
        raise UsageError("too few negatives")

    monkeypatch.setattr("engine.benchmarks.heads_experiment.train_head", fail)
    _, (one, two, _) = draw_cases(tmp_path / "drawn", 5, 3, 1)
    two.validation[0].path.write_bytes(one.training[0].read_bytes())
    rows = measure_heads(Session(SessionOptions("storybook", device="cpu"), tmp_path / "store"), (one, two), 0)["heads"]
    assert [len(r["others"]) for r in rows] == [3, 4]
    assert {r["untrained"] for r in rows} == {"too few negatives"}


def test_a_language_model_rewrites_captions(tmp_path):
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(STORYBOOK / "vlm", local_files_only=True)
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    tokenizer.save_pretrained(tmp_path)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(tmp_path)
    said = Rewriter(str(tmp_path), "cpu").rewrite(
        ["A dog.", "A red mug on the sofa."], [("dog", "pet")] * 2, ["sks"] * 2
    )
    assert [type(s) for s in said] == [str, str]
    with pytest.raises(EnvironmentFault, match="cannot be loaded"):
        Rewriter(str(tmp_path / "nothing"), "cpu")


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
    assert mine["right one, given"] == {"not_measured": "no ground truth of a user's photos"}
    assert tables["context"][0]["place"] == {"not_measured": "no ground truth of a user's photos"}
    assert tables["7"][1]["recall"]["n"] == 8
    for split in document["splits"]["5"]:
        assert not set(split["training"]) & {Path(v).name for v in split["validation"]}
