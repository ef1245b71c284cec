"""Resolve settings in one order: option > `config.toml` > what is on this disk and fits > built in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from engine.core.config_file import KEYS, Value, config_path, parse_value, write_value
from engine.core.errors import ConfigError, UsageError
from engine.vision.config import DEFAULT_RECOGNISER, find_recogniser
from engine.vlms.config import VlmConfig, find_config
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
    """Resolve a setting that depends on nothing but the option and the values of `config.toml`.

    option: None where the option was not given.
    """
    if option is not None:
        return Setting(key, option, Origin.OPTION)
    if key in config:
        return Setting(key, config[key], Origin.CONFIG)
    return Setting(key, KEYS[key].built_in, Origin.BUILT_IN)


def choose_vlm(option: str | None, config: Mapping[str, Value], find_best: Callable[[], VlmConfig | None]) -> Setting:
    """Resolve the VLM: the name that was chosen, else the best on this disk that fits, else none.

    find_best: finds the latter; it is only called where nothing was chosen, because it may have to look at the GPU.
    """
    chosen = choose("vlm", option, config)
    if chosen.value is not None:
        return chosen
    best = find_best()
    return Setting("vlm", best.name, Origin.ON_DISK) if best else Setting("vlm", NO_VLM, Origin.BUILT_IN)


def choose_recogniser(option: str | None, config: Mapping[str, Value], vlm: VlmConfig | None) -> Setting:
    """Resolve the recogniser: the one that was chosen, else the one that belongs to the chosen VLM, else the built-in.

    vlm: the VLM that an option or `config.toml` names; None where neither does.
    """
    chosen = choose("recogniser", option, config)
    if chosen.value is not None:
        return chosen
    if vlm is not None and vlm.recogniser is not None:
        return Setting("recogniser", vlm.recogniser, Origin.VLM)
    return Setting("recogniser", DEFAULT_RECOGNISER, Origin.BUILT_IN)


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
