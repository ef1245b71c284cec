"""Files made from the code: shell completions, and the help blocks of the README.

Run `python -m myvlm_cli.generate` after changing a command; the tests fail while they are stale.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_FILES = {"bash": "myvlm.bash", "zsh": "_myvlm", "fish": "myvlm.fish"}
_BLOCK = re.compile(r"(<!-- help: (?P<command>[^>]*?) -->\n```text\n).*?(```\n)", re.DOTALL)
_WIDTH = 100


def render_completion(shell: str) -> str:
    """The completion script of a shell."""
    from typer._completion_shared import get_completion_script

    return get_completion_script(prog_name="myvlm", complete_var="_MYVLM_COMPLETE", shell=shell).rstrip() + "\n"


def render_help(command: str) -> str:
    """What `myvlm COMMAND --help` prints, without the options that every command shares."""
    from typer.testing import CliRunner

    from myvlm_cli.main import app

    args = [*command.split()[1:], "--help"]
    result = CliRunner(env={"COLUMNS": str(_WIDTH), "TERMINAL_WIDTH": str(_WIDTH)}).invoke(app, args, prog_name="myvlm")
    return result.output.strip() + "\n"


def render_readme(text: str) -> str:
    """The README with its help blocks brought up to date."""
    return _BLOCK.sub(lambda m: m[1] + render_help(m["command"]) + m[3], text)


def render_all() -> dict[Path, str]:
    """Every generated file with what it should hold."""
    found = {ROOT / "completions" / name: render_completion(shell) for shell, name in _FILES.items()}
    readme = ROOT / "README.md"
    return found | {readme: render_readme(readme.read_text("utf-8"))}


def main() -> None:
    """Write every generated file."""
    for path, text in render_all().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
