"""Suggest commands and options that the user may have meant."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typer._click.core import Command, Context

_MEANT = {
    "rm": "forget remove",
    "remove": "forget",
    "delete": "forget",
    "del": "forget",
    "purge": "forget",
    "ls": "list",
    "mv": "rename",
    "join": "merge",
    "add": "add-concept",
    "new": "add-concept",
    "enrol": "add-concept",
    "enroll": "add-concept",
    "learn": "train",
    "teach": "train",
    "index": "scan",
    "describe": "caption",
    "tag": "caption",
    "find": "locate",
    "where": "locate",
    "log": "runs",
    "history": "runs",
    "revert": "undo",
    "restore": "undo",
    "rollback": "undo",
    "check": "doctor",
    "info": "show",
    "download": "pull",
    "fetch": "pull",
    "install": "pull",
    "get": "pull",
    "yes": "confirm",
    "no": "reject",
    "benchmark": "evaluate",
    "example": "demo",
    "try": "demo",
}
"""Names that other programs use for some commands."""


def suggest_command(ctx: "Context", wanted: str) -> str:
    """Say what to do about an unknown command: the commands that may have been meant, in this group or another."""
    paths: dict[str, str] = {}
    for name, path in _list_commands(ctx):
        paths.setdefault(name, path)
    lower = wanted.lower()
    names = [n for n in _MEANT.get(lower, "").split() if n in paths]
    names += [n for n in get_close_matches(lower, paths, n=2, cutoff=0.7) if n not in names]
    names += [n for n in paths if len(lower) > 2 and n.startswith(lower) and n not in names]
    if names:
        return f"Did you mean: {' or '.join(paths[n] for n in names[:3])}?"
    if ctx.parent is None and Path(wanted).exists():
        return f"Did you mean: {ctx.command_path} caption {wanted}?"
    return f"See: {ctx.command_path} --help"


def _list_commands(ctx: "Context") -> Iterator[tuple[str, str]]:
    """List commands and their subcommands with their full paths, those of the nearest group first."""
    for name, command in _subcommands(ctx.command if ctx.parent else _all_commands()).items():
        yield name, f"{ctx.command_path} {name}"
        for inner in _subcommands(command):
            yield inner, f"{ctx.command_path} {name} {inner}"
    if ctx.parent is not None:
        yield from _list_commands(ctx.parent)


def _all_commands() -> "Command":
    """Return the whole command line, of which only the command that runs is loaded otherwise."""
    from typer.main import get_command

    from myvlm_cli.main import make_app

    return get_command(make_app())


def _subcommands(command: "Command") -> "Mapping[str, Command]":
    from typer.core import TyperGroup

    return command.commands if isinstance(command, TyperGroup) else {}


def suggest_option(ctx: "Context | None", wanted: str) -> str:
    """Say what to do about an unknown option: the options of the command that may have been meant."""
    if ctx is None:
        return ""
    options = [o for p in ctx.command.get_params(ctx) for o in (*p.opts, *p.secondary_opts) if o.startswith("--")]
    near = get_close_matches(wanted, options, n=2, cutoff=0.7)
    near += [o for o in options if len(wanted) > 3 and o.startswith(wanted) and o not in near]
    if near:
        return f"Did you mean: {' or '.join(near[:3])}?"
    return f"See: {ctx.command_path} --help"
