"""Groups of options: dataclasses as parameters of commands."""

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from myvlm_cli.commands import App
from myvlm_cli.parameters import Without, spread_groups


@dataclass(frozen=True)
class Size:
    path: Annotated[str, typer.Argument()]
    width: Annotated[int, typer.Option("--width", min=1, help="In pixels.")] = 3
    tall: Annotated[bool, typer.Option("--tall", rich_help_panel="More")] = False


def run(command, *arguments):
    app = App()
    app.command("one")(command)
    app.command("other")(lambda: None)
    return app, CliRunner().invoke(app, ["one", *arguments])


def test_a_command_gets_the_group_with_its_defaults_and_other_parameters():
    seen = []

    def command(*, before: int = 1, size: Size, after: str = "x"):
        seen.append((before, size, after))

    assert run(command, "a")[1].exit_code == 0
    assert run(command, "--width", "5", "b", "--tall", "--after", "y")[1].exit_code == 0
    assert seen == [(1, Size("a"), "x"), (1, Size("b", 5, True), "y")]


def test_options_keep_their_order_checks_and_help():
    def command(*, before: int = 1, size: Size, after: str = "x"):
        """Do it."""

    app, result = run(command, "a", "--width", "0")
    assert result.exit_code == 2
    names = [p.name for p in get_command(app).commands["one"].params]
    assert names == ["before", "path", "width", "tall", "after", "quiet", "verbose"]
    text = run(command, "--help")[1].output
    assert "Do it." in text
    assert "In pixels." in text.split("More:")[0]
    assert "--tall" in text.split("More:")[1]


def test_a_command_may_leave_options_out():
    seen = []

    def command(*, size: Annotated[Size, Without("width", "tall")]):
        seen.append(size)

    assert run(command, "a")[1].exit_code == 0
    assert run(command, "a", "--width", "5")[1].exit_code == 2
    assert seen == [Size("a")]


def test_an_option_that_the_group_does_not_have_cannot_be_left_out():
    def command(*, size: Annotated[Size, Without("depth")]):
        pass

    with pytest.raises(TypeError, match="Size has no depth"):
        spread_groups(command)
