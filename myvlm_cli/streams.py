"""Standard streams that may be closed, full or a broken pipe: writing to them never raises an OSError."""

import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

BROKEN_PIPE = 128 + signal.SIGPIPE
"""The exit code of a program that SIGPIPE ended: 141."""


class GuardedStream:
    """A text stream that hands OSErrors to `fail` instead of raising them; all else is the stream's own. None is one
    that was closed before this process began.
    """

    def __init__(self, stream: TextIO | None, fail: Callable[[OSError], None]) -> None:
        self._is_closed, self._fail = stream is None, fail
        self._stream = stream or _empty()

    def write(self, text: str) -> int:
        """Write text; what cannot be written is dropped."""
        try:
            if self._is_closed:
                raise OSError(errno.EBADF, "it is closed")
            self._stream.write(text)
        except OSError as err:
            self._give_up(err)
        return len(text)

    def flush(self) -> None:
        """Pass on what is buffered; what cannot be passed on is dropped."""
        try:
            self._stream.flush()
        except OSError as err:
            self._give_up(err)

    def _give_up(self, err: OSError) -> None:
        """Lead the stream to the null device, so that what is still buffered fails no second time at exit."""
        with suppress(OSError, ValueError):  # ValueError: no file stands behind it
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)
        self._fail(err)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def guarded_streams(lost: Callable[[str], None]) -> Iterator[None]:
    """Guard stdout and stderr, and open the standard streams that this process was started without.

    stdout: a broken pipe ends the process with exit code 141, as SIGPIPE would, but as an exception, so that the file
    that is being written is finished first. `lost` hears of any other reason, once or more; the work goes on. stderr:
    what cannot be written is dropped. Files that are opened later never get the number of a closed standard stream, or
    a library that prints would write into them.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one

    def fail(err: OSError) -> None:
        if err.errno == errno.EPIPE:
            raise SystemExit(BROKEN_PIPE)
        lost(err.strerror or str(err))

    before = sys.stdin, sys.stdout, sys.stderr
    sys.stdin = sys.stdin or _empty()
    sys.stdout = cast(TextIO, GuardedStream(sys.stdout, fail))
    sys.stderr = cast(TextIO, GuardedStream(sys.stderr, lambda _: None))
    try:
        yield
    finally:
        sys.stdin, sys.stdout, sys.stderr = before


def _empty() -> TextIO:
    """A stream in the place of one that was closed: nothing to read; nobody reads what is written."""
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
