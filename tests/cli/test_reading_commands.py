"""What the reading commands print and ask: status, runs, undo, doctor, models, concepts, demo."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from engine import diagnostics
from engine.core.files import sha256_of
from engine.diagnostics import Check
from engine.session import Session
from engine.sidecars.journal import Journal
from tests.learned import draw_album
from tests.sidecars.test_journal import write


@pytest.fixture
def album(tmp_path, session):
    """Rex, Rex with Anna, and nobody, for a store that knows both."""
    draw_album(tmp_path / "my album")
    return tmp_path / "my album"


@pytest.fixture
def library(tmp_path):
    folder = tmp_path / "library"
    folder.mkdir()
    return folder


def at_a_terminal(monkeypatch, answer: str) -> None:
    """Make stdin a terminal at which somebody answers."""
    import io

    stream = io.StringIO(f"{answer}\n")
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdin", stream)


# status


def test_status_groups_what_is_not_current_and_hides_the_rest(myvlm, album):
    assert myvlm("status", album).out.splitlines() == [
        "new (3): never captioned",
        *(f"  {album / n}.jpg" for n in ("both", "nobody", "rex")),
    ]
    myvlm("caption", album)
    result = myvlm("status", album)
    assert (result.code, result.out) == (0, "")
    assert result.err.splitlines()[-2:] == ["3 current", "Everything is up to date."]
    (album / "rex.jpg.myvlm.json").unlink()
    (album / "nobody.jpg.xmp").unlink()
    result = myvlm("status", album)
    assert result.out.splitlines() == [
        "stale (1): the JSON sidecar is gone or damaged",
        f"  {album / 'rex.jpg'}",
        "dropped (1): the XMP sidecar is gone",
        f"  {album / 'nobody.jpg'}",
    ]
    assert result.err.splitlines()[-2:] == [
        "1 current, 1 dropped, 1 stale",
        f"Next: myvlm caption {shlex.quote(str(album))}",
    ]
    everything = myvlm("status", album, "--all").out
    assert f"current (1): up to date\n  {album / 'both.jpg'}\n" in everything
    assert [p["status"] for p in myvlm("status", album, "--json").json["photos"]] == ["current", "dropped", "stale"]
    assert len(myvlm("status", album, "--jsonl").lines) == 3


def test_status_lists_failures_with_their_reasons(myvlm, album):
    (album / "rex.jpg.xmp").write_bytes(b"<x:xmpmeta")
    missing = album / "missing.jpg"
    result = myvlm("status", album, missing)
    assert result.code == 1
    lines = result.out.splitlines()
    assert lines[-3] == "failed (2)"
    (gone,) = (line for line in lines[-2:] if "missing.jpg" in line)
    assert gone.startswith(f"  {missing}: ")
    assert gone.count("missing.jpg") == 1
    assert any("rex.jpg.xmp: " in line for line in lines[-2:])
    assert result.err.splitlines()[-2] == "2 failed, 2 new"


# runs and undo


def test_runs_say_where_and_how_many(myvlm, home, library):
    write(home, library, ("a.xmp", b"1"))
    run = write(home, library / "..", ("b.xmp", b"1"), ("c.xmp", b"2"))
    header, newest, _ = (line.split("\t") for line in myvlm("runs").out.splitlines())
    row = dict(zip(header, newest, strict=True))
    assert (row["run"], row["photos"], row["files"], row["state"]) == (run, "1", "2", "")
    assert row["folder"] == str(library / "..")
    assert [r["folder"] for r in myvlm("runs", "--json").json["runs"]] == [str(library / ".."), str(library)]
    assert myvlm("runs").err == "Next: myvlm undo RUN --dry-run shows what undoing a run would change.\n"


def test_undo_says_what_it_will_do_before_it_does_it(myvlm, home, library):
    run = write(home, library, ("a.xmp", b"1"), ("b.xmp", b"2"))
    result = myvlm("undo", "--dry-run")
    assert result.err.splitlines()[0].startswith(f"Would undo {run} (caption, ")
    assert result.err.splitlines()[0].endswith(f"): 2 files for 1 photo in {library}")
    assert "  2 deleted, because the run had created them" in result.err
    assert result.err.endswith(f"Nothing was written. To undo the run: myvlm undo {run}\n")
    assert len(list(library.iterdir())) == 2
    result = myvlm("undo")
    assert result.err.startswith(f"Undoing {run} (caption, ")
    assert result.err.endswith(f"Undone. To write them again: myvlm caption {library}\n")
    assert not list(library.iterdir())


def two_runs(home, library) -> tuple[str, str]:
    return write(home, library, ("a.xmp", b"1")), write(home, library, ("b.xmp", b"2"))


def test_a_second_undo_in_a_row_needs_a_yes(myvlm, home, library):
    first, _ = two_runs(home, library)
    assert myvlm("undo").code == 0
    result = myvlm("undo")
    assert (result.code, (library / "a.xmp").exists()) == (2, True)
    assert "--yes" in result.err
    assert first in result.err
    assert f"1 file for 1 photo in {library}" in result.err
    assert myvlm("undo", "--dry-run").code == 0
    assert myvlm("undo", "--yes").code == 0
    assert not (library / "a.xmp").exists()


@pytest.mark.parametrize(("answer", "left"), [("y", []), ("n", ["a.xmp"]), ("", ["a.xmp"])])
def test_a_second_undo_asks_at_a_terminal(myvlm, home, library, monkeypatch, answer, left):
    two_runs(home, library)
    myvlm("undo")
    at_a_terminal(monkeypatch, answer)
    result = myvlm("undo")
    assert (result.code == 0) == (not left)
    assert [p.name for p in library.iterdir()] == left
    assert result.out == ""


def test_no_question_about_a_named_run_or_the_newest(myvlm, home, library):
    first, _ = two_runs(home, library)
    assert myvlm("undo").code == 0
    write(home, library, ("c.xmp", b"3"))
    assert myvlm("undo").code == 0  # a run came in between: this is no second undo
    assert myvlm("undo", first).code == 0
    assert not list(library.iterdir())


def test_forgetting_runs_asks(myvlm, home, library, monkeypatch):
    _, second = two_runs(home, library)
    result = myvlm("runs", "--keep", "1")
    assert (result.code, len(Journal(home).runs())) == (2, 2)
    assert "Forget the oldest 1 run? They wrote 1 file, which can then no longer be undone" in result.err
    assert "--yes" in result.err
    at_a_terminal(monkeypatch, "n")
    assert myvlm("runs", "--keep", "0").code == 1
    assert len(Journal(home).runs()) == 2
    at_a_terminal(monkeypatch, "y")
    result = myvlm("runs", "--keep", "1", "--json")
    assert [r["id"] for r in result.json["runs"]] == [second]
    assert "Forgot 1 run. Sidecars stay as they are." in result.err
    result = myvlm("runs", "--keep", "5")
    assert (result.code, "Nothing to forget: there is 1 run." in result.err) == (0, True)
    result = myvlm("runs", "--keep", "0", "--yes")
    assert (result.code, result.out) == (0, "")
    assert result.err.endswith("No runs yet. Start with: myvlm caption FOLDER\n")


# concepts and models


def test_concepts_are_a_table_with_a_next_step(myvlm, session):
    header, *rows = (line.split("\t") for line in myvlm("concepts").out.splitlines())
    assert header == ["name", "kind", "category", "references", "trained_for"]
    assert [r[0] for r in rows] == ["Anna", "Rex"]
    assert {(r[3], r[4]) for r in rows} == {("4", "storybook")}
    session.store.put("Big Mug", session.store.get("Rex").kind, "mug", ("mug",), ())
    assert "Next: myvlm train, so that sentences use the names" in myvlm("concepts").err
    assert "Big Mug\tpet\tmug\t0\tnothing yet" in myvlm("concepts").out
    shown = myvlm("concepts", "show", "rex")
    assert "trained for storybook: task caption" in shown.out
    assert "with --heads paper named from confidence 85 %" in shown.out
    assert "named from likeness 0.50" in myvlm("concepts", "show", "anna").out


@pytest.mark.parametrize("command", ["concepts", "concepts list", "models", "doctor", "runs", "status ."])
def test_reading_creates_no_store(myvlm, bare_home, command):
    assert myvlm(*command.split()).code == 0
    assert not bare_home.exists()


def test_models_say_what_they_are_for(myvlm):
    header, *rows = (line.split("\t") for line in myvlm("models").out.splitlines())
    models = {r[0]: dict(zip(header, r, strict=True)) for r in rows}
    assert models["storybook"]["for"] == "drawings"
    assert models["storybook"]["on_disk"] == "yes"
    assert (models["llava-1.6"]["for"], float(models["llava-1.6"]["disk_gb"])) == ("photos", 14.1)


# doctor


@pytest.fixture
def laptop(monkeypatch, tmp_path):
    """A machine without a GPU and without any model but the shipped ones."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(diagnostics, "has_nvidia_gpu", lambda: False)
    monkeypatch.setattr(
        "engine.vision.config.RecogniserConfig.encoder_on_disk", property(lambda self: not self.encoder_repo)
    )
    monkeypatch.setattr("engine.vision.config.FaceSource.on_disk", property(lambda self: not self.files))
    monkeypatch.setattr(diagnostics, "find_weights", lambda config: tmp_path if config.world else None)


def test_on_a_laptop_nothing_looks_like_a_problem(myvlm, laptop):
    result = myvlm("doctor")
    assert result.code == 0
    assert not re.search("^(warn|fail)", result.out, re.MULTILINE)
    assert "CUDA build" not in result.out
    assert "onnxruntime-gpu" not in result.out
    assert result.err == "Nothing needs fixing. Next: myvlm add-concept NAME PHOTOS, or myvlm demo\n"


def test_each_missing_part_has_its_own_licence_and_the_way_to_get_it(myvlm, laptop):
    checks = {c["name"]: c for c in myvlm("doctor", "--json").json["checks"]}
    missing = {n: c for n, c in checks.items() if c["advice"]}
    vlms = ("blip-2", "llava-1.6", "minigpt-v2", "qwen3-vl-2b", "qwen3-vl-4b", "qwen3-vl-8b", "smolvlm2-500m")
    assert set(missing) == {*(f"VLM {n}" for n in vlms), "encoder dfn5b", "face models buffalo_l"}
    assert {c["state"] for c in missing.values()} == {"info"}
    encoder, faces = missing["encoder dfn5b"], missing["face models buffalo_l"]
    assert "Apple" in encoder["found"]
    assert "non-commercial" not in encoder["found"]
    assert encoder["advice"].startswith("Run: myvlm setup, or myvlm models pull dfn5b\nWithout network: ")
    assert "models--apple--DFN5B-CLIP-ViT-H-14-378" in encoder["advice"]
    assert "non-commercial" in faces["found"]
    assert "Apple" not in faces["found"]
    assert faces["advice"].startswith("Run: myvlm setup, or myvlm models pull buffalo_l\nWithout network: ")
    assert "det_10g.onnx and w600k_r50.onnx" in faces["advice"]
    assert str(Path("~/.insightface/models/buffalo_l").expanduser()) in faces["advice"]
    assert "Run: myvlm setup, or myvlm models pull llava-1.6\n" in missing["VLM llava-1.6"]["advice"]
    assert "models--llava-hf--llava-v1.6-vicuna-7b-hf" in missing["VLM llava-1.6"]["advice"]
    assert "eva_vit_g.pth" in missing["VLM minigpt-v2"]["advice"]


def test_the_encoders_repository_is_the_one_that_open_clip_takes():
    import engine.core.device  # noqa: F401

    import open_clip

    from engine.vision.config import find_recogniser

    config = find_recogniser("dfn5b")
    known = open_clip.get_pretrained_cfg(config.encoder, config.pretrained)
    assert known["hf_hub"].rstrip("/") == config.encoder_repo


@pytest.mark.parametrize(
    ("gpu", "cuda", "state", "advice"),
    [
        (False, None, "info", ""),
        (False, "12.8", "info", ""),
        (True, None, "warn", "Install a CUDA build of torch."),
        (True, "12.8", "warn", "Update the NVIDIA driver to one for CUDA 12.8."),
    ],
)
def test_the_cuda_advice_is_for_machines_with_such_a_gpu(monkeypatch, gpu, cuda, state, advice):
    monkeypatch.setattr(diagnostics, "has_nvidia_gpu", lambda: gpu)
    check = diagnostics._no_gpu("2.13.0", cuda)
    assert (check.state, check.advice) == (state, advice)


@pytest.mark.parametrize(
    ("checks", "code", "told"),
    [
        ([Check("store", "fail", "damaged", "Restore it.")], 3, "Next: fix what is marked fail"),
        ([Check("disk", "warn", "full", "Free some.")], 0, "Next: see what is marked warn (disk)"),
        ([Check("GPU", "info", "none")], 0, "Nothing needs fixing. Next: "),
    ],
)
def test_doctor_says_what_to_do_next(myvlm, monkeypatch, checks, code, told):
    monkeypatch.setattr(diagnostics, "run_checks", lambda session: iter(checks))
    result = myvlm("doctor")
    assert result.code == code
    assert result.err.startswith(told)
    assert all(f"{c.state:<4} {c.name}: {c.found}\n" in result.out for c in checks)


def test_a_store_for_everybody_is_warned_about(session):
    (session.folder / "notes").touch(0o644)
    checks = {c.name: c for c in diagnostics._store(session)}
    assert checks["permissions"].state == "warn"
    assert str(session.folder) in checks["permissions"].advice
    assert [c.state for c in diagnostics._store(Session(folder=session.folder / "none"))] == ["info"]


# demo


@pytest.mark.slow
def test_every_command_of_the_demo_works_in_another_folder(tmp_path):
    """A demo in a folder with a blank in its relative name; then what it printed, by a shell, somewhere else."""
    environment = {k: v for k, v in os.environ.items() if k != "MYVLM_HOME"}
    myvlm = [sys.executable, "-m", "myvlm_cli.main"]
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    done = subprocess.run(
        [*myvlm, "demo", "the demo", "--json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    photos = json.loads(done.stdout)["photos"]
    assert all(Path(p["file"]).is_absolute() for p in photos)
    assert f"  Rex found in {sum('Rex' in p['boxes'] for p in photos)} of {len(photos)} photos; " in done.stderr
    commands = [line.removeprefix("  $ ") for line in done.stderr.splitlines() if line.startswith("  $ ")]
    export, others = commands[0], commands[1:]
    assert export == f"export MYVLM_HOME={shlex.quote(str(tmp_path / 'the demo' / 'home'))}"
    assert {shlex.split(c)[1] for c in others} == {"add-concept", "train", "caption", "ask", "locate", "search"}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    as_myvlm = f'myvlm() {{ {shlex.join(myvlm)} "$@"; }}'
    script = "\n".join(["set -e", as_myvlm, export, *(c for c in others if "add-concept" not in c)])
    again = subprocess.run(["bash", "-c", script], cwd=elsewhere, env=environment, capture_output=True, timeout=300)
    assert again.returncode == 0, again.stderr.decode()
    assert not list(elsewhere.iterdir())


def test_runs_of_older_versions_with_relative_paths_have_a_folder(home):
    from datetime import UTC, datetime

    from engine.sidecars.journal import Write

    entry = Write(Path("album/a.jpg.xmp"), Path("album/a.jpg"), None, sha256_of(b""))
    Journal(home).record("r1", "caption", datetime(2026, 11, 21, tzinfo=UTC), [entry])
    assert Journal(home).runs()[0].folder == Path("album")
