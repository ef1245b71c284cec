"""`config.toml`: checked values, comments that stay, and errors that name the file and the key."""

import os
import stat
import tomllib

import pytest

from engine.core.config_file import (
    KEYS,
    config_path,
    parse_value,
    read_config,
    remove_value,
    write_value,
)
from engine.core.errors import ConfigError, UsageError


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


def written(folder, text):
    folder.mkdir(exist_ok=True)
    config_path(folder).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def test_without_a_file_nothing_is_set_and_nothing_is_made(folder):
    assert read_config(folder) == {}
    assert remove_value(folder, "vlm") is False
    assert not folder.exists()


def test_what_is_written_is_read(folder):
    values = {
        "vlm": "llava-1.6",
        "recogniser": "storybook",
        "device": "cuda:1",
        "dtype": "float16",
        "quantise": "int8",
        "speak": "names",
        "style": "alt-text",
        "language": "German",
        "context": True,
        "sidecar-naming": "stem",
        "sidecar-dir": "~/sidecars",
        "regions": "people",
        "hierarchy": True,
        "on-existing": "replace-all",
    }
    assert set(values) == set(KEYS)
    for key, value in values.items():
        write_value(folder, key, value)
    assert read_config(folder) == values == tomllib.loads(config_path(folder).read_text())
    assert remove_value(folder, "hierarchy")
    assert "hierarchy" not in read_config(folder)


def test_comments_order_and_what_is_unknown_stay(folder):
    text = '# mine\ndtype = "auto"  # fast enough\n\nvlm = "blip-2" # small\r\nfuture = [1, 2]\n'
    written(folder, text)
    write_value(folder, "vlm", "storybook")
    changed = config_path(folder).read_bytes().decode()
    assert changed == text.replace("blip-2", "storybook")
    assert remove_value(folder, "future")
    assert "future" not in config_path(folder).read_text()


@pytest.mark.skipif(os.name != "posix", reason="permission bits")
def test_only_the_owner_can_read_it(folder):
    path = write_value(folder, "vlm", "none")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_link_stays_a_link(folder, tmp_path):
    real = tmp_path / "dotfiles.toml"
    real.write_text('vlm = "blip-2"\n')
    folder.mkdir()
    config_path(folder).symlink_to(real)
    write_value(folder, "vlm", "none")
    assert config_path(folder).is_symlink()
    assert tomllib.loads(real.read_text()) == {"vlm": "none"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('vml = "x"', ("'vml'", "Known: vlm, recogniser")),
        ('device = "gpu"', ("device must be auto, cpu", "'gpu'")),
        ("device = 1", ("device must be", "1")),
        ('dtype = "int8"', ("dtype must be one of auto, float32",)),
        ('hierarchy = "yes"', ("hierarchy must be true or false",)),
        ("on-existing = true", ("on-existing must be one of keep, replace-all",)),
        ('sidecar-dir = "sidecars"', ("sidecar-dir must be a folder that begins with / or ~",)),
        ('vlm = ""', ("vlm must be a VLM's name",)),
        ("[vlm]\nname = 1", ("vlm must be",)),
        ("vlm = ", ("cannot be read", "Invalid value")),
        ('vlm = "a"\nvlm = "b"', ("cannot be read",)),
        (b"vlm = '\xff'", ("cannot be read",)),
    ],
)
def test_an_error_names_the_file_and_the_key(folder, text, words):
    written(folder, text)
    with pytest.raises(ConfigError) as caught:
        read_config(folder)
    told = f"{caught.value} {caught.value.hint}"
    assert str(config_path(folder)) in told
    assert all(w in told for w in words), told


def test_a_folder_or_a_pipe_in_its_place_is_an_error(folder):
    config_path(folder).mkdir(parents=True)
    for use in (lambda: read_config(folder), lambda: write_value(folder, "vlm", "none")):
        with pytest.raises(ConfigError, match=r"config\.toml cannot be read"):
            use()


def test_one_bad_value_can_be_replaced_and_a_broken_file_is_never_overwritten(folder):
    written(folder, 'device = "gpu"\n')
    write_value(folder, "device", "cpu")
    assert read_config(folder) == {"device": "cpu"}
    written(folder, "vlm = ")
    with pytest.raises(ConfigError):
        write_value(folder, "vlm", "none")
    assert config_path(folder).read_text() == "vlm = "


def test_values_as_they_are_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_value("hierarchy", "true") is True
    assert parse_value("hierarchy", "false") is False
    assert parse_value("vlm", "true") == "true"
    assert parse_value("sidecar-dir", "sidecars") == str(tmp_path / "sidecars")
    for key, text in (("hierarchy", "1"), ("device", "gpu"), ("regions", "pets"), ("colour", "red")):
        with pytest.raises(UsageError) as caught:
            parse_value(key, text)
        assert caught.value.hint


def test_a_value_that_does_not_fit_is_not_written(folder):
    for key, value in (("hierarchy", "true"), ("regions", False), ("colour", "red")):
        with pytest.raises(UsageError):
            write_value(folder, key, value)
    assert not folder.exists()
