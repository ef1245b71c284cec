"""Read and write `config.toml` in the data folder: the defaults that the user fixed, as flat keys with checked values.

It is read with tomllib. It is written whole with tomlkit, which keeps the user's comments and order.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from engine.core.errors import ConfigError, UsageError, first_line
from engine.core.files import LARGEST_DOCUMENT, make_private_folder, read_text, write_private

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

Value = str | bool
CONFIG_FILE = "config.toml"
_HEADER = "# Defaults of myvlm. Options on the command line win over them. See: myvlm config --help"
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True)
class Key:
    """A key of `config.toml`, called like the option whose default it sets.

    expected: what its value must be, in words. accepts: whether a value from the file is one. built_in: the value where
    nothing sets it; None where there is none, or where it depends on the machine.
    """

    expected: str
    accepts: Callable[[object], bool]
    built_in: Value | None = None


def _one_of(*names: str) -> Key:
    """Make a key that takes one of these names; the first is built in."""
    return Key(f"one of {', '.join(names)}", lambda value: value in names, names[0])


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_device(value: object) -> bool:
    return isinstance(value, str) and _DEVICE.fullmatch(value) is not None


def _is_folder(value: object) -> bool:
    return isinstance(value, str) and (value.startswith("~") or Path(value).is_absolute())


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


KEYS: Mapping[str, Key] = {
    "vlm": Key("a VLM's name, hub id or folder, openai:URL#MODEL, or none", _is_name),
    "recogniser": Key("a recogniser's name", _is_name),
    "device": Key("auto, cpu, cuda, cuda:1, … or mps", _is_device, "auto"),
    "dtype": _one_of("auto", "float32", "float16", "bfloat16"),
    "speak": _one_of("auto", "names", "embedding", "both"),
    "style": _one_of("sentence", "detailed", "alt-text", "keywords"),
    "language": Key("a language, such as German or de", _is_name),
    "context": Key("true or false", _is_bool, False),
    "quantise": _one_of("auto", "none", "int8", "int4"),
    "sidecar-naming": _one_of("auto", "ext", "stem"),
    "sidecar-dir": Key("a folder that begins with / or ~", _is_folder),
    "regions": _one_of("none", "people", "all"),
    "hierarchy": Key("true or false", _is_bool, False),
    "on-existing": _one_of("keep", "replace-all"),
}
"""Every key of `config.toml`, in the order in which they are listed."""


def config_path(folder: Path) -> Path:
    """Return the path of `config.toml` in a data folder."""
    return folder / CONFIG_FILE


def read_config(folder: Path) -> dict[str, Value]:
    """Read the values of `config.toml` in a data folder; {} without one.

    Raises:
        ConfigError: it cannot be read, is not TOML, or has an unknown key or a value that its key does not take.
    """
    path = config_path(folder)
    _, values = _read(path)
    for key, value in values.items():
        if key not in KEYS:
            raise ConfigError(
                f"{path}: there is no key {key!r}",
                hint=f"Known: {', '.join(KEYS)}. Run: myvlm config unset {quote(key)}",
            )
        if not KEYS[key].accepts(value):
            raise ConfigError(
                f"{path}: {key} must be {KEYS[key].expected}, not {value!r}",
                hint=f"Run: myvlm config set {key} VALUE, or myvlm config unset {key}",
            )
    return values


def check_key(key: str) -> Key:
    """Return the key of a name.

    Raises:
        UsageError: there is none; the hint lists all.
    """
    if key not in KEYS:
        raise UsageError(f"there is no key {key!r}", hint=f"Known: {', '.join(KEYS)}.")
    return KEYS[key]


def parse_value(key: str, text: str) -> Value:
    """Read the value of a key as a user types it: "true" and "false" for truth values, folders from the current one.

    Raises:
        UsageError: the key is unknown, or does not take the value.
    """
    known = check_key(key)
    value: Value = text
    if isinstance(known.built_in, bool) and text in ("true", "false"):
        value = text == "true"
    elif known.accepts is _is_folder:
        value = str(Path(text).expanduser().absolute())
    if not known.accepts(value):
        raise UsageError(f"{key} must be {known.expected}, not {text!r}", hint="See: myvlm config --help")
    return value


def write_value(folder: Path, key: str, value: Value) -> Path:
    """Set a key in `config.toml` and return the file's path; the folder and the file are made where they are missing.

    Raises:
        UsageError: the key is unknown, or does not take the value.
        ConfigError: the file cannot be read or written.
    """
    known = check_key(key)
    if not known.accepts(value):
        raise UsageError(f"{key} must be {known.expected}, not {value!r}", hint="See: myvlm config --help")
    document = _parse(config_path(folder))
    document[key] = value
    return _write(folder, document)


def remove_value(folder: Path, key: str) -> bool:
    """Remove a key from `config.toml`, also one that is unknown; return whether it was there.

    Raises:
        UsageError: the key is unknown, and the file does not have it.
        ConfigError: the file cannot be read or written.
    """
    document = _parse(config_path(folder))
    if key not in document:
        check_key(key)
        return False
    del document[key]
    _write(folder, document)
    return True


def _read(path: Path) -> tuple[str, dict[str, Value]]:
    """Return the text of `config.toml` and its unchecked values; ("", {}) where there is no such file.

    Raises:
        ConfigError: the file cannot be read, or is not TOML.
    """
    import tomllib

    try:
        text = read_text(path, LARGEST_DOCUMENT)
        return text, tomllib.loads(text)
    except FileNotFoundError:
        return "", {}
    except (OSError, ValueError) as err:  # tomllib.TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise ConfigError(
            f"{path} cannot be read: {first_line(err)}", hint="Correct the file, or move it away to use no defaults."
        ) from err


def _parse(path: Path) -> "TOMLDocument":
    """Parse `config.toml` for a change; a new document has a comment that says what it is.

    Raises:
        ConfigError: the file cannot be read, or is not TOML.
    """
    import tomlkit

    text, _ = _read(path)
    return tomlkit.parse(text or f"{_HEADER}\n")


def _write(folder: Path, document: "TOMLDocument") -> Path:
    """Write `config.toml` whole, readable by its owner only; a link to a file elsewhere stays a link.

    Raises:
        ConfigError: it cannot be written.
    """
    import tomlkit

    path = config_path(folder)
    try:
        make_private_folder(folder)
        write_private(path.resolve(), tomlkit.dumps(document).encode())
    except OSError as err:
        raise ConfigError(f"{path} cannot be written: {first_line(err)}", hint="See: myvlm doctor") from err
    return path
