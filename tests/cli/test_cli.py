"""The command line, end to end, on the shipped models: what a user types and gets."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.storybook.album import ANNA, MUG, REX
from engine.storybook.photos import save_photo
from engine.storybook.world.individuals import draw_individual
from engine.storybook.world.scenes import compose
from engine.training.train import SAVE_EVERY
from tests.conftest import choose_storybook
from tests.learned import draw_references


def draw_album(folder):
    rng = np.random.default_rng(31)
    stranger = draw_individual(rng, "teapot")
    for name, cast, orientation in (
        ("rex", (REX,), 6),
        ("both", (REX, ANNA), 1),
        ("mug", (MUG, stranger), 3),
        ("nobody", (stranger,), 8),
    ):
        save_photo(compose(rng, cast, place="snow"), folder / f"{name}.jpg", orientation=orientation)


@pytest.fixture
def album(session, tmp_path):
    """An album of four photos; the store that knows Rex and Anna is MYVLM_HOME."""
    draw_album(tmp_path / "album")
    return tmp_path / "album"


def hashes(folder):
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(folder.rglob("*")) if p.is_file()}


def test_add_concept_reports_every_photo(myvlm, tmp_path):
    draw_references(tmp_path / "rex", REX, 1)
    shutil.copy(tmp_path / "rex" / "0.jpg", tmp_path / "rex" / "copy.jpg")
    (tmp_path / "rex" / "broken.jpg").write_bytes(b"no picture")
    result = myvlm("add-concept", "Rex", tmp_path / "rex", "--json")
    assert result.code == 0, result.err
    found = {Path(p["file"]).name: p for p in result.json["photos"]}
    assert found["broken.jpg"]["used"] is False
    assert "not a picture" in found["broken.jpg"]["found"]
    assert "same file" in found["copy.jpg"]["found"]
    assert [found[f"{k}.jpg"]["used"] for k in range(4)] == [True] * 4
    assert (result.json["kind"], result.json["category"]) == ("pet", "pet")
    assert result.json["negatives"] >= 200
    assert len(result.json["references"]) == 4


def test_faces_make_a_person(myvlm, tmp_path):
    draw_references(tmp_path / "anna", ANNA, 2)
    save_photo(compose(np.random.default_rng(0), (MUG,), place="city"), tmp_path / "anna" / "mug.jpg")
    result = myvlm("add-concept", "Anna", tmp_path / "anna", "--json")
    assert result.json["kind"] == "person"
    faceless = next(p for p in result.json["photos"] if p["file"].endswith("mug.jpg"))
    assert faceless["used"] is False
    assert faceless["found"] in ("no face", "no face here looks like the one in the other photos")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("add-concept", "x", "/no/such/folder"), 2, "/no/such/folder"),
        (("add-concept", "x" * 300, "/tmp"), 2, "300 characters"),
        (("train", "nobody"), 2, "no concept 'nobody'"),
        (("train", "nobody", "--all"), 2, "--all"),
        (("train", "--captions", "x.json"), 2, "one concept"),
        (("caption",), 2, "no photos given"),
        (("caption", ".", "--concepts", "a", "--no-concepts"), 2, "exclude"),
        (("caption", ".", "--concepts", "ghost"), 2, "no concept 'ghost'"),
        (("caption", ".", "--vlm", "nonsense"), 2, "no VLM called"),
        (("caption", ".", "--device", "cuda:7"), 3, "CUDA"),
        (("ask", "What?"), 2, "a photo and a question"),
        (("locate", "ghost", "."), 2, "no concept"),
        (("concepts", "show", "ghost"), 2, "no concept"),
        (("concepts", "rename", "a", "b"), 2, "no concept"),
        (("caption", "--nonsense"), 2, "No such option"),
    ],
)
def test_errors_say_what_to_do(myvlm, tmp_path, monkeypatch, arguments, code, words):
    import torch

    if "cuda:7" in arguments and torch.cuda.is_available():
        pytest.skip("there is a CUDA GPU here")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"x")
    result = myvlm(*arguments)
    assert (result.code, result.out) == (code, "")
    assert words in result.err


def test_missing_weights_are_exit_3_with_the_command(myvlm, drawn, empty_hub):
    result = myvlm("caption", drawn.path, "--vlm", "llava-1.6", "--no-concepts")
    assert result.code == 3
    assert "myvlm models pull llava-1.6" in result.err


def test_caption_names_whom_it_recognises_and_leaves_photos_alone(myvlm, album):
    before = hashes(album)
    result = myvlm("caption", album, "--json")
    assert result.code == 0, result.err
    photos = {Path(p["file"]).stem: p for p in result.json["photos"]}
    assert {n: [c["name"] for c in p["concepts"]] for n, p in photos.items()} == {
        "both": ["Anna", "Rex"],
        "mug": [],
        "nobody": [],
        "rex": ["Rex"],
    }
    for p in photos.values():
        for concept in p["concepts"]:
            assert concept["name"] in p["caption"]
        assert "sks" not in p["caption"]
    after = hashes(album)
    assert {n: after[n] for n in before} == before
    assert {n for n in after if n not in before} == {f"{n}.jpg{s}" for n in photos for s in (".xmp", ".myvlm.json")}
    document = json.loads((album / "both.jpg.myvlm.json").read_text())
    assert document["photo"]["orientation"] == 1
    assert b"PersonInImage" in (album / "both.jpg.xmp").read_bytes()
    assert b"PersonInImage" not in (album / "rex.jpg.xmp").read_bytes()


def test_a_second_run_does_nothing_and_says_so(myvlm, album):
    myvlm("caption", album)
    before = hashes(album)
    result = myvlm("caption", album, "--json")
    assert hashes(album) == before
    assert result.json["summary"] == {"unchanged": 4}
    assert "Nothing to do: 4 photos up to date" in result.err
    assert [c["name"] for c in result.json["photos"][0]["concepts"]] == ["Anna", "Rex"]


def test_what_changed_is_captioned_again_and_only_that(myvlm, album):
    myvlm("caption", album)
    (album / "rex.jpg.xmp").unlink()
    result = myvlm("caption", album, "--jsonl")
    assert {Path(d["file"]).stem: d["status"] for d in result.lines} == {
        "both": "unchanged",
        "mug": "unchanged",
        "nobody": "unchanged",
        "rex": "ok",
    }
    myvlm("concepts", "rename", "Rex", "Max")
    result = myvlm("caption", album, "--jsonl")
    captions = {Path(d["file"]).stem: d["caption"] for d in result.lines}
    assert "Max" in captions["rex"]
    assert b"<rdf:li>Rex</rdf:li>" not in (album / "rex.jpg.xmp").read_bytes()
    assert b"<rdf:li>Max</rdf:li>" in (album / "rex.jpg.xmp").read_bytes()


def test_dry_run_writes_nothing_at_all(myvlm, album):
    home = Path(os.environ["MYVLM_HOME"])
    for cache in (home / "cache").glob("*"):
        cache.unlink()
    before, store = hashes(album), sorted(p.name for p in home.rglob("*"))
    result = myvlm("caption", album, "--dry-run", "--json")
    assert result.json["summary"] == {"dry-run": 4}
    assert all(p["caption"] for p in result.json["photos"])
    assert hashes(album) == before
    assert [n for n in sorted(p.name for p in home.rglob("*")) if "-wal" not in n and "-shm" not in n] == [
        n for n in store if "-wal" not in n and "-shm" not in n
    ]


def test_no_concepts_is_the_plain_vlm(myvlm, album):
    plain = {d["file"]: d["caption"] for d in myvlm("caption", album, "--no-concepts", "--dry-run", "--jsonl").lines}
    named = {d["file"]: d for d in myvlm("caption", album, "--dry-run", "--jsonl").lines}
    for file, d in named.items():
        assert (d["caption"] == plain[file]) == (not d["concepts"])


def test_a_humans_words_survive(myvlm, album):
    myvlm("caption", album / "rex.jpg")
    sidecar = album / "rex.jpg.xmp"
    words = json.loads((album / "rex.jpg.myvlm.json").read_text())["caption"]
    sidecar.write_bytes(sidecar.read_bytes().replace(words.encode(), b"Our Rex in the snow of 2026"))
    result = myvlm("-v", "caption", album / "rex.jpg", "--force")
    assert b"Our Rex in the snow of 2026" in sidecar.read_bytes()
    assert words.encode() not in sidecar.read_bytes()
    assert "kept the description" in result.err


def test_one_bad_file_never_stops_the_batch(myvlm, album):
    (album / "a-broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    (album / "b-empty.png").touch()
    (album / "rex.jpg.xmp").write_bytes(b"<not xmp")
    result = myvlm("caption", album, album / "missing.jpg", "--json")
    assert result.code == 1
    status = {Path(p["file"]).name: p["status"] for p in result.json["photos"]}
    assert status == {
        "a-broken.jpg": "failed",
        "b-empty.png": "failed",
        "both.jpg": "ok",
        "mug.jpg": "ok",
        "nobody.jpg": "ok",
        "rex.jpg": "failed",
        "missing.jpg": "failed",
    }
    assert (album / "rex.jpg.xmp").read_bytes() == b"<not xmp"
    reasons = [p["reason"] for p in result.json["photos"] if p["status"] == "failed"]
    assert all(Path(p["file"]).name in p["reason"] for p in result.json["photos"] if p["status"] == "failed"), reasons


def test_only_the_named_concepts_are_named(myvlm, album):
    result = myvlm("caption", album / "both.jpg", "--concepts", "rex", "--dry-run", "--json")
    assert [c["name"] for c in result.json["photos"][0]["concepts"]] == ["Rex"]
    assert "Anna" not in result.json["photos"][0]["caption"]


def test_ask_uses_names_and_admits_absence(myvlm, album):
    result = myvlm("ask", album / "rex.jpg", "Where is rex in the image?")
    assert result.code == 0
    assert result.out.strip() == "Rex is in the snow."
    result = myvlm("ask", album / "nobody.jpg", "What is REX holding?", "--json")
    (reply,) = result.json["photos"]
    assert (reply["status"], reply["absent"], reply["task"]) == ("ok", ["Rex"], None)
    assert reply["notes"] == ["Rex was not recognised in this photo"]
    assert reply["answer"].startswith("Rex was not recognised in this photo. ")
    assert not {"sks", "Bob"} & set(reply["answer"].split())
    result = myvlm("ask", album / "rex.jpg", album / "both.jpg", "What is Rex doing in the image?", "--jsonl")
    assert [line["status"] for line in result.lines] == ["ok", "ok"]


def test_locate_gives_a_box_or_says_not_there(myvlm, album, tmp_path):
    result = myvlm("locate", "rex", album, "--draw", tmp_path / "located", "--json")
    found = {Path(p["file"]).stem: p for p in result.json["photos"]}
    assert found["nobody"]["box"] is None
    assert found["nobody"]["reason"] == "not recognised in this photo"
    x0, y0, x1, y1 = found["rex"]["box"]
    assert 0 <= x0 < x1 <= found["rex"]["width"]
    assert 0 <= y0 < y1 <= found["rex"]["height"]
    assert Path(found["rex"]["drawing"]).is_file()
    text = myvlm("locate", "rex", album / "nobody.jpg")
    assert text.out.strip().endswith("not recognised in this photo")


def test_locate_never_draws_over_a_photo(myvlm, album):
    before = hashes(album)
    result = myvlm("locate", "rex", album / "rex.jpg", "--draw", album / "rex.jpg")
    assert result.code == 2
    assert hashes(album) == before


def test_training_is_deterministic_and_user_captions_are_used(myvlm, tmp_path, monkeypatch):
    draw_references(tmp_path / "Rex", REX, 1)
    vectors = []
    for k in range(2):
        monkeypatch.setenv("MYVLM_HOME", str(tmp_path / f"home{k}"))
        choose_storybook(tmp_path / f"home{k}")
        myvlm("add-concept", "Rex", tmp_path / "Rex")
        result = myvlm("train", "rex", "--steps", "5", "--seed", "3", "--json")
        assert result.code == 0, result.err
        file = next((tmp_path / f"home{k}" / "concepts").rglob("embedding*"))
        vectors.append(file.read_bytes())
    assert vectors[0] == vectors[1]
    captions = tmp_path / "captions.json"
    captions.write_text(json.dumps({"0.jpg": "Here is Rex."}))
    result = myvlm("-v", "train", "rex", "--steps", "2", "--captions", captions)
    assert "0.jpg: Here is sks." in result.err
    captions.write_text(json.dumps({"0.jpg": "Here is a dog."}))
    assert "does not name" in myvlm("train", "rex", "--captions", captions).err


def test_an_interrupted_training_resumes(myvlm, session, tmp_path, monkeypatch):
    """SIGINT in the middle, then the same command again: it goes on, and ends as if nothing had happened."""
    command = ("train", "rex", "--steps", str(2 * SAVE_EVERY), "--seed", "5")
    ends = []
    for k, interrupt in enumerate((False, True)):
        home = tmp_path / f"home{k}"
        shutil.copytree(session.folder, home)
        monkeypatch.setenv("MYVLM_HOME", str(home))
        if interrupt:
            running = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "myvlm_cli.main", *command],
                stderr=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
            deadline = time.monotonic() + 120
            while not list(home.rglob("training-*")) and time.monotonic() < deadline:
                time.sleep(0.02)
            running.send_signal(signal.SIGINT)
            assert running.wait(60) == 130
            assert list(home.rglob("training-*"))
        result = myvlm(*command)
        assert result.code == 0, result.err
        assert not list(home.rglob("training-*"))
        ends.append(next(home.glob("concepts/*/embedding*")).read_bytes())
    assert ends[0] == ends[1]


def test_interrupted_captioning_leaves_only_whole_files(album):
    for _ in range(3):
        draw_album(album / str(_))
    command = [sys.executable, "-W", "ignore", "-m", "myvlm_cli.main", "caption", str(album)]
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(album.rglob("*.xmp")) and time.monotonic() < deadline:
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    assert running.wait(60) in (0, 130)
    for path in album.rglob("*"):
        assert "tmp" not in path.name
        if path.suffix == ".json":
            json.loads(path.read_text())
            assert path.with_name(path.name.replace(".myvlm.json", ".xmp")).exists()
        if path.suffix == ".xmp":
            from lxml import etree

            etree.fromstring(path.read_bytes())


def test_pipes(album):
    """find … -print0 | myvlm caption --files-from - -0 --jsonl"""
    caption = f"{sys.executable} -W ignore -m myvlm_cli.main caption --files-from - -0 --jsonl"
    script = f"find {album} -name '*.jpg' -print0 | {caption}"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert len([json.loads(line) for line in result.stdout.splitlines()]) == 4


def test_real_photos_get_names_only(myvlm, album, no_vlm, shared, tmp_path):
    for name in ("portrait-orientation-6.jpg", "IMG_2682.heic", "denali.webp"):
        shutil.copy(shared / "photos" / "formats" / name, tmp_path / name)
    result = myvlm(
        "caption", *(tmp_path / n for n in ("portrait-orientation-6.jpg", "IMG_2682.heic", "denali.webp")), "--json"
    )
    assert result.code == 0, result.err
    assert "no VLM for real photos is on this machine" in result.err
    assert not list(tmp_path.glob("*.xmp"))
    document = json.loads((tmp_path / "IMG_2682.heic.myvlm.json").read_text())
    assert document["caption"] is None
    assert document["photo"]["taken"] == "2019-03-21T11:04:22"
    assert document["photo"]["place"] == {"latitude": 41.2203, "longitude": -96.071625}


def test_concepts_list_show_forget(myvlm, album):
    assert [c["name"] for c in myvlm("concepts", "--json").json["concepts"]] == ["Anna", "Rex"]
    shown = myvlm("concepts", "show", "rex", "--json").json
    assert shown["embeddings"][0]["vlm"] == "embedded:vlm"
    assert shown["heads"][0]["kind"] == "linear"
    assert myvlm("concepts", "forget", "rex", "--yes").code == 0
    assert [c["name"] for c in myvlm("concepts", "list", "--json").json["concepts"]] == ["Anna"]


def test_doctor_and_models(myvlm, album):
    checks = {c["name"]: c for c in myvlm("doctor", "--json").json["checks"]}
    assert checks["store"]["state"] == "ok"
    assert checks["permissions"]["state"] == "ok"
    assert "VLM storybook" in checks
    assert checks["VLM storybook"]["state"] == "ok"
    vlms = {v["name"]: v for v in myvlm("models", "--json").json["vlms"]}
    assert vlms["storybook"]["on_disk"] is True
    assert "licen" in str(vlms["llava-1.6"]).lower()
    assert myvlm("models", "pull", "storybook").code == 2


def test_doctor_sees_the_onnxruntime_trap(monkeypatch, tmp_path):
    """CPU onnxruntime over onnxruntime-gpu, beside a CUDA GPU: a warning with the command that mends it."""
    import torch

    from engine import diagnostics

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(diagnostics, "onnx_can_use_cuda", lambda: False)
    check = diagnostics._faces()
    assert check.state == "warn"
    assert check.advice == "Run: myvlm setup, or pip install --force-reinstall --no-deps onnxruntime-gpu"


def test_help_and_version(myvlm):
    assert myvlm("--help").code == 0
    assert myvlm("--version").out.startswith("myvlm 0.")
    assert myvlm().code == 2


@pytest.mark.parametrize(
    ("people", "provider", "warned"), [(True, False, True), (False, False, False), (True, True, False)]
)
def test_faces_on_the_cpu_beside_a_gpu_are_warned_about(monkeypatch, capsys, people, provider, warned):
    from types import SimpleNamespace

    from myvlm_cli.sessions import warn_of_slow_faces

    monkeypatch.setattr("engine.session.onnx_can_use_cuda", lambda: provider)
    warn_of_slow_faces(SimpleNamespace(uses_cuda=True), people=people)
    assert ("--force-reinstall --no-deps onnxruntime-gpu" in capsys.readouterr().err) == warned


@pytest.fixture
def nothing_of_others(monkeypatch):
    """A recogniser that ships no features of other things, as dfn5b."""
    from engine.vision.feature_bank import FeatureBank

    empty = FeatureBank(np.zeros((0, 1), np.float32))
    for module in ("concepts.enrol_crops", "concepts.object_heads", "recognition.fits", "recognition.enrolled"):
        monkeypatch.setattr(f"engine.{module}.load_bank", lambda config: empty)


def test_a_thing_is_enrolled_without_negatives_and_named_only_where_that_is_sure(myvlm, nothing_of_others, tmp_path):
    from engine.storybook.album import MUG

    draw_references(tmp_path / "rex", REX, 1)
    draw_references(tmp_path / "mug", MUG, 2)
    result = myvlm("add-concept", "Rex", tmp_path / "rex")
    assert result.code == 0, result.err
    assert "only named where that is very sure" in result.err and "--negatives FOLDER" in result.err
    photos = sorted(tmp_path.glob("*/*.jpg"))
    found = myvlm("caption", *photos, "--vlm", "none", "--dry-run", "--json").json["photos"]
    named = {Path(p["file"]).parent.name for p in found if p["concepts"]}
    assert named <= {"rex"}


def test_the_papers_heads_ask_for_negatives(myvlm, nothing_of_others, tmp_path):
    draw_references(tmp_path / "rex", REX, 1)
    assert myvlm("add-concept", "Rex", tmp_path / "rex").code == 0
    refused = myvlm("caption", tmp_path / "rex", "--vlm", "none", "--heads", "paper", "--dry-run")
    assert refused.code == 2 and "too few negatives for --heads paper" in refused.err


def test_evaluate_prints_every_figure_with_its_count_and_interval(myvlm):
    result = myvlm("evaluate", "--seed", "9", "--concepts", "2", "--photos", "1", "--steps", "3", "--json")
    assert result.code == 0, result.err
    for name in ("recall", "context_accuracy", "false_names_per_1000", "vqa_accuracy", "head"):
        for figure in result.json[name].values():
            low, high = figure["ci95"]
            assert low <= figure["value"] <= high
            assert figure["n"] > 0
    assert {"one", "diff", "same", "second"} <= set(result.json["recall"])
    assert set(result.json) >= {"companion_accuracy", "box_iou"}


def test_what_is_not_read_and_what_has_no_date_is_said(myvlm, no_vlm, tmp_path):
    Image.new("RGB", (64, 48)).save(tmp_path / "a.bmp")
    for name in ("x.jxl", "y.jxl", "z.psd"):
        (tmp_path / name).write_bytes(b"not read")
    for command in (("caption", "--dry-run"), ("status",), ("scan",)):
        result = myvlm(*command, tmp_path, "--since", "2000-01-01")
        assert "skipped: 2 .jxl, 1 .psd" in result.err
        assert result.err.count("1 photo has no date inside") == 1
    assert "no date" not in myvlm("status", tmp_path).err
