"""`myvlm setup` and `myvlm models pull`, as a user types them, on described machines and a hub on this one."""

import io
import json
import sys
import tomllib
from dataclasses import replace

import pytest

from engine.core.errors import EnvironmentFault
from engine.setup import machine as machines
from engine.setup import repair
from tests.setup.test_fetch import OTHER, REPO, llava
from tests.setup.test_plan import GPU_8, GPU_24, LAPTOP, MAC_16, TINY


@pytest.fixture
def on(monkeypatch):
    """Make this machine a described one, with what is on its disk measured."""

    def use(machine):
        def measure():
            return replace(machine, on_disk=frozenset(p.name for p in machines.list_parts() if p.on_disk))

        monkeypatch.setattr(machines, "measure_machine", measure)

    return use


@pytest.fixture
def answers(monkeypatch):
    """Make stdin a terminal on which somebody gives these answers."""

    def use(*lines):
        stream = io.StringIO("".join(f"{line}\n" for line in lines))
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(sys, "stdin", stream)

    return use


@pytest.fixture
def tiny(hub, tmp_path, monkeypatch):
    """A hub whose LLaVA-1.6 is a tiny one that loads."""
    from tests.tiny_llava import save_tiny_llava

    monkeypatch.setattr("engine.vlms.memory.machine_memory_gb", lambda: 0.0)  # it loads where there is no such GPU
    folder = save_tiny_llava(tmp_path / "tiny")
    hub.repos[REPO] = {p.name: p.read_bytes() for p in folder.iterdir()}
    hub.cards[REPO] = {"license": "llama2"}
    return hub


def config(home):
    return tomllib.loads((home / "config.toml").read_text("utf-8"))


@pytest.mark.parametrize("machine", [LAPTOP, MAC_16, GPU_8, GPU_24])
def test_a_plan_changes_nothing(myvlm, on, home, cache, machine):
    on(machine)
    result = myvlm("setup", "--plan")
    assert result.code == 0
    rows = [line.split("\t") for line in result.out.splitlines()]
    assert {"llava-1.6", "blip-2", "dfn5b", "buffalo_l"} <= {r[1] for r in rows}
    made = myvlm("setup", "--plan", "--json").json
    assert made["download_gb"] == {LAPTOP: 2.0, MAC_16: 4.3, GPU_8: 8.9, GPU_24: 21.7}[machine]
    assert not home.exists()
    assert not cache.exists()


@pytest.mark.parametrize("machine", [LAPTOP, MAC_16, GPU_8, GPU_24])
def test_a_plan_is_a_table_of_80_columns(capsys, monkeypatch, machine):
    from rich.cells import cell_len

    from engine.setup.plan import make_plan
    from myvlm_cli.setup_view import print_plan

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for name, value in {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    print_plan(make_plan(machine), json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["plan", "model", "for", "GB", "photos/s", "why"]
    assert max(map(cell_len, lines)) <= 80


def test_a_machine_for_which_no_vlm_is_small_enough_needs_nothing(myvlm, on, home, cache):
    on(TINY)
    result = myvlm("setup")
    assert result.code == 0
    assert "Nothing needs fetching.\n" in result.err
    assert "Next: myvlm add-concept NAME PHOTOS" in result.err
    assert list(config(home)) == ["recogniser"]


def test_without_a_terminal_the_plan_is_printed_and_nothing_done(myvlm, on, home, hub, monkeypatch):
    on(GPU_24)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    result = myvlm("setup")
    assert result.code == 2
    assert "get\tqwen3-vl-8b" in result.out
    assert "Fetch qwen3-vl-8b, dfn5b, buffalo_l (21.7 GB)?" in result.err
    assert "--yes" in result.err
    assert hub.requests == []
    assert not home.exists()


def test_no_is_no(myvlm, on, home, hub, answers):
    on(GPU_24)
    answers("n")
    assert myvlm("setup").code == 1
    assert hub.requests == []
    assert not home.exists()


def test_yes_does_not_accept_a_licence_that_forbids_commercial_use(myvlm, on, home, tiny):
    on(GPU_24)
    result = myvlm("setup", "--yes", "--vlm", "llava-1.6")
    assert result.code == 0, result.err
    assert "Licence of buffalo_l: InsightFace: non-commercial research only." in result.err
    assert "buffalo_l is left out" in result.err
    assert "--accept-license buffalo_l" in result.err
    assert "llava-1.6: it was loaded." in result.err
    assert config(home)["vlm"] == "llava-1.6"
    assert config(home)["recogniser"] != "dfn5b"
    assert not [r for r in tiny.requests if "DFN5B" in r or "buffalo" in r]
    again = myvlm("setup", "--yes", "--json").json
    assert again["fetched"] == []
    assert again["config"] == config(home)


def test_a_licence_can_be_refused_on_a_terminal(myvlm, on, home, tiny, answers):
    on(GPU_24)
    answers("y", "n")
    result = myvlm("setup", "--vlm", "llava-1.6")
    assert result.code == 0, result.err
    assert "Do you accept the licence of buffalo_l (InsightFace: non-commercial research only)? [y/N]" in result.err
    assert "buffalo_l is left out" in result.err
    assert config(home)["vlm"] == "llava-1.6"


def test_what_needs_a_refused_licence_is_refused(myvlm, on, hub):
    on(GPU_24)
    result = myvlm("setup", "--yes", "--vlm", "none", "--recogniser", "dfn5b")
    assert result.code == 2
    assert "--accept-license buffalo_l" in result.err
    assert hub.requests == []


def test_a_default_of_the_user_is_not_replaced_without_a_question(myvlm, on, home, hub, monkeypatch):
    on(TINY)
    home.mkdir()
    (home / "config.toml").write_text('recogniser = "dfn5b"\n')
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    result = myvlm("setup")
    assert (result.code, "hange the default recogniser from dfn5b to" in result.err) == (2, True)
    assert config(home) == {"recogniser": "dfn5b"}
    assert myvlm("setup", "--yes").code == 0
    assert config(home) != {"recogniser": "dfn5b"}


def test_without_network_all_files_to_copy_are_told(myvlm, on, home, hub, cache, monkeypatch):
    on(GPU_24)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    result = myvlm("setup", "--yes", "--accept-license", "buffalo_l")
    assert result.code == 3
    for part in ("models--Qwen--Qwen3-VL-8B-Instruct", "models--apple--DFN5B-CLIP-ViT-H-14-378", "det_10g.onnx"):
        assert part in result.err
    assert str(cache) in result.err
    assert "myvlm setup --from FOLDER" in result.err
    assert not home.exists()


def test_from_a_folder(myvlm, on, home, hub, tiny, tmp_path):
    on(GPU_24)
    folder = tmp_path / "stick"
    (folder / "llava-1.6").mkdir(parents=True)
    for name, data in tiny.repos[REPO].items():
        (folder / "llava-1.6" / name).write_bytes(data)
    result = myvlm("setup", "--from", folder, "--yes")
    assert result.code == 0, result.err
    assert "Copying llava-1.6" in result.err
    assert "llava-1.6: it was loaded." in result.err
    assert config(home)["vlm"] == "llava-1.6"
    assert hub.requests == []


def test_an_empty_folder_is_told_what_belongs_there(myvlm, on, home, cache, tmp_path):
    on(GPU_24)
    (tmp_path / "stick").mkdir()
    result = myvlm("setup", "--from", tmp_path / "stick", "--yes")
    assert result.code == 3
    assert "has none of the models" in result.err
    assert "models--llava-hf--llava-v1.6-vicuna-7b-hf" in result.err
    assert "det_10g.onnx" in result.err
    assert not home.exists()


# the CUDA provider


def test_an_overwritten_cuda_provider_is_repaired_after_a_question(myvlm, on, home, cache, monkeypatch, answers):
    commands = []

    class Done:
        returncode, stderr = 0, ""

    monkeypatch.setattr(repair.subprocess, "run", lambda command, **options: commands.append(command) or Done)
    on(replace(GPU_8, overwritten_provider=True))
    answers("n")
    result = myvlm("setup", "--recogniser", "dfn5b", "--plan")
    assert "CPU build of onnxruntime has overwritten" in result.err
    answers("n")
    assert myvlm("setup", "--vlm", "none").code == 1
    assert commands == []
    answers("y", "n")
    result = myvlm("setup", "--vlm", "none")
    assert result.code == 0, result.err
    assert commands == [[sys.executable, "-m", "pip", "install", "--force-reinstall", "--no-deps", "onnxruntime-gpu"]]


def test_a_failed_repair_says_what_pip_said(monkeypatch):
    class Failed:
        returncode, stderr = 1, "WARNING: x\nERROR: No matching distribution found\n"

    monkeypatch.setattr(repair.subprocess, "run", lambda *a, **k: Failed)
    with pytest.raises(EnvironmentFault, match="No matching distribution found"):
        repair.repair_onnxruntime()


# models pull


def test_pull_tells_checks_and_prints_the_folder(myvlm, on, tiny):
    on(LAPTOP)
    result = myvlm("models", "pull", "llava-1.6")
    assert result.code == 0, result.err
    assert result.out.rstrip().endswith("0123456789abcdef0123456789abcdef01234567")
    assert f"{REPO}: LLaVA-NeXT, " in result.err
    assert "its files were checked, but it was not loaded: it needs 19.5 GB of GPU memory" in result.err
    assert "Next: myvlm caption FOLDER --vlm llava-1.6" in result.err


def test_pull_refuses_another_family(myvlm, on, hub):
    on(LAPTOP)
    hub.repos[OTHER] = llava(**{"config.json": json.dumps({"model_type": "qwen3"}).encode()})
    result = myvlm("models", "pull", OTHER)
    assert result.code == 3
    assert "'qwen3' is a text model, not a VLM" in result.err
    assert "myvlm models" in result.err


def test_pull_asks_for_the_licence_of_the_face_pack(myvlm, on, hub, answers, monkeypatch):
    on(LAPTOP)
    monkeypatch.setattr("engine.vision.config.FaceSource.on_disk", property(lambda self: not self.files))
    answers("n")
    result = myvlm("models", "pull", "buffalo_l")
    assert result.code == 2
    assert "--accept-license buffalo_l" in result.err
    assert hub.requests == []


def test_names_are_completed(monkeypatch):
    from myvlm_cli.completion import complete_part, complete_recogniser

    assert complete_part("b") == ["blip-2", "buffalo_l"]
    assert "dfn5b" in complete_part("")
    assert complete_recogniser("dfn") == ["dfn5b"]
