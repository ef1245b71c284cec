"""Resolve settings in one order: option > `config.toml` > what is on this disk and fits > built in.

`choose` is the rule for all settings. What the VLM and the recogniser depend on besides is in `engine.chosen_models`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from engine.core.config_file import KEYS, Value, config_path, parse_value, write_value
from engine.core.errors import ConfigError, UsageError
from engine.vision.config import find_recogniser
from engine.vlms.find import find_config
from engine.vlms.registry import NO_VLM


class Origin(StrEnum):
    """Where a setting's value comes from. `text` is the phrase for each code, in `_TEXTS`."""

    OPTION = "option"
    CONFIG = "config"
    VLM = "vlm"
    ON_DISK = "on-disk"
    BUILT_IN = "built-in"

    @property
    def text(self) -> str:
        """The phrase that is printed."""
        return _TEXTS[self]


_TEXTS = {
    Origin.OPTION: "option",
    Origin.CONFIG: "config.toml",
    Origin.VLM: "belongs to the VLM",
    Origin.ON_DISK: "on this disk, and fits",
    Origin.BUILT_IN: "built in",
}


@dataclass(frozen=True)
class Setting:
    """A setting's value, and where it comes from. value: None where nothing is set and nothing is built in."""

    key: str
    value: Value | None
    origin: Origin


def choose(key: str, option: Value | None, config: Mapping[str, Value]) -> Setting:
    """Resolve a setting from an option, the values of `config.toml`, and what is built in, if anything is.

    option: None where the option was not given.
    """
    if option is not None:
        return Setting(key, option, Origin.OPTION)
    if key in config:
        return Setting(key, config[key], Origin.CONFIG)
    return Setting(key, KEYS[key].built_in, Origin.BUILT_IN)


def set_default(folder: Path, key: str, value: Value) -> Setting:
    """Set a default in `config.toml` of a data folder, and return it as it is stored: folders by their full path.

    value: texts are read as a user types them ("true").

    Raises:
        UsageError: the key is unknown, it does not take the value, or there is no such VLM or recogniser.
        ConfigError: the file cannot be read or written.
    """
    if isinstance(value, str):
        value = _complete(key, parse_value(key, value))
    write_value(folder, key, value)
    return Setting(key, value, Origin.CONFIG)


def _complete(key: str, value: Value) -> Value:
    """Check that there is a VLM or recogniser of a name.

    Raises:
        UsageError: there is none.
    """
    if key == "vlm" and value != NO_VLM:
        config = find_config(str(value))
        return config.repo_id + config.variant if Path(config.repo_id).is_absolute() else value
    if key == "recogniser":
        find_recogniser(str(value))
    return value


def name_the_file(folder: Path, setting: Setting, err: UsageError) -> UsageError | ConfigError:
    """Return the error to raise where a setting's value is refused; where it comes from `config.toml`, name that."""
    if setting.origin is not Origin.CONFIG:
        return err
    return ConfigError(f"{config_path(folder)}: {setting.key}: {err}", hint=err.hint)
