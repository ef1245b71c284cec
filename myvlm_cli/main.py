"""The `myvlm` command: its main help, its list of commands, and the one place that turns errors into exit codes."""

import os
import signal
import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from types import FrameType
from typing import Annotated, NoReturn

import typer
from typer._click.exceptions import ClickException, NoArgsIsHelpError, NoSuchOption
from typer._click.exceptions import UsageError as CommandLineError

from engine import __version__
from engine.core.cpu import let_idle_threads_sleep
from engine.core.errors import EngineError, is_out_of_memory
from engine.core.paths import stay_offline
from myvlm_cli.commands import App
from myvlm_cli.errors import INTERRUPTED, SOME_FAILED, exit_code
from myvlm_cli.output import out
from myvlm_cli.streams import guarded_streams
from myvlm_cli.suggestions import suggest_option


def _print_version(wanted: bool) -> None:
    if wanted:
        out.text(f"myvlm {__version__}")
        raise typer.Exit


def _common(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Captions, answers and boxes for your photos, with the names of your people, pets and things.

    Everything stays on this machine, unless you type --allow-remote or --cluster. Photo files are never changed;
    results go to sidecar files.
    """
    if context.invoked_subcommand not in ("models", "setup"):  # these use the network, and decide so themselves
        stay_offline()
        let_idle_threads_sleep()


_CONCEPTS, _PHOTOS, _SUGGESTIONS = "Concepts", "Photos", "Suggestions"
_SIDECARS, _MACHINE = "Sidecars", "This machine"
_COMMANDS = (
    (_CONCEPTS, "add-concept", "add_concept:add_concept", "Enrol a person, pet or thing from photos"),
    (_CONCEPTS, "train", "train:train", "Use a concept's name in captions"),
    (_CONCEPTS, "people", "people:people", "Name those who have no name yet"),
    (_CONCEPTS, "concepts", "concepts:app", "List, show, rename and merge concepts"),
    (_CONCEPTS, "forget", "forget:forget", "Delete a concept"),
    (_PHOTOS, "caption", "caption:caption", "Caption photos and write sidecar files"),
    (_PHOTOS, "ask", "ask:ask", "Ask a question about photos"),
    (_PHOTOS, "locate", "locate:locate", "Find where a concept is in photos"),
    (_PHOTOS, "search", "search:search", "Find photos by names, words, dates, places"),
    (_PHOTOS, "summary", "summary:summary", "Show what is known of a library"),
    (_PHOTOS, "scan", "scan:scan", "Index photos for future concepts"),
    (_PHOTOS, "calibrate", "calibrate:calibrate", "Calibrate thresholds on your own photos"),
    (_SUGGESTIONS, "review", "review:review", "List suggestions to confirm or reject"),
    (_SUGGESTIONS, "confirm", "decide:confirm", "Confirm that a concept is in a photo"),
    (_SUGGESTIONS, "reject", "decide:reject", "Record that a concept is not in a photo"),
    (_SIDECARS, "status", "status:status", "Show which photos need captioning"),
    (_SIDECARS, "runs", "runs:runs", "List the runs that wrote sidecars"),
    (_SIDECARS, "undo", "runs:undo", "Undo a run"),
    (_MACHINE, "setup", "setup:setup", "Choose and fetch models for this machine"),
    (_MACHINE, "doctor", "doctor:doctor", "Check this machine and suggest fixes"),
    (_MACHINE, "config", "config:app", "List and set the defaults of options"),
    (_MACHINE, "models", "models:app", "List and download models"),
    (_MACHINE, "service", "service:service", "Print a service that captions new photos"),
    (_MACHINE, "demo", "demo:demo", "Try everything on drawn photos"),
    (_MACHINE, "evaluate", "evaluate:evaluate", "Measure recall, false names and more"),
)
"""Section of the main help, name, module with function or group, and summary (under 45 characters) of each command."""


@cache
def make_app(only: str | None = None) -> App:
    """Make the application with all commands, or with one, so that the modules of the others need not load."""
    made = App(no_args_is_help=True)
    made.callback()(_common)
    for section, name, place, summary in _COMMANDS:
        if only not in (None, name):
            continue
        module, attribute = place.split(":")
        command = getattr(import_module(f"myvlm_cli.{module}"), attribute)
        if isinstance(command, typer.Typer):
            made.add_typer(command, name=name, short_help=summary, rich_help_panel=section)
        else:
            made.command(name, short_help=summary, rich_help_panel=section)(command)
    return made


def _named_command(arguments: Sequence[str]) -> str | None:
    """Return the command that a command line names; None for the main help, completion and unknown commands."""
    if any(name.endswith("_COMPLETE") for name in os.environ):
        return None
    first = next(iter(arguments), "")
    return first if first in {name for _, name, _, _ in _COMMANDS} else None


def __getattr__(name: str) -> App:
    """Return `app`, the application with all commands."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return make_app()


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    out.interrupted = INTERRUPTED if number == signal.SIGINT else 128 + number
    raise SystemExit(out.interrupted)


def main() -> None:
    """Run the command line of this process, and exit with its exit code."""
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    out.begin(sys.argv[1:])
    with guarded_streams(out.lose):
        sys.exit(out.finish(_run()))


def _run() -> int:
    """Run a command, print what went wrong, and return the exit code."""
    try:
        code = make_app(_named_command(sys.argv[1:]))(prog_name="myvlm", standalone_mode=False)
    except EngineError as err:
        code = exit_code(err)
        out.fail(str(err), err.hint, code, type(err).__name__)
    except NoArgsIsHelpError as err:
        code = err.exit_code
        out.help(err.format_message())
    except ClickException as err:
        code = err.exit_code
        out.fail(*_words(err), code, "UsageError")
    except typer.Abort:
        code = SOME_FAILED
        out.fail("stopped; nothing was changed", "", code, "Abort")
    except Exception as err:  # torch, ONNX Runtime and Python each raise another type when out of memory
        if not is_out_of_memory(err):
            raise
        from engine.vlms.memory import memory_fault

        fault = memory_fault(err)
        code = exit_code(fault)
        out.fail(str(fault), fault.hint, code, type(fault).__name__)
    return code if isinstance(code, int) else 0


def _words(err: ClickException) -> tuple[str, str]:
    """Return what is wrong with the command line, and what to do about it."""
    context = err.ctx if isinstance(err, CommandLineError) else None
    if isinstance(err, NoSuchOption):
        return err.message, suggest_option(context, err.option_name)
    return err.format_message().replace("Value error, ", ""), f"See: {context.command_path} --help" if context else ""


if __name__ == "__main__":
    main()
