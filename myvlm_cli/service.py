"""`myvlm service`: print what keeps `myvlm caption --watch` running, for systemd or launchd."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from engine.core.errors import UsageError
from myvlm_cli import options as o
from myvlm_cli.caption import check_concepts
from myvlm_cli.caption_choice import CaptionChoice, Speak, WatchChoice, refuse_files
from myvlm_cli.given import find_missing
from myvlm_cli.output import out, path_text
from myvlm_cli.parameters import Without, option_words
from myvlm_cli.sidecar_choice import SidecarChoice

Kind = Annotated[
    Literal["systemd", "launchd"] | None,
    typer.Option("--kind", help="For systemd (Linux) or launchd (macOS). Default: that of this machine."),
]


@dataclass(frozen=True)
class _Speaking:
    """How the VLM is told of concepts, as a group of one option."""

    speak: Speak = None


def service(
    *,
    kind: Kind = None,
    photos: Annotated[o.PhotoSelection, Without("files_from", "null")],
    watch: Annotated[WatchChoice, Without("watch")],
    concepts: o.ConceptChoice,
    form: CaptionChoice,
    sidecars: SidecarChoice,
    models: o.DecodingModelChoice,
    speaking: _Speaking,
) -> None:
    """Print a service that captions photos as they arrive, for systemd (Linux) or launchd (macOS).

    It runs `myvlm caption --watch` with the given folders and options, at low priority, from login on. Nothing is
    installed: save it where the messages say.

    Example: myvlm service ~/Pictures > ~/.config/systemd/user/myvlm.service
    """
    from engine.setup.service import Service, current_environment, launchd_plist, systemd_unit, this_command

    check_concepts(concepts)
    folders = _check_folders(photos.paths or ())
    models = replace(models, vlm=_absolute_vlm(models.vlm))
    groups = (concepts, replace(photos, paths=None), watch, form, sidecars, models, speaking)
    words = [word for group in groups for word in option_words(group)]
    command = (*this_command(), "caption", "--watch", *words, *map(str, folders))
    made = Service(command, current_environment())
    if (kind or ("launchd" if sys.platform == "darwin" else "systemd")) == "systemd":
        out.block(systemd_unit(made, needs_network=_uses_server(models)).rstrip("\n"))
        _tell_systemd()
    else:
        out.block(launchd_plist(made, Path.home() / "Library" / "Logs" / "myvlm.log").rstrip("\n"))
        _tell_launchd()


def _check_folders(paths: Sequence[Path]) -> list[Path]:
    """Return the absolute paths of the folders.

    Raises:
        UsageError: there is none, one does not exist, or one is a file.
    """
    if not paths:
        raise UsageError("no folder given", hint="Example: myvlm service ~/Pictures")
    missing = find_missing(paths)
    if missing:
        raise UsageError(f"{path_text(missing[0])}: no such folder", hint="Check the path.")
    refuse_files(paths)
    return [path.absolute() for path in paths]


def _absolute_vlm(vlm: str | None) -> str | None:
    """Return a VLM that is given as a folder by its absolute path: a service starts in another folder."""
    return str(Path(vlm).expanduser().absolute()) if vlm and Path(vlm).expanduser().is_dir() else vlm


def _uses_server(models: o.ModelChoice) -> bool:
    """Return whether the VLM in use runs in a server."""
    session = models.open_session(create=False)
    return session.has_vlm and session.vlm_config.server is not None


def _tell_systemd() -> None:
    from engine.setup.service import UNIT

    place = Path("~/.config/systemd/user") / UNIT
    _tell(
        f"Save it: run this command again with > {place} at its end",
        f"Start it, now and at each login: systemctl --user daemon-reload && systemctl --user enable --now {UNIT}",
        "Without a login, too: loginctl enable-linger",
        f"See what it does: journalctl --user -u {UNIT} -f",
        f"Remove it: systemctl --user disable --now {UNIT} && rm {place}",
    )


def _tell_launchd() -> None:
    from engine.setup.service import LABEL

    place = f"~/Library/LaunchAgents/{LABEL}.plist"
    _tell(
        f"Save it: run this command again with > {place} at its end",
        f"Start it, now and at each login: launchctl bootstrap gui/$(id -u) {place}",
        "macOS may ask whether Python may read the folder.",
        "See what it does: tail -f ~/Library/Logs/myvlm.log",
        f"Remove it: launchctl bootout gui/$(id -u)/{LABEL} && rm {place}",
    )


def _tell(*lines: str) -> None:
    for line in lines:
        out.say(line)
