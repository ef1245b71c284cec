"""Write the unit of systemd (Linux) or the property list of launchd (macOS) that keeps a command of myvlm running."""

import os
import plistlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.core.errors import UsageError
from engine.core.paths import HOME_VARIABLE

_FOLDERS = (HOME_VARIABLE, "XDG_DATA_HOME", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE")
VARIABLES = (*_FOLDERS, "WATCHFILES_FORCE_POLLING")
"""Environment variables that decide where concepts and models are, and how folders are watched; a service has none."""
UNIT, LABEL = "myvlm.service", "local.myvlm"
_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-=,:+@~")
_SECONDS = 60
"""Seconds until a service that failed is started again, such as while a disk is not mounted."""


@dataclass(frozen=True)
class Service:
    """A command to keep running. command: its words; the first is an absolute path. environment: variables to set."""

    command: tuple[str, ...]
    environment: Mapping[str, str]


def this_command() -> tuple[str, ...]:
    """Return the words that start this myvlm: the script beside this Python, or Python with the module."""
    script = Path(sys.executable).with_name("myvlm")
    return (str(script),) if script.is_file() else (sys.executable, "-m", "myvlm_cli.main")


def current_environment() -> dict[str, str]:
    """Return the variables of `VARIABLES` that are set; folders as absolute paths: a service starts elsewhere."""
    variables = {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}
    folders = {name: str(Path(variables[name]).expanduser().absolute()) for name in _FOLDERS if name in variables}
    return variables | folders


def systemd_unit(service: Service, *, needs_network: bool) -> str:
    """Return a unit for `systemctl --user`. needs_network: whether the VLM runs in a server.

    For user units, `RestrictAddressFamilies` works by a filter of system calls and needs no rights; `PrivateNetwork`
    would need user namespaces, which hide the GPU's files from some drivers. The line is a comment, because it was not
    tried with GPUs.
    """
    first, *rest = service.command
    command = " ".join([quote_systemd(first), *(quote_systemd(word).replace("$", "$$") for word in rest)])
    environment = [f"Environment={quote_systemd(f'{k}={v}')}" for k, v in sorted(service.environment.items())]
    offline = (
        []
        if needs_network
        else [
            "# myvlm needs no network. To forbid it any (not tried with GPUs), remove the # of the next line:",
            "#RestrictAddressFamilies=AF_UNIX AF_NETLINK",
        ]
    )
    lines = [
        "[Unit]",
        "Description=myvlm captions photos as they arrive",
        "",
        "[Service]",
        f"ExecStart={command}",
        *environment,
        "Nice=10",
        "IOSchedulingClass=idle",
        "Restart=on-failure",
        f"RestartSec={_SECONDS}",
        "SuccessExitStatus=130 143",
        "# Captions are in the sidecars; the journal has one line a batch, and what failed.",
        "StandardOutput=null",
        "NoNewPrivileges=yes",
        *offline,
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    return "\n".join(lines) + "\n"


def quote_systemd(word: str) -> str:
    """Return a word as systemd reads it back (systemd.syntax(7), "Quoting"; systemd.unit(5), "Specifiers")."""
    quoted = "".join(map(_escape, word)).replace("%", "%%")
    return quoted if word and set(word) <= _SAFE else f'"{quoted}"'


def _escape(character: str) -> str:
    """Escape a character in a word of systemd; bytes that are not UTF-8 and control characters by their numbers."""
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))


def launchd_plist(service: Service, log: Path) -> str:
    """Return a property list for `launchctl bootstrap`. log: the file for messages.

    Raises:
        UsageError: a path has characters that a property list cannot hold.
    """
    facts = {
        "Label": LABEL,
        "ProgramArguments": list(service.command),
        "EnvironmentVariables": dict(service.environment),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": _SECONDS,
        "ProcessType": "Background",
        "LowPriorityIO": True,
        "Nice": 10,
        "StandardOutPath": os.devnull,
        "StandardErrorPath": str(log),
    }
    try:
        return plistlib.dumps(facts).decode()
    except (ValueError, UnicodeError) as err:
        raise UsageError(
            f"a path cannot be written into a property list: {err}", hint="Rename the folder, or link to it."
        ) from err
