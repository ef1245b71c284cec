"""Commands with a VLM in a server, on real files: what is written, what is said, and what never leaves."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.vlms.server.api_server import COLOURS, MODEL, Answer, ApiServer, completion, error, free_port, wait_for

CAPTION = (
    "A {0} x {1} {2} picture. Asked: Describe this photo in one or two sentences."
    " Do not give any person or animal a name."
)


@pytest.fixture
def album(tmp_path) -> Path:
    """Real photos in four colours, one of them turned, and a file that is no picture."""
    folder = tmp_path / "album"
    folder.mkdir()
    for colour, rgb in COLOURS.items():
        exif = Image.Exif()
        exif[0x0112] = 6 if colour == "green" else 1
        Image.new("RGB", (120, 80), rgb).save(folder / f"{colour}.jpg", exif=exif)
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture
def chosen(home, server) -> ApiServer:
    """`config.toml` chooses the server, and the recogniser of real photos."""
    (home / "config.toml").write_text(f'vlm = "{server.vlm}"\n')
    return server


def captions(album: Path) -> dict[str, str | None]:
    return {p.name.split(".")[0]: json.loads(p.read_text())["caption"] for p in album.glob("*.myvlm.json")}


def test_a_folder_is_captioned_and_then_up_to_date(myvlm, chosen, album):
    result = myvlm("caption", album)
    assert result.code == 1, result.err
    assert "broken.jpg" in result.err
    assert captions(album) == {c: CAPTION.format(*((80, 120) if c == "green" else (120, 80)), c) for c in COLOURS}
    assert "A 120 x 80 red picture" in (album / "red.jpg.xmp").read_text()
    record = json.loads((album / "red.jpg.myvlm.json").read_text())
    assert record["vlm"]["id"] == chosen.vlm
    (album / "broken.jpg").unlink()
    asked = len(chosen.chats)
    result = myvlm("caption", album, "--json")
    assert result.code == 0 and result.json["summary"] == {"unchanged": 4}
    assert len(chosen.chats) == asked == 4


def test_one_failed_photo_does_not_stop_the_others(myvlm, chosen, album):
    (album / "broken.jpg").unlink()
    plain = chosen.chat
    refuse = error(400, "I will not look at blue")
    chosen.chat = lambda request: (
        refuse if " blue " in plain(request).document["choices"][0]["message"]["content"] else plain(request)
    )
    result = myvlm("caption", album, "--json")
    assert result.code == 1
    reasons = {Path(p["file"]).name: p["reason"] for p in result.json["photos"] if p["status"] == "failed"}
    assert reasons == {"blue.jpg": f"{album}/blue.jpg: {MODEL} gave no answer: I will not look at blue (HTTP 400)"}
    assert set(captions(album)) == {"red", "green", "grey"}
    chosen.chat = plain
    assert myvlm("caption", album, "--json").json["summary"] == {"ok": 1, "unchanged": 3}


def test_questions_are_answered_and_a_failed_one_is_told(myvlm, chosen, album):
    photos = [album / "red.jpg", album / "blue.jpg"]
    result = myvlm("ask", *photos, "What is it?", "--json")
    assert result.code == 0, result.err
    assert [p["answer"] for p in result.json["photos"]] == [
        f"A 120 x 80 {c} picture. Asked: What is it?" for c in ("red", "blue")
    ]
    chosen.faults.append(error(413, "too large"))
    result = myvlm("ask", *photos, "What is it?")
    assert result.code == 1
    assert "red.jpg: eyes:4b gave no answer: too large" in result.err and "blue picture" in result.out


def test_a_server_that_is_not_there_stops_before_a_photo_is_read(myvlm, home, album, monkeypatch):
    for place in ("photo_steps.decode_photo", "answer.load_photo"):
        monkeypatch.setattr(f"engine.captioning.{place}", lambda *_: pytest.fail("a photo was decoded"))
    vlm = f"openai:http://127.0.0.1:{free_port()}/v1#m"
    for command in (["caption", album], ["ask", album / "red.jpg", "What is it?"]):
        result = myvlm(*command, "--vlm", vlm, "--recogniser", "builtin")
        assert result.code == 3 and "no server answers at http://127.0.0.1" in result.err
    assert captions(album) == {}


@pytest.mark.parametrize(
    ("vlm", "code", "said"),
    [
        ("openai:http://192.0.2.1/v1#m", 2, "is not on this machine"),
        ("openai:#qwen3-vl:235b-cloud", 2, "is a cloud model"),
        ("openai:#", 2, "names no model"),
        ("openai:{base}#ears", 3, "Its models: eyes:4b, words:1b."),
    ],
)
def test_what_must_not_or_cannot_be_used_is_refused(myvlm, server, album, vlm, code, said):
    result = myvlm("caption", album, "--vlm", vlm.format(base=server.base))
    assert result.code == code and said in result.err
    assert server.chats == []


def test_photos_leave_only_where_that_is_allowed_and_it_is_said(myvlm, chosen, album):
    chosen.shows = {MODEL: Answer({"capabilities": ["vision"], "remote_host": "https://ollama.com"})}
    result = myvlm("caption", album)
    assert result.code == 2 and "run by https://ollama.com" in result.err and chosen.chats == []
    result = myvlm("caption", album, "--allow-remote")
    assert f"photos are sent to {chosen.base}, and may leave this machine" in result.err
    assert len(chosen.chats) == 4


def test_allow_remote_is_for_servers_only(myvlm, home, album):
    result = myvlm("caption", album, "--allow-remote")
    assert result.code == 2 and "is for a VLM in a server" in result.err
    result = myvlm("config", "set", "allow-remote", "true")
    assert result.code == 2 and "there is no key" in result.err


def test_training_on_a_server_is_refused_with_a_way_out(myvlm, chosen):
    result = myvlm("train", "--all")
    assert result.code == 2
    assert "train needs the VLM's weights on this machine" in result.err and "--vlm NAME" in result.err


def test_a_server_can_be_the_default(myvlm, home, server):
    result = myvlm("config", "set", "vlm", server.vlm)
    assert result.code == 0, result.err
    assert myvlm("config", "get", "vlm").out.strip() == server.vlm
    result = myvlm("config", "set", "vlm", f"openai:http://127.0.0.1:{free_port()}/v1#m")
    assert result.code == 0 and "no server answers" in result.err
    assert myvlm("config", "set", "vlm", "openai:http://127.0.0.1/v1").code == 2


def test_status_does_not_need_the_server(myvlm, chosen, album):
    (album / "broken.jpg").unlink()
    assert myvlm("caption", album).code == 0
    chosen.listed = error(500, "gone")
    seen = len(chosen.received)
    assert myvlm("status", album, "--json").code == 0
    assert len(chosen.received) == seen


def run(*arguments, **environment) -> subprocess.Popen:
    code = (
        "import sys; from myvlm_cli.main import main\n"
        "try: main()\n"
        "finally: print('torch' in sys.modules, file=sys.stderr)"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_no_torch_is_needed_and_ctrl_c_ends_a_request_that_waits(chosen, album):
    (album / "broken.jpg").unlink()
    with run("caption", album) as process:
        assert process.wait(60) == 0
        assert process.stderr.read().splitlines()[-1] == "False", "torch was imported"
    chosen.chat = lambda request: Answer(completion("late"), seconds=60.0)
    asked = len(chosen.chats)
    with run("caption", album, "--force") as process:
        wait_for(lambda: len(chosen.chats) == asked + 2, 60)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    assert set(captions(album)) == set(COLOURS)


SHOWS = {
    MODEL: Answer({"capabilities": ["completion", "vision"]}),
    "words:1b": Answer({"capabilities": ["completion"]}),
}


@pytest.fixture
def ollama(server, monkeypatch) -> ApiServer:
    server.shows = SHOWS
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{server.port}")
    return server


def test_models_and_setup_name_what_a_running_ollama_has(myvlm, bare_home, ollama):
    assert myvlm("models", "--json").json["ollama"] == [f"openai:#{MODEL}"]
    table = myvlm("models").out
    assert f"openai:#{MODEL}" in table and "words:1b" not in table
    assert f"myvlm config set vlm 'openai:#{MODEL}'" in myvlm("setup", "--plan").err


def test_without_ollama_nothing_is_said_of_it(myvlm, bare_home):
    assert myvlm("models", "--json").json["ollama"] == []
    assert "ollama" not in myvlm("setup", "--plan").err.lower()


def checks(myvlm) -> dict[str, tuple[str, str]]:
    return {c["name"]: (c["state"], f"{c['found']} {c['advice']}") for c in myvlm("doctor", "--json").json["checks"]}


def test_doctor_tells_of_the_server_in_use_and_of_ollama(myvlm, home, ollama):
    found = checks(myvlm)
    assert found["Ollama"] == (
        "info",
        f"runs here and has vision models: {MODEL} To use one: myvlm config set vlm 'openai:#{MODEL}'",
    )
    (home / "config.toml").write_text(f'vlm = "{ollama.vlm}"\n')
    found = checks(myvlm)
    assert found["default vlm"] == ("ok", f"{ollama.vlm} (config.toml) ")
    assert found["VLM server"] == ("ok", f"{ollama.base} (ollama) has: {MODEL}, words:1b ")
    ollama.listed = Answer({"object": "list", "data": []})
    assert checks(myvlm)["default vlm"][0] == "warn"
    (home / "config.toml").write_text(f'vlm = "openai:http://127.0.0.1:{free_port()}/v1#m"\n')
    state, text = checks(myvlm)["default vlm"]
    assert state == "warn" and "no server answers" in text and "Start the server" in text
