"""Rows on a terminal, in a narrow one, and in a pipe."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from myvlm_cli.output import escaped, printable
from myvlm_cli.tables import Column, print_table
from myvlm_cli.words import count

COLUMNS = (
    Column("photo"),
    Column("confidence", "right"),
    Column("raw_score", only="pipe"),
    Column("note", only="terminal", prose=True),
)
ROWS = [
    ("a.jpg", "97 %", "3.45", "the first of all photos in this folder"),
    ("[red]b\t\x1b[2J\u2028.jpg", "8 %", "-2.44", "x"),
    ("猫.jpg", "50 %", "0.00", ""),
]


def printed(capsys) -> list[str]:
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def terminal(monkeypatch):
    """Make stdout a terminal of so many columns; tests print to what pytest captures."""

    def use(columns):
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("NO_COLOR", "1")

    return use


def test_a_pipe_gets_tab_separated_values_with_a_header(capsys):
    print_table(COLUMNS, ROWS)
    assert printed(capsys) == [
        "photo\tconfidence\traw_score",
        "a.jpg\t97 %\t3.45",
        "[red]b\\t\\x1b[2J\\u2028.jpg\t8 %\t-2.44",
        "猫.jpg\t50 %\t0.00",
    ]


def test_a_terminal_gets_aligned_columns(capsys, terminal):
    terminal(80)
    print_table(COLUMNS, ROWS)
    assert printed(capsys) == [
        "photo                      confidence  note",
        "a.jpg                            97 %  the first of all photos in this folder",
        "[red]b\\t\\x1b[2J\\u2028.jpg         8 %  x",
        "猫.jpg                           50 %",
    ]


@pytest.mark.parametrize("width", [80, 66, 60, 40, 20])
def test_nothing_is_cut_and_nothing_is_wider_than_the_terminal(capsys, terminal, width):
    from rich.cells import cell_len

    terminal(width)
    print_table(COLUMNS, ROWS)
    lines = printed(capsys)
    assert max(map(cell_len, lines)) <= width
    everything = "".join("".join(lines).split())
    assert "…" not in everything
    for word in ("photo", "confidence", "first", "folder", "97%", "8%", "[red]b", "\\u2028.jpg"):
        assert word in everything


def test_blocks_where_a_table_does_not_fit(capsys, terminal):
    terminal(40)
    print_table(COLUMNS, ROWS[1:])
    assert printed(capsys) == [
        "photo       [red]b\\t\\x1b[2J\\u2028.jpg",
        "confidence  8 %",
        "note        x",
        "",
        "photo       猫.jpg",
        "confidence  50 %",
    ]


def test_a_table_leaves_out_what_is_empty_or_optional_before_it_becomes_blocks(capsys, terminal):
    columns = (Column("a"), Column("empty"), Column("more", optional=True))
    rows = [("x" * 20, "", "y" * 20)]
    for width, expected in (
        (42, ["a                     more", f"{'x' * 20}  {'y' * 20}"]),
        (41, ["a", "x" * 20]),
        (20, ["a", "x" * 20]),
        (19, None),
    ):
        terminal(width)
        print_table(columns, rows)
        lines = printed(capsys)
        assert lines == expected if expected else len(lines) > 2


def test_no_rows_print_nothing(capsys, terminal):
    print_table(COLUMNS, [])
    terminal(80)
    print_table(COLUMNS, [])
    assert printed(capsys) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\r\nc", r"a\tb\r\nc"),
        ("\x1b[2J\x9b", r"\x1b[2J\x9b"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        ("a\udcff", r"a\udcff"),
        ("Zoë 猫 👩‍👧", "Zoë 猫 👩‍👧"),
    ],
)
def test_no_text_does_anything_to_the_terminal(text, shown):
    assert printable(escaped(text), sys.stdout) == shown


@pytest.mark.parametrize(("number", "text"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (1500, "1,500 files")])
def test_counted(number, text):
    assert count(number, "file") == text


@pytest.mark.parametrize(("columns", "no_color"), [(80, False), (80, True), (50, True)])
def test_a_real_terminal_decides_width_and_colour(tmp_path, columns, no_color):
    """`myvlm models` on a pseudo-terminal of a size of its own."""
    from rich.cells import cell_len
    from rich.text import Text

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    environment |= {"MYVLM_HOME": str(tmp_path / "none"), "TERM": "xterm"} | ({"NO_COLOR": "1"} if no_color else {})
    command = [sys.executable, "-m", "myvlm_cli.main", "models"]
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, stdin=theirs, env=environment) as process:
        os.close(theirs)
        data = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux says so at the end
                break
            if not part:
                break
            data += part
        assert process.wait(60) == 0
    os.close(ours)
    text = data.decode()
    assert ("\x1b[38" in text, "\x1b[3" in text) == (False, False)
    lines = Text.from_ansi(text.replace("\r\n", "\n")).plain.splitlines()
    assert max(map(cell_len, lines)) <= columns
    assert ("llava-1.6          no " in text) == (columns == 80)
    assert "Llama 2 Community" in text
    assert not (tmp_path / "none").exists()
