"""The service that captions what arrives: units that systemd reads, and property lists that launchd reads."""

import os
import plistlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.core.errors import UsageError
from engine.setup.service import (
    VARIABLES,
    Service,
    current_environment,
    launchd_plist,
    quote_systemd,
    systemd_unit,
    this_command,
)

ODD = 'My "100%" $Phötos \\x\n\t💾'


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("/usr/bin/myvlm", "/usr/bin/myvlm"),
        ("--include=*.jpg", '"--include=*.jpg"'),
        ("a b", '"a b"'),
        ("100%", '"100%%"'),
        ('"', '"\\""'),
        ("'", '"\'"'),
        ("\\", '"\\\\"'),
        (";", '";"'),
        ("", '""'),
        ("Fotos/Größe", '"Fotos/Größe"'),
        ("a\nb\x7f", '"a\\x0ab\\x7f"'),
        (os.fsdecode(b"caf\xe9"), '"caf\\xe9"'),
        ("\u202e", '"\\xe2\\x80\\xae"'),
    ],
)
def test_words_are_quoted_as_systemd_reads_them(word, quoted):
    assert quote_systemd(word) == quoted


def test_a_unit_is_one_that_systemd_accepts(tmp_path):
    program = tmp_path / "with space"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    unit = systemd_unit(
        Service((str(program), "caption", "--watch", ODD, "$HOME"), {"MYVLM_HOME": "/da ta/100%$x"}),
        needs_network=False,
    )
    assert f'ExecStart="{program}" caption --watch ' in unit
    assert '"My \\"100%%\\" $$Phötos \\\\x\\x0a\\x09💾" "$$HOME"\n' in unit
    assert 'Environment="MYVLM_HOME=/da ta/100%%$x"\n' in unit
    assert "#RestrictAddressFamilies" in unit
    assert "RestrictAddressFamilies" not in systemd_unit(Service((str(program),), {}), needs_network=True)
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here")
    (tmp_path / "myvlm.service").write_text(unit)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", tmp_path / "myvlm.service"],
        capture_output=True,
        text=True,
        env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert (done.returncode, done.stderr.replace("\n", "")) == (0, "")


def test_a_property_list_has_the_same_words():
    facts = plistlib.loads(
        launchd_plist(Service(("/a b", "caption", "Phötos 100% <&>"), {"A": "b"}), Path("/l")).encode()
    )
    assert facts["ProgramArguments"] == ["/a b", "caption", "Phötos 100% <&>"]
    assert facts["EnvironmentVariables"] == {"A": "b"}
    assert facts["KeepAlive"] == {"SuccessfulExit": False}
    assert facts["StandardErrorPath"] == "/l"
    for word in ("a\x01b", os.fsdecode(b"caf\xe9")):
        with pytest.raises(UsageError, match="cannot be written into a property list"):
            launchd_plist(Service((word,), {}), Path("/l"))


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "My photos"
    folder.mkdir()
    return folder


def test_the_command_is_the_one_that_was_asked_for(myvlm, photos, home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", "/da ta")
    monkeypatch.delenv("HF_HOME")
    options = ["--concepts", "Rex,Uncle Bello", "--only", "--include", "*.jpg", "--include", "x", "--since", "2024"]
    options += ["--no-context", "--style", "detailed", "--sidecar-dir", "side", "--regions", "people", "--poll", "30"]
    options += ["--vlm", "none", "--recogniser", "builtin", "--allow-body", "--decode", "exact", "--speak", "names"]
    result = myvlm("service", "My photos", "--kind", "launchd", *options)
    assert result.code == 0, result.err
    facts = plistlib.loads(result.out.encode())
    first = len(this_command())
    words = facts["ProgramArguments"][first:]
    assert facts["ProgramArguments"][:first] == list(this_command())
    assert words[:2] == ["caption", "--watch"]
    assert words[-1] == str(photos)
    assert set(words[2:-1]) == {
        *("--concepts=Rex,Uncle Bello", "--only", "--include=*.jpg", "--include=x", "--since=2024", "--poll=30"),
        *("--no-context", "--style=detailed", f"--sidecar-dir={tmp_path / 'side'}", "--regions=people"),
        *("--vlm=none", "--recogniser=builtin", "--allow-body", "--decode=exact", "--speak=names"),
    }
    assert facts["EnvironmentVariables"] == {"MYVLM_HOME": str(home), "XDG_DATA_HOME": "/da ta"}
    assert "launchctl bootstrap gui/$(id -u)" in result.err
    assert "launchctl bootout" in result.err


def test_the_command_is_one_that_myvlm_takes(myvlm, photos, monkeypatch):
    """All options of the service are options of caption, in a form that it reads."""
    from typer.main import get_command

    from myvlm_cli.main import app

    result = myvlm("service", photos, "--kind", "launchd", "--no-hierarchy", "--dtype", "float32", "--exclude", "-x y")
    words = plistlib.loads(result.out.encode())["ProgramArguments"][len(this_command()) :]
    command = get_command(app).commands["caption"]
    context = command.make_context("caption", words[1:])
    assert context.params["hierarchy"] is False
    assert context.params["exclude"] == ["-x y"]
    assert context.params["watch"] is True
    assert context.params["paths"] == [photos]


def test_where_to_save_it_is_said(myvlm, photos, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    result = myvlm("service", photos)
    assert result.out.startswith("[Unit]\n")
    assert f'"{photos}"\n' in result.out
    for text in (
        "~/.config/systemd/user/myvlm.service",
        "systemctl --user enable --now",
        "journalctl --user",
        "Remove it",
    ):
        assert text in result.err
    assert myvlm("service", photos, "-q").err == ""


def test_a_vlm_in_a_server_keeps_the_network(myvlm, photos, home):
    result = myvlm("service", photos, "--kind", "systemd", "--vlm", "openai:http://127.0.0.1:1/v1#x")
    assert "RestrictAddressFamilies" not in result.out
    assert '"--vlm=openai:http://127.0.0.1:1/v1#x"' in result.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "no folder given"),
        (["missing"], "no such file or folder"),
        (["My photos", "missing"], "missing: no such folder"),
        (["My photos/a.jpg"], "a.jpg is a file"),
        (["My photos", "--only"], "--only needs --concepts"),
        (["My photos", "--vlm", "no/such/vlm"], "no/such/vlm"),
    ],
)
def test_what_cannot_be_watched_is_refused(myvlm, photos, monkeypatch, arguments, told):
    monkeypatch.chdir(photos.parent)
    (photos / "a.jpg").write_bytes(b"")
    result = myvlm("service", *arguments)
    assert (result.code, result.out) == (2, "")
    assert told in result.err


def test_folders_of_the_environment_are_absolute(tmp_path, monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MYVLM_HOME", "concepts")
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "true")
    assert current_environment() == {"MYVLM_HOME": str(tmp_path / "concepts"), "WATCHFILES_FORCE_POLLING": "true"}
