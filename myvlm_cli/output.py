r"""Write all output of the command line: data to stdout, messages for people to stderr.

Control characters in file names, captions and other text from outside appear as escapes (`\x1b`), on a terminal and in
a pipe. JSON has them as JSON escapes.
"""

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from myvlm_cli.errors import ENVIRONMENT, OK, SOME_FAILED
from myvlm_cli.progress import Progress, is_live
from myvlm_cli.streams import write_bytes

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Characters that terminals act on: C0, DEL and C1, line and paragraph separators, bidirectional overrides."""
_CONTROL_BUT_TABS = re.compile(_CONTROL.pattern.replace("\x00-\x1f", "\x00-\x08\x0a-\x1f"))
_CONTROL_IN_JSON = re.compile(_CONTROL.pattern.replace("\x00-\x1f", ""))
"""`json.dumps` escapes C0 in texts; the C0 characters left in its output are its own line ends."""

Document = dict[str, object]
"""A JSON object."""


@dataclass
class Settings:
    """How much this run prints, and whether the user asked for JSON."""

    quiet: bool = False
    verbose: bool = False
    json: bool = False
    jsonl: bool = False


@dataclass
class Output:
    """Writes one command's results as text, as one JSON document, or as JSON lines.

    lost: why stdout cannot be written; "" while it can. interrupted: the exit code for a signal that came; 0 for none.
    """

    settings: Settings = field(default_factory=Settings)
    lost: str = ""
    interrupted: int = 0
    _has_document: bool = False
    _progress: Progress | None = None
    _kept: list[tuple[str, str]] | None = None
    _once: set[tuple[str, str]] | None = None

    def begin(self, arguments: Iterable[str]) -> None:
        """Start with a command line. Errors in its options are already printed as it asks for, such as in JSON."""
        options = set()
        for argument in arguments:
            if argument == "--":
                break
            options.add(argument)
        self.settings = Settings(json="--json" in options, jsonl="--jsonl" in options)
        self.lost, self.interrupted, self._has_document, self._progress = "", 0, False, None

    def lose(self, reason: str) -> None:
        """Note that stdout cannot be written. The work continues; `finish` reports it."""
        self.lost = self.lost or reason

    def help(self, text: str) -> None:
        """Print the help of a command that was called without arguments."""
        self._write(text + "\n", sys.stderr)

    def finish(self, code: int) -> int:
        """Return the exit code at the end of a run: 3 if stdout could not be written."""
        if not self.lost or code not in (OK, SOME_FAILED):
            return code
        self._print(f"error: nothing can be printed on stdout: {self.lost}", sys.stderr)
        return ENVIRONMENT

    def console(self) -> "Console":
        """Return Rich's console on stderr; it honours NO_COLOR and knows whether stderr is a terminal."""
        from rich.console import Console

        return Console(stderr=True, quiet=self.settings.quiet, highlight=False)

    @contextmanager
    def keeping(self) -> Iterator[list[tuple[str, str]]]:
        """Keep what is said to people meanwhile, whether it is printed or not: for `repeat`."""
        outer, self._kept = self._kept, []
        try:
            yield self._kept
        finally:
            self._kept = outer

    @contextmanager
    def once(self, told: set[tuple[str, str]]) -> Iterator[None]:
        """Print what is said to people meanwhile only if it is not among what was told, and add it to that."""
        outer, self._once = self._once, told
        try:
            yield
        finally:
            self._once = outer

    def repeat(self, kept: Iterable[tuple[str, str]]) -> None:
        """Print what was kept, as far as this run's options ask for it."""
        methods = {"say": self.say, "detail": self.detail, "warn": self.warn}
        for method, text in kept:
            methods[method](text)

    def say(self, text: str) -> None:
        """Print a line for people, unless --quiet is set."""
        self._tell("say", text, shown=not self.settings.quiet)

    def detail(self, text: str) -> None:
        """Print a line for people if --verbose is set."""
        self._tell("detail", text, shown=self.settings.verbose and not self.settings.quiet)

    def warn(self, text: str) -> None:
        """Print a warning, also with --quiet."""
        self._tell("warn", text, shown=True)

    def _tell(self, method: str, text: str, *, shown: bool) -> None:
        if self._kept is not None:
            self._kept.append((method, text))
        if self._once is not None:
            shown = shown and (method, text) not in self._once
            self._once.add((method, text))
        if shown:
            self._print(f"warning: {text}" if method == "warn" else text, sys.stderr)

    def fail(self, message: str, hint: str, code: int, kind: str) -> None:
        """Print why the command failed and what to do about it, and the same as JSON if the user asked for JSON.

        kind: the name of the error's class.
        """
        self._print(f"error: {message}", sys.stderr)
        if hint:
            self._print(f"  {hint}", sys.stderr)
        document = {"error": {"message": message, "hint": hint or None, "code": code, "type": kind}}
        if self.settings.json:
            if not self._has_document:  # never more than one document
                self.json_document(document)
        elif self.settings.jsonl:
            self.json_line(document)

    def text(self, line: str) -> None:
        """Print a line of data."""
        self._print(line, sys.stdout)

    def row(self, cells: Iterable[str]) -> None:
        """Print a line of tab-separated data; tabs in a cell become escapes."""
        self.text("\t".join(map(escaped, cells)))

    def null_path(self, path: str) -> None:
        """Print a path as it is, ended by NUL, for programs that read paths so."""
        sys.stdout.flush()
        write_bytes(sys.stdout, os.fsencode(path) + b"\0")

    def json_line(self, value: Mapping[str, object]) -> None:
        """Print one JSON object on one line."""
        self._write(_json(value, None) + "\n", sys.stdout)

    def json_document(self, value: Mapping[str, object]) -> None:
        """Print one JSON document."""
        self._has_document = True
        self._write(_json(value, 2) + "\n", sys.stdout)

    def table(self, table: "Table") -> None:
        """Print a table."""
        from rich.console import Console

        for column in table.columns:
            column._cells[:] = [_escaped_cell(c) for c in column._cells]
        console = Console(file=sys.stdout, highlight=False)
        with console.capture() as captured:
            console.print(table)
        self._write(captured.get(), sys.stdout)

    def block(self, text: str) -> None:
        """Print several lines of data; line ends stay, other control characters become escapes."""
        for line in text.split("\n"):
            self.text(line)

    def _print(self, line: str, stream: TextIO) -> None:
        self._write(_CONTROL_BUT_TABS.sub(_escape, line) + "\n", stream)

    def _write(self, text: str, stream: TextIO) -> None:
        bar = self._progress
        if bar is None or not (stream is sys.stderr or stream.isatty()):
            stream.write(printable(text, stream))
            stream.flush()
            return
        with bar.lock:
            bar.clear()
            stream.write(printable(text, stream))
            stream.flush()
            bar.draw()

    @contextmanager
    def progress(self, label: str, total: int | None, unit: str = "photos") -> Iterator[Progress]:
        """Show the progress of a long run: steps per second and the time left.

        On a terminal this is one line on stderr, below what is printed meanwhile; elsewhere a line every 30 seconds;
        with --quiet nothing.
        """
        quiet = self.settings.quiet
        bar = Progress(escaped(label), total, unit, None if quiet else self.say, is_live(quiet))
        outer, self._progress = self._progress, bar if bar.live else None
        bar.start()
        try:
            yield bar
        finally:
            bar.stop()
            self._progress = outer


def _json(value: Mapping[str, object], indent: int | None) -> str:
    text = json.dumps(value, ensure_ascii=not _is_utf8(sys.stdout), indent=indent)
    return _CONTROL_IN_JSON.sub(lambda m: f"\\u{ord(m[0]):04x}", text)


def _is_utf8(stream: TextIO) -> bool:
    return (stream.encoding or "utf-8").lower().replace("-", "") == "utf8"


def printable(text: str, stream: TextIO) -> str:
    """Return text that a stream's encoding can represent; other characters become escapes."""
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def escaped(text: str) -> str:
    r"""Return text on one line, with control characters as Python escapes: `\n`, `\x1b`, `\u202e`."""
    return _CONTROL.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    return ascii(match[0])[1:-1]


def _escaped_cell(cell: "RenderableType") -> "RenderableType":
    """Return a cell of a table with escapes; a Rich text keeps its style."""
    from rich.text import Text

    if isinstance(cell, Text) and _CONTROL.search(cell.plain):
        return Text(escaped(cell.plain), style=cell.style)
    return escaped(cell) if isinstance(cell, str) else cell


def path_text(path: os.PathLike[str] | str) -> str:
    """Return a path for output; bytes that are not UTF-8 become escapes."""
    return os.fspath(path).encode("utf-8", "backslashreplace").decode()


out = Output()
"""This process's output."""
