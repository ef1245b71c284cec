"""`myvlm config`, and what commands do with the defaults in `config.toml`."""

import json
import subprocess
import sys

import pytest

from engine.core.config_file import KEYS, config_path, read_config
from engine.sidecars.merge.ownership import DESCRIPTION, SUBJECT
from engine.sidecars.rdf.packet import Packet
from engine.storybook.album import REX
from myvlm_cli.completion import complete_key
from tests.learned import draw_album, draw_references


def test_the_list_says_where_each_value_comes_from(myvlm, bare_home):
    result = myvlm("config")
    header, *rows = (line.split("\t") for line in result.out.splitlines())
    assert header == ["key", "value", "from"]
    assert [r[0] for r in rows] == list(KEYS)
    assert ["vlm", "none", "built in"] in rows
    assert "Next: myvlm setup" in result.err
    assert myvlm("config", "set", "hierarchy", "true").code == 0
    assert "hierarchy\ttrue\tconfig.toml" in myvlm("config").out.splitlines()
    document = myvlm("config", "--json").json
    assert document["file"] == str(config_path(bare_home))
    assert {"key": "hierarchy", "value": True, "origin": "config"} in document["settings"]
    assert {"key": "sidecar-dir", "value": None, "origin": "built-in"} in document["settings"]


def test_set_get_and_unset(myvlm, bare_home):
    assert myvlm("config", "get", "sidecar-naming").out == "auto\n"
    done = myvlm("config", "set", "sidecar-naming", "stem")
    assert (done.code, done.out) == (0, "")
    assert str(config_path(bare_home)) in done.err
    assert myvlm("config", "get", "sidecar-naming").out == "stem\n"
    assert myvlm("config", "get", "sidecar-naming", "--json").json["origin"] == "config"
    assert "no longer set" in myvlm("config", "unset", "sidecar-naming").err
    assert "was not set" in myvlm("config", "unset", "sidecar-naming").err
    assert read_config(bare_home) == {}


def test_a_vlm_that_is_not_on_disk_can_be_set_but_that_is_said(myvlm, bare_home):
    done = myvlm("config", "set", "vlm", "llava-1.6")
    assert done.code == 0
    assert "myvlm models pull llava-1.6" in done.err
    assert "warning" not in myvlm("config", "set", "vlm", "storybook").err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (("get", "colour"), "Known: vlm, recogniser"),
        (("set", "colour", "red"), "Known: vlm, recogniser"),
        (("unset", "colour"), "Known: vlm, recogniser"),
        (("set", "vlm", "no-such-vlm"), "Known: blip-2"),
        (("set", "recogniser", "no-such-one"), "dfn5b, storybook"),
        (("set", "regions", "pets"), "one of none, people, all"),
    ],
)
def test_errors_list_what_exists(myvlm, bare_home, line, words):
    result = myvlm("config", *line)
    assert (result.code, result.out, words in result.err) == (2, "", True), result.err
    assert not bare_home.exists()


def test_keys_are_completed():
    assert complete_key("sidecar") == ["sidecar-naming", "sidecar-dir"]
    assert complete_key("x") == []


@pytest.mark.parametrize("text", ["vlm = ", 'vml = "x"\n', 'device = "gpu"\n', 'vlm = "no-such-vlm"\n'])
def test_a_broken_file_is_exit_3_and_doctor_says_what_to_do(myvlm, home, drawn, text):
    config_path(home).write_text(text)
    result = myvlm("caption", drawn.path)
    assert (result.code, str(config_path(home)) in result.err) == (3, True), result.err
    assert not list(drawn.path.parent.glob("*.xmp"))
    checked = myvlm("doctor", "--json")
    assert checked.code == 3
    (failed,) = (c for c in checked.json["checks"] if c["state"] == "fail")
    assert failed["name"] == "config.toml"
    assert str(config_path(home)) in failed["found"]
    assert failed["advice"]
    assert myvlm("concepts").code == 0


def test_doctor_says_where_defaults_come_from(myvlm, home, bare_home):
    def checks():
        return {c["name"]: (c["state"], c["found"]) for c in myvlm("doctor", "--json").json["checks"]}

    fresh = checks()
    assert fresh["default vlm"][0] == "info"
    assert "no VLM for real photos is on this machine" in fresh["default vlm"][1]
    assert fresh["default device"] == ("info", "auto (built in)")
    myvlm("config", "set", "vlm", "storybook")
    myvlm("config", "set", "dtype", "float32")
    chosen = checks()
    assert chosen["default vlm"] == ("ok", "storybook (config.toml)")
    assert chosen["default recogniser"] == ("info", "storybook (belongs to the VLM)")
    assert chosen["default dtype"] == ("ok", "float32 (config.toml)")
    myvlm("config", "set", "vlm", "llava-1.6")
    assert checks()["default vlm"][0] == "warn"


def test_a_fresh_folder_gives_drawn_photos_names_only(myvlm, bare_home, tmp_path):
    draw_references(tmp_path / "Rex", REX, 3)
    album = draw_album(tmp_path / "album")
    assert myvlm("config", "set", "recogniser", "storybook").code == 0
    added = myvlm("add-concept", "Rex", tmp_path / "Rex", "--json")
    assert (added.code, added.json["identifier"]) == (0, "sks")
    result = myvlm("caption", tmp_path / "album")
    assert result.code == 0
    assert result.err.count("no VLM for real photos is on this machine: writing names only") == 1
    assert "myvlm setup" in result.err
    packet = Packet((tmp_path / "album" / "rex.jpg.xmp").read_bytes())
    assert (packet.default_text(*DESCRIPTION), packet.items(*SUBJECT)) == (None, ["Rex"])
    for command in (
        ("ask", album["rex"].path, "What is Rex doing?"),
        ("train", "Rex"),
        ("train",),
        ("locate", "Rex", album["rex"].path, "--method", "refer"),
    ):
        refused = myvlm(*command)
        assert (refused.code, refused.out) == (3, "")
        assert "this needs a VLM" in refused.err
        assert "Run: myvlm setup" in refused.err
    assert myvlm("locate", "Rex", album["rex"].path).code == 0


def test_a_vlm_in_config_toml_that_is_not_on_disk_is_refused_like_the_option(myvlm, bare_home, drawn):
    myvlm("config", "set", "vlm", "llava-1.6")
    result = myvlm("caption", drawn.path)
    assert result.code == myvlm("caption", drawn.path, "--vlm", "llava-1.6").code == 3
    assert str(config_path(bare_home)) in result.err
    assert "myvlm models pull llava-1.6" in result.err
    assert not list(drawn.path.parent.glob("*.xmp"))
    assert myvlm("caption", drawn.path, "--vlm", "none").code == 0


def test_sidecar_options_come_from_config_toml(myvlm, session, tmp_path):
    album = tmp_path / "album"
    draw_album(album)
    myvlm("config", "set", "sidecar-naming", "stem")
    myvlm("config", "set", "sidecar-dir", str(tmp_path / "sidecars"))
    myvlm("config", "set", "hierarchy", "true")
    assert myvlm("caption", album / "rex.jpg").code == 0
    (sidecar,) = (tmp_path / "sidecars").rglob("rex.xmp")
    assert b"hierarchicalSubject" in sidecar.read_bytes()
    assert not list(album.glob("*.xmp"))
    assert [p["status"] for p in myvlm("status", album / "rex.jpg", "--json").json["photos"]] == ["current"]
    plain = ("--sidecar-naming", "ext", "--sidecar-dir", album, "--no-hierarchy")
    assert myvlm("caption", album / "rex.jpg", *plain).code == 0
    (beside,) = album.rglob("rex.jpg.xmp")
    assert b"hierarchicalSubject" not in beside.read_bytes()


def test_the_demo_chooses_its_models_in_its_own_home(myvlm, bare_home, tmp_path, monkeypatch):
    result = myvlm("demo", tmp_path / "demo")
    assert result.code == 0, result.err
    home = tmp_path / "demo" / "home"
    assert read_config(home) == {"vlm": "storybook", "recogniser": "storybook"}
    assert "--vlm" not in result.err
    assert not bare_home.exists()
    assert str(tmp_path / "demo" / "gallery" / "index.html") in result.err
    assert len(list((tmp_path / "demo" / "gallery" / "thumbnails").iterdir())) == 14
    monkeypatch.setenv("MYVLM_HOME", str(home))
    again = myvlm("caption", tmp_path / "demo" / "album", "--json")
    assert set(again.json["summary"]) == {"unchanged"}


def test_help_and_lists_import_neither_toml_nor_models(bare_home):
    """`config.toml` is read by those commands only that need it, and tomlkit is loaded only to write it."""
    script = (
        "import json, sys; sys.argv = ['myvlm', *sys.argv[1:]]\n"
        "from myvlm_cli.main import main\n"
        "try: main()\n"
        "except SystemExit: print(json.dumps([m for m in sys.argv_modules if m in sys.modules]), file=sys.stderr)"
    ).replace("sys.argv_modules", "('torch', 'tomlkit', 'transformers', 'open_clip', 'onnxruntime', 'rich')")
    for line in (["--help"], ["concepts", "list"], ["config", "get", "device"]):
        done = subprocess.run([sys.executable, "-c", script, *line], capture_output=True, text=True, timeout=100)
        assert json.loads(done.stderr.splitlines()[-1]) == [], done.stderr
