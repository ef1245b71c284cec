"""The only writer: data to stdout, everything meant for people to stderr."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from engine.errors import EngineError


@dataclass
class Settings:
    """How talkative this run is."""

    quiet: bool = False
    verbose: bool = False


@dataclass
class Output:
    """Writes one command's results as text, as one JSON document, or as JSON lines."""

    settings: Settings = field(default_factory=Settings)

    def console(self) -> "Console":
        """Rich's console on stderr; it honours NO_COLOR and knows whether stderr is a terminal."""
        from rich.console import Console

        return Console(stderr=True, quiet=self.settings.quiet, highlight=False)

    def say(self, text: str) -> None:
        """A line for people; nothing with --quiet."""
        if not self.settings.quiet:
            print(text, file=sys.stderr, flush=True)

    def detail(self, text: str) -> None:
        """A line for people who asked for more with --verbose."""
        if self.settings.verbose:
            self.say(text)

    def warn(self, text: str) -> None:
        """A warning; --quiet does not silence it."""
        print(f"warning: {text}", file=sys.stderr, flush=True)

    def fail(self, error: "EngineError") -> None:
        """An error with what to do next."""
        print(f"error: {error}", file=sys.stderr)
        if error.hint:
            print(f"  {error.hint}", file=sys.stderr, flush=True)

    def text(self, line: str) -> None:
        """A line of data."""
        sys.stdout.write(printable(line) + "\n")
        sys.stdout.flush()

    def json_line(self, value: Any) -> None:
        """One value on one line."""
        self.text(json.dumps(value, ensure_ascii=not _is_utf8()))

    def json_document(self, value: Any) -> None:
        """One document."""
        self.text(json.dumps(value, ensure_ascii=not _is_utf8(), indent=2))

    def table(self, table: "Table") -> None:
        """A table on stdout, for people who asked for no JSON."""
        from rich.console import Console

        Console(file=sys.stdout, highlight=False).print(table)

    @contextmanager
    def progress(self, label: str, total: int | None) -> Iterator["Progress"]:
        """A progress bar when stderr is a terminal, else silence."""
        if self.settings.quiet or not sys.stderr.isatty():
            yield Progress()
            return
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Bar(*columns, console=self.console(), transient=True) as bar:
            yield Progress(bar, bar.add_task(label, total=total))


@dataclass
class Progress:
    """A running progress bar, or nothing at all."""

    bar: Any = None
    task: Any = None
    total: int = 0

    def expect(self, more: int) -> None:
        """So many steps more are to come than was known."""
        if self.bar is not None:
            self.total += more
            self.bar.update(self.task, total=self.total)

    def advance(self, label: str | None = None) -> None:
        """One step further."""
        if self.bar is not None:
            self.bar.update(self.task, advance=1, **({"description": label} if label else {}))


def _is_utf8() -> bool:
    return (sys.stdout.encoding or "utf-8").lower().replace("-", "") == "utf8"


def printable(text: str) -> str:
    """Text that any terminal encoding takes; bytes of names that are not UTF-8 appear as escapes."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def path_text(path: os.PathLike[str]) -> str:
    """A path for output; bytes that are not UTF-8 appear as escapes."""
    return os.fspath(path).encode("utf-8", "backslashreplace").decode()


out = Output()
"""This process's output."""
