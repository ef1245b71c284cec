"""The `myvlm` command: parse, call one engine function, print."""

import signal
import sys
from types import FrameType
from typing import Annotated, NoReturn

import typer

from engine import __version__
from engine.config import stay_offline
from engine.errors import EngineError
from myvlm_cli import (
    add_concept,
    ask,
    calibrate,
    caption,
    concepts,
    decide,
    demo,
    doctor,
    evaluate,
    history,
    locate,
    models,
    review,
    scan,
    train,
)
from myvlm_cli.errors import INTERRUPTED, exit_code
from myvlm_cli.output import out

app = typer.Typer(
    name="myvlm",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        out.text(f"myvlm {__version__}")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing on stderr but warnings and errors.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more on stderr.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Captions, answers and boxes for your photos, with the names of your people, pets and things.

    Everything stays on this machine. Photo files are never changed; results go to sidecar files.
    """
    out.settings.quiet, out.settings.verbose = quiet, verbose
    if context.invoked_subcommand != "models":  # its `pull` is the one command that uses the network
        stay_offline()


app.command("add-concept")(add_concept.add_concept)
app.command("train")(train.train)
app.command("scan")(scan.scan)
app.command("calibrate")(calibrate.calibrate)
app.command("caption")(caption.caption)
app.command("ask")(ask.ask)
app.command("locate")(locate.locate)
app.command("confirm")(decide.confirm)
app.command("reject")(decide.reject)
app.command("review")(review.review)
app.command("status")(history.status)
app.command("runs")(history.runs)
app.command("undo")(history.undo)
app.command("forget")(concepts.forget)
app.add_typer(concepts.app, name="concepts")
app.add_typer(models.app, name="models")
app.command("doctor")(doctor.doctor)
app.command("demo")(demo.demo)
app.command("evaluate")(evaluate.evaluate)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(INTERRUPTED if number == signal.SIGINT else 128 + number)


def main() -> None:
    """Run the command line; the only place that turns errors into exit codes."""
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
    except EngineError as err:
        out.fail(err)
        sys.exit(exit_code(err))
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(128 + signal.SIGPIPE)


if __name__ == "__main__":
    main()
