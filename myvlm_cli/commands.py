"""Register commands: what all commands share in parsing, checking and help."""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from engine.core.errors import UsageError
from myvlm_cli.output import out
from myvlm_cli.parameters import Function, spread_groups, with_parameters
from myvlm_cli.suggestions import suggest_command

if TYPE_CHECKING:
    from typer._click.core import Command as ClickCommand
    from typer._click.core import Context, Parameter
    from typer._click.formatting import HelpFormatter

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only warnings and errors on stderr.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print more details on stderr.")]
Rows = list[tuple[str, str]]


class Command(TyperCommand):
    """A command that refuses empty values, and --json together with --jsonl, before it loads anything."""

    def parse_args(self, ctx: "Context", args: list[str]) -> list[str]:
        """Read the command line.

        Raises:
            UsageError: a value is empty, or --json and --jsonl are given together.
        """
        if not ctx.resilient_parsing:
            refuse_empty_values(self, ctx, args)
        rest = super().parse_args(ctx, args)
        if ctx.params.get("json") and ctx.params.get("jsonl"):
            raise UsageError("--json and --jsonl exclude each other", hint="Use one of them.")
        return rest

    def format_options(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Write the arguments, the options, and then the options that have a section of their own."""
        sections: dict[str, Rows] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
                sections.setdefault(_panel(parameter) or usual, []).append(record)
        _write_sections(formatter, sections)


class Group(TyperGroup):
    """A group of commands whose help has sections, and which suggests a command for an unknown name."""

    def parse_args(self, ctx: "Context", args: list[str]) -> list[str]:
        """Read the command line up to the subcommand.

        Raises:
            UsageError: a value is empty.
        """
        if not ctx.resilient_parsing:
            refuse_empty_values(self, ctx, args)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: "Context", args: list[str]) -> "tuple[str | None, ClickCommand | None, list[str]]":
        """Find the subcommand.

        Raises:
            UsageError: there is no subcommand of this name; the hint suggests others.
        """
        name = args[0]
        if not ctx.resilient_parsing and not name.startswith("-") and self.get_command(ctx, name) is None:
            raise UsageError(f"there is no command '{ctx.command_path} {name}'", hint=suggest_command(ctx, name))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Write the commands with their full summaries, by section."""
        commands = [(n, self.get_command(ctx, n)) for n in self.list_commands(ctx)]
        shown = [(n, c) for n, c in commands if c is not None and not c.hidden]
        width = max((len(n) for n, _ in shown), default=0)
        sections: dict[str, Rows] = {}
        for name, command in shown:
            section = sections.setdefault(_panel(command) or "Commands", [])
            section.append((name.ljust(width), command.get_short_help_str(1000)))
        _write_sections(formatter, sections)


def _panel(item: "ClickCommand | Parameter") -> str:
    """Return the help section that a command or option asks for; "" for the usual one."""
    if not isinstance(item, TyperCommand | TyperGroup | TyperOption | TyperArgument):
        return ""
    panel = item.rich_help_panel
    return panel if isinstance(panel, str) else ""  # Typer marks "not set" with a value that is not a string


def _write_sections(formatter: "HelpFormatter", sections: dict[str, Rows]) -> None:
    for title, rows in sections.items():
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)


class App(typer.Typer):
    """A Typer application whose commands are `Command`s, take groups of options, and have -q and -v."""

    def __init__(self, *, no_args_is_help: bool = False, invoke_without_command: bool = False) -> None:
        super().__init__(
            cls=Group,
            no_args_is_help=no_args_is_help,
            invoke_without_command=invoke_without_command,
            context_settings={"help_option_names": ["-h", "--help"]},
            rich_markup_mode=None,
            pretty_exceptions_enable=False,
        )

    def command(  # type: ignore[override] # takes only those of Typer's settings that are used here
        self,
        name: str | None = None,
        *,
        help: str | None = None,
        short_help: str | None = None,
        rich_help_panel: str | None = None,
    ) -> Callable[[Function], Function]:
        """Register a command; see `typer.Typer.command`."""
        register = super().command(name, cls=Command, help=help, short_help=short_help, rich_help_panel=rich_help_panel)
        return functools.partial(_register, register)

    def callback(self) -> Callable[[Function], Function]:  # type: ignore[override] # as above
        """Register what runs before every command; see `typer.Typer.callback`."""
        return functools.partial(_register, super().callback())


def _register(register: Callable[[Function], Function], function: Function) -> Function:
    register(with_verbosity(spread_groups(function)))
    return function


def with_verbosity(function: Function) -> Function:
    """Add -q and -v to a command. Given after a subcommand, they replace those given before it."""

    @functools.wraps(function)
    def run(*, quiet: bool = False, verbose: bool = False, **options: object) -> None:
        if quiet and verbose:
            raise UsageError("--quiet and --verbose exclude each other", hint="Use one of them.")
        if quiet or verbose:
            out.settings.quiet, out.settings.verbose = quiet, verbose
        function(**options)

    keyword = inspect.Parameter.KEYWORD_ONLY
    added = {"quiet": Quiet, "verbose": Verbose}
    parameters = [inspect.Parameter(n, keyword, default=False, annotation=a) for n, a in added.items()]
    return with_parameters(run, [*inspect.signature(function).parameters.values(), *parameters])


def refuse_empty_values(command: TyperCommand | TyperGroup, ctx: "Context", args: Sequence[str]) -> None:
    """Refuse an empty or blank value of any argument or option.

    Such a value usually comes from a script's variable that is not set; as a path it would mean the current folder.

    Raises:
        UsageError: a value is empty.
    """
    if not any(not a.strip() or a.endswith("=") for a in args):
        return
    values, _, _ = command.make_parser(ctx).parse_args(list(args))
    if values.get("help"):
        return
    for parameter in command.get_params(ctx):
        for text in _texts(values.get(parameter.name)):
            if not text.strip():
                raise UsageError(
                    f"{_label(parameter)} is empty", hint="Give it a value, or leave it out. Is a variable not set?"
                )


def _texts(value: object) -> Iterator[str]:
    """List the texts in a value as the parser returns it, which may be nested in lists."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)


def _label(parameter: "Parameter") -> str:
    """Return what the help calls a parameter: the long name of an option, the metavar of an argument."""
    if parameter.param_type_name == "option":
        return max(parameter.opts, key=len)
    return (parameter.metavar or parameter.name.upper()).strip("[].")
