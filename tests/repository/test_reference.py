"""The documents for users: their commands exist, their links lead somewhere, and the README stays short."""

import re
import shlex
import tomllib

import pytest

from engine import __version__
from myvlm_cli import errors
from myvlm_cli.command_reference import anchor, load_pages
from myvlm_cli.generate import ROOT, SECTIONS

SOURCES = [ROOT / "README.md", *sorted(SECTIONS.glob("*.md"))]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "myvlm_cli" / "README.md", ROOT / "tests" / "README.md"]
PLACEHOLDER = re.compile(r"\b(NAME|FILE|FOLDER|PATHS|RUN|COMMAND)\b")


def commands_in(text):
    """The `myvlm` commands in code blocks (indented or fenced) and between backquotes."""
    fenced = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = [*re.findall(r"^ {4}(.*)$", text, re.MULTILINE), *(line for block in fenced for line in block.splitlines())]
    inline = re.findall(r"`(myvlm [a-z][^`]*)`", re.sub(r"\s+", " ", text))
    for line in [*lines, *inline]:
        if command := re.search(r"(?:^|&& |\| )(myvlm .*)", line):
            yield re.split(r" [|<>] ", command[1])[0]


def anchors_in(text):
    return {anchor(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


def read(path):
    return path.read_text("utf-8")


@pytest.fixture(scope="module")
def pages():
    return {p.name: p for p in load_pages()}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.name)
def test_every_command_parses(path, pages):
    for line in commands_in(read(path)):
        if PLACEHOLDER.search(line):
            continue
        words = shlex.split(line, comments=True)
        name = max((n for n in pages if words[: len(n.split())] == n.split()), key=len)
        arguments = words[len(name.split()) :]
        if not arguments or name == "myvlm":  # without arguments it is the name of the command
            continue
        pages[name].command.make_context(name, arguments, parent=pages["myvlm"].context)


def test_enough_commands_are_found():
    assert len(list(commands_in(read(ROOT / "README.md")))) > 15


def test_the_readme_is_read_in_three_minutes():
    assert len((ROOT / "README.md").read_bytes()) <= 9000


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", read(path)):
        file, _, heading = target.partition("#")
        linked = path.parent / file if file else path
        assert linked.exists(), target
        assert not heading or heading in anchors_in(read(linked)), target


def test_one_version_everywhere():
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    released = re.findall(r"^## \[(\d[^]]*)\]", read(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert project["version"] == __version__ == released[0]


def test_every_command_is_in_the_reference(pages):
    text = read(ROOT / "myvlm_cli" / "README.md")
    for name, page in pages.items():
        assert f"# {name}\n" in text
        for p in page.parameters:
            assert f"`{p.form}`" in text, (name, p.form)


def test_every_exit_code_is_explained():
    text = read(SECTIONS / "15_exit_codes.md")
    for code in (
        errors.OK,
        errors.SOME_FAILED,
        errors.USAGE,
        errors.ENVIRONMENT,
        errors.LOCKED,
        errors.INTERRUPTED,
        141,
    ):
        assert f"\n| {code} | " in text


@pytest.mark.parametrize("command", ["pip install . && myvlm demo", "pip install '.[test]' && pytest"])
def test_a_fresh_machine_runs_the_commands_of_the_readme(command):
    assert command in read(ROOT / "README.md")
    assert f"== {command}" in read(ROOT / ".ci" / "run")
