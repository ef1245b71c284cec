"""The commands as Markdown, read from the Typer app: summary, help, examples, arguments, options and exit codes.

`myvlm_cli.generate` joins this with the hand-written sections in `myvlm_cli/reference/`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from inspect import cleandoc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typer._click.core import Command, Context

OWN_EXIT_CODES: dict[str, dict[int, str]] = {
    "myvlm add-concept": {1: "some of the given paths do not exist, or none of the photos can be used"},
    "myvlm train": {1: "some concepts could not be trained"},
    "myvlm forget": {1: "some sidecars could not be scrubbed, so the concept is kept; or you answered no"},
    "myvlm caption": {1: "some photos failed, or some of the given paths do not exist"},
    "myvlm ask": {1: "some photos failed, or some of the given paths do not exist"},
    "myvlm locate": {1: "some photos failed, or some of the given paths do not exist"},
    "myvlm search": {1: "nothing was found; with `--reindex`, some sidecars could not be read"},
    "myvlm summary": {1: "some sidecars could not be read, or some of the given paths do not exist"},
    "myvlm scan": {1: "some photos failed, or some of the given paths do not exist"},
    "myvlm calibrate": {1: "some photos failed, or some of the given paths do not exist"},
    "myvlm review": {1: "some photos could not be read, or some decisions of `--apply` could not be recorded"},
    "myvlm confirm": {1: "some decisions could not be recorded"},
    "myvlm reject": {1: "some decisions could not be recorded"},
    "myvlm status": {1: "some photos or sidecars could not be read, or some of the given paths do not exist"},
    "myvlm runs": {1: "you answered no"},
    "myvlm undo": {
        1: "some files could not be restored, or were left because a later run wrote them; or you answered no"
    },
    "myvlm doctor": {3: "a check failed"},
}
"""What an exit code means for one command, where that is more than the general table says."""

EVERY_COMMAND = ("--quiet", "--verbose", "--help")
"""Options that all commands have; they are described once."""
_EXAMPLE = "Example: "
_REMARKS = re.compile(r"\s*\[(?P<remarks>[^][]*)\]$")
"""What Typer appends to a parameter's help: `[default: auto]`, `[required]`, `[x>=1]`."""


@dataclass(frozen=True)
class Parameter:
    """An argument or option of a command: how it is written, its help, and the section of the help it is in."""

    form: str
    help: str
    section: str
    names: tuple[str, ...]

    def to_markdown(self) -> str:
        """Render one list item."""
        remarks = _REMARKS.search(self.help)
        sentences = [escape(_REMARKS.sub("", self.help))]
        for remark in remarks["remarks"].split("; ") if remarks else ():
            sentences.append(_remark(remark))
        return f"* `{self.form}`: {' '.join(s for s in sentences if s)}"


@dataclass(frozen=True)
class CommandPage:
    """A command or group of commands with its full name, such as `myvlm concepts show`."""

    name: str
    command: "Command"
    context: "Context"

    @property
    def section(self) -> str:
        """The section of `myvlm --help` that lists it; "" for subcommands."""
        panel = getattr(self.command, "rich_help_panel", None)
        return panel if isinstance(panel, str) else ""

    @property
    def summary(self) -> str:
        """Its one line in the help of its group, with a full stop."""
        return self.command.get_short_help_str(1000).rstrip(".") + "."

    @cached_property
    def paragraphs(self) -> list[str]:
        """Its help text, a line for each paragraph."""
        return [" ".join(p.split()) for p in cleandoc(self.command.help or "").split("\n\n")]

    @cached_property
    def parameters(self) -> list[Parameter]:
        """Its arguments and options, in the order of its help."""
        parameters = []
        for p in self.command.get_params(self.context):
            record = p.get_help_record(self.context)
            if record is None:
                continue
            panel = getattr(p, "rich_help_panel", None)
            usual = "Arguments" if p.param_type_name == "argument" else "Options"
            section = panel if isinstance(panel, str) else usual
            parameters.append(Parameter(_simplify(record[0]), record[1], section, tuple(p.opts)))
        return parameters

    @property
    def usage(self) -> str:
        """How it is called."""
        return " ".join([self.name, *map(_simplify, self.command.collect_usage_pieces(self.context))])

    def to_markdown(self, *, same_as: str = "") -> str:
        """Render the command's section; `same_as` is another name of the same command, which is described there."""
        lines = [f"#### {self.name}", ""]
        if same_as:
            return "\n".join([*lines, f"The same as [`{same_as}`](#{anchor(same_as)}).", ""])
        for paragraph in self.paragraphs:
            if not paragraph.startswith(_EXAMPLE):
                lines += [escape(paragraph), ""]
        examples = [p.removeprefix(_EXAMPLE) for p in self.paragraphs if p.startswith(_EXAMPLE)]
        lines += ["```sh", f"{self.usage}", *(["", "# For example:", *examples] if examples else []), "```", ""]
        for title, parameters in self._sections().items():
            lines += [f"**{title}**", "", *(p.to_markdown() for p in parameters), ""]
        for code, meaning in OWN_EXIT_CODES.get(self.name, {}).items():
            lines += [f"**Exit code {code}**: {meaning}.", ""]
        return "\n".join(lines)

    def _sections(self) -> dict[str, list[Parameter]]:
        sections: dict[str, list[Parameter]] = {"Arguments": [], "Options": []}
        for p in self.parameters:
            if self.name == "myvlm" or not set(p.names) & set(EVERY_COMMAND):
                sections.setdefault(p.section, []).append(p)
        return {title: parameters for title, parameters in sections.items() if parameters}


def load_pages() -> list[CommandPage]:
    """Every command of the app, each group followed by its subcommands, in the order of `myvlm --help`.

    Raises:
        KeyError: `OWN_EXIT_CODES` names a command that does not exist.
    """
    from typer.main import get_command

    from myvlm_cli.main import app

    pages = list(_walk("myvlm", get_command(app), None))  # type: ignore[arg-type] # Typer vendors click
    if unknown := OWN_EXIT_CODES.keys() - {p.name for p in pages}:
        raise KeyError(f"OWN_EXIT_CODES names unknown commands: {', '.join(sorted(unknown))}")
    return pages


def _walk(name: str, command: "Command", parent: "Context | None") -> Iterator[CommandPage]:
    context = command.make_context(name.split()[-1], [], parent=parent, resilient_parsing=True)
    yield CommandPage(name, command, context)
    for subname, subcommand in getattr(command, "commands", {}).items():
        if not subcommand.hidden:
            yield from _walk(f"{name} {subname}", subcommand, context)


def render_overview(pages: list[CommandPage]) -> str:
    """Render a table of all commands with their summaries, by section."""
    lines = ["| command | what it does |", "|---|---|"]
    for section, members in _by_section(pages).items():
        lines.append(f"| **{section}** | |")
        for p in members:
            lines.append(f"| [`{p.name}`](#{anchor(p.name)}) | {escape(p.summary)} |")
    return "\n".join(lines) + "\n"


def render_commands(pages: list[CommandPage]) -> str:
    """Render the sections of all commands: first what all have in common, then each command by section."""
    main = pages[0]
    parts = [main.to_markdown().replace("#### myvlm", "### myvlm", 1)]
    help_of = {p.name: p.paragraphs for p in pages}
    for section, members in _by_section(pages).items():
        parts.append(f"### {section}\n")
        for p in members:
            other = "myvlm " + p.name.split()[-1]
            same = p.name != other and help_of.get(other) == [t.replace(p.name, other) for t in p.paragraphs]
            parts.append(p.to_markdown(same_as=other if same else ""))
    return "\n".join(parts)


def _by_section(pages: list[CommandPage]) -> dict[str, list[CommandPage]]:
    """The commands below `myvlm` by section; subcommands are in that of their group."""
    sections: dict[str, list[CommandPage]] = {}
    section_of = {p.name: p.section for p in pages}
    for p in pages[1:]:
        sections.setdefault(section_of[" ".join(p.name.split()[:2])], []).append(p)
    return sections


def anchor(heading: str) -> str:
    """The link target that Markdown viewers give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def escape(text: str) -> str:
    """Keep plain text from being read as Markdown: `*.jpg`, `<word>`, `a|b`."""
    return re.sub(r"([*<|])", r"\\\1", text)


def _simplify(form: str) -> str:
    """Leave out what Typer repeats: `[[PATHS]...]...`, `PATHS... <list[Path]>`, `--limit <int range>`."""
    form = re.sub(r"\[(\[.*\]\.\.\.)\]\.\.\.", r"\1", form)
    form = re.sub(r"^(-.*) <list\[(\w+)\]>$", lambda m: f"{m[1]} <{m[2].lower()}>", form)
    return re.sub(r" <list\[\w+\]>$", "", form).replace(" range>", ">")


def _remark(remark: str) -> str:
    if remark == "required":
        return "Required."
    label, colon, value = remark.partition(": ")
    return f"Default: `{value}`." if colon and label == "default" else f"Range: `{remark}`."
