"""Write the files made from the code: the command reference `myvlm_cli/README.md`, and shell completions.

Run `python -m myvlm_cli.generate` after changing a command; the tests fail while they are stale.
"""

from pathlib import Path

from myvlm_cli.command_reference import anchor, load_pages, render_commands, render_overview

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "myvlm_cli" / "README.md"
SECTIONS = ROOT / "myvlm_cli" / "reference"
"""Hand-written sections of the command reference, each a Markdown file with one `##` heading, joined in the order of
their file names.
"""
_COMPLETIONS = {"bash": "myvlm.bash", "zsh": "_myvlm", "fish": "myvlm.fish"}
_COMMANDS, _GLOSSARY = "Commands", "Glossary"
_INTRODUCTION = """\
<!-- Written by `python -m myvlm_cli.generate`. Edit the help texts in myvlm_cli/*.py or the sections in \
myvlm_cli/reference/. -->
# Command reference

Every command of `myvlm`, and how the commands work together. `myvlm COMMAND --help` prints the same for one command.
New here? Begin with the [README](../README.md).
"""


def render_completion(shell: str) -> str:
    """Render the completion script of a shell."""
    from typer._completion_shared import get_completion_script

    return get_completion_script(prog_name="myvlm", complete_var="_MYVLM_COMPLETE", shell=shell).rstrip() + "\n"


def render_reference() -> str:
    """Render the command reference: contents, overview, hand-written sections, every command, glossary."""
    pages = load_pages()
    sections = [p.read_text("utf-8") for p in sorted(SECTIONS.glob("*.md"))]
    by_title = {s.splitlines()[0].removeprefix("## "): s.strip() + "\n" for s in sections}
    glossary = by_title.pop(_GLOSSARY)
    commands = f"## {_COMMANDS}\n\n{render_commands(pages)}"
    contents = "\n".join(f"* [{title}](#{anchor(title)})" for title in [*by_title, _COMMANDS, _GLOSSARY])
    return "\n".join([_INTRODUCTION, contents + "\n", render_overview(pages), *by_title.values(), commands, glossary])


def render_all() -> dict[Path, str]:
    """Render every generated file; the texts by path."""
    completions = {ROOT / "completions" / name: render_completion(shell) for shell, name in _COMPLETIONS.items()}
    return completions | {REFERENCE: render_reference()}


def main() -> None:
    """Write every generated file."""
    for path, text in render_all().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
