"""How every command is registered and read: shared options, checks before anything is loaded, suggestions, help."""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from engine.core.errors import UsageError
from myvlm_cli.output import out

if TYPE_CHECKING:
    from typer._click.formatting import HelpFormatter

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
"""What other programs call some commands."""
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only warnings and errors on stderr.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print more on stderr.")]
Function = Callable[..., None]


class Command(TyperCommand):
    """A command that refuses at once what can be refused at once."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override] # vendored click
        """Read the command line.

        Raises:
            UsageError: an empty value; --json together with --jsonl.
        """
        if not ctx.resilient_parsing:
            refuse_empty_values(self, ctx, args)
        rest = super().parse_args(ctx, args)
        if ctx.params.get("json") and ctx.params.get("jsonl"):
            raise UsageError("--json and --jsonl exclude each other", hint="Use one of them.")
        return rest

    def format_options(self, ctx: typer.Context, formatter: "HelpFormatter") -> None:  # type: ignore[override]
        """Write arguments, options, and the sections of options that few need."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):  # type: ignore[arg-type] # vendored click
            record = parameter.get_help_record(ctx)  # type: ignore[arg-type]
            if record is None:
                continue
            usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
            panel = getattr(parameter, "rich_help_panel", None)
            sections.setdefault(panel if isinstance(panel, str) else usual, []).append(record)
        for title, rows in sections.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


class Group(TyperGroup):
    """A group of commands: help by sections, and suggestions for commands that do not exist."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override] # vendored click
        """Read the command line up to the subcommand.

        Raises:
            UsageError: an empty value.
        """
        if not ctx.resilient_parsing:
            refuse_empty_values(self, ctx, args)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> Any:  # type: ignore[override] # vendored click
        """Find the subcommand.

        Raises:
            UsageError: there is none of that name; the hint says what may have been meant.
        """
        name = args[0]
        if not ctx.resilient_parsing and not name.startswith("-") and self.get_command(ctx, name) is None:
            raise UsageError(f"there is no command '{ctx.command_path} {name}'", hint=suggest_command(ctx, name))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: typer.Context, formatter: "HelpFormatter") -> None:  # type: ignore[override]
        """Write the commands with their summaries, uncut, by section."""
        commands = [(n, self.get_command(ctx, n)) for n in self.list_commands(ctx)]
        shown = [(n, c) for n, c in commands if c is not None and not c.hidden]
        width = max((len(n) for n, _ in shown), default=0)
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, command in shown:
            title = getattr(command, "rich_help_panel", None)
            section = sections.setdefault(title if isinstance(title, str) else "Commands", [])
            section.append((name.ljust(width), command.get_short_help_str(1000)))
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)


class App(typer.Typer):
    """A Typer application whose commands are all `Command`s and take -q and -v."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"cls": Group, "rich_markup_mode": None, **settings})

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Function], Function]:  # type: ignore[override]
        """Register a command."""
        register = super().command(name, **{"cls": Command, **settings})
        return functools.partial(_register, register)

    def callback(self, **settings: Any) -> Callable[[Function], Function]:  # type: ignore[override]
        """Register what runs before every command."""
        return functools.partial(_register, super().callback(**settings))


def _register(register: Callable[[Function], Any], function: Function) -> Function:
    register(with_verbosity(function))
    return function


def with_verbosity(function: Function) -> Function:
    """The function with -q and -v; those after a subcommand count before those before it."""

    @functools.wraps(function)
    def run(*args: Any, quiet: bool = False, verbose: bool = False, **options: Any) -> None:
        if quiet and verbose:
            raise UsageError("--quiet and --verbose exclude each other", hint="Use one of them.")
        if quiet or verbose:
            out.settings.quiet, out.settings.verbose = quiet, verbose
        function(*args, **options)

    own = inspect.signature(function)
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = {"quiet": Quiet, "verbose": Verbose}
    parameters = [inspect.Parameter(n, keyword, default=False, annotation=a) for n, a in added.items()]
    run.__signature__ = own.replace(parameters=[*own.parameters.values(), *parameters])  # type: ignore[attr-defined]
    run.__annotations__ = {**function.__annotations__, **added}
    return run


def refuse_empty_values(command: TyperCommand | TyperGroup, ctx: typer.Context, args: Sequence[str]) -> None:
    """Refuse an empty or blank value of any argument or option: a script's variable that is not set is one, and as a
    path it would be the current folder.

    Raises:
        UsageError: there is one.
    """
    if not any(not a.strip() or a.endswith("=") for a in args):
        return
    given, _, _ = command.make_parser(ctx).parse_args(list(args))  # type: ignore[arg-type] # vendored click
    if given.get("help"):
        return
    for parameter in command.get_params(ctx):  # type: ignore[arg-type] # vendored click
        for text in _texts(given.get(parameter.name)):
            if not text.strip():
                raise UsageError(
                    f"{_label(parameter)} is empty", hint="Give it a value, or leave it out. Is a variable not set?"
                )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)


def _label(parameter: Any) -> str:
    if parameter.param_type_name == "option":
        return str(max(parameter.opts, key=len))
    return (parameter.metavar or parameter.name.upper()).strip("[].")


def suggest_command(ctx: typer.Context, wanted: str) -> str:
    """What to do about a command that does not exist: the commands that may have been meant, here or elsewhere."""
    known: dict[str, str] = {}
    outer: Any = ctx
    while outer is not None:
        commands = getattr(outer.command, "commands", {})
        for name, command in commands.items():
            known.setdefault(name, f"{outer.command_path} {name}")
            for inner in getattr(command, "commands", {}):
                known.setdefault(inner, f"{outer.command_path} {name} {inner}")
        outer = outer.parent
    lower = wanted.lower()
    names = [n for n in _MEANT.get(lower, "").split() if n in known]
    names += [n for n in get_close_matches(lower, known, n=2, cutoff=0.7) if n not in names]
    names += [n for n in known if len(lower) > 2 and n.startswith(lower) and n not in names]
    if names:
        return f"Did you mean: {' or '.join(known[n] for n in names[:3])}?"
    if ctx.parent is None and Path(wanted).exists():
        return f"Did you mean: {ctx.command_path} caption {wanted}?"
    return f"See: {ctx.command_path} --help"


def suggest_option(ctx: Any, wanted: str) -> str:
    """What to do about an option that does not exist."""
    if ctx is None:
        return ""
    known = [o for p in ctx.command.get_params(ctx) for o in (*p.opts, *p.secondary_opts) if o.startswith("--")]
    near = get_close_matches(wanted, known, n=2, cutoff=0.7)
    near += [o for o in known if len(wanted) > 3 and o.startswith(wanted) and o not in near]
    if near:
        return f"Did you mean: {' or '.join(near[:3])}?"
    return f"See: {ctx.command_path} --help"
