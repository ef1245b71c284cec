"""Guard the standard streams: writing to a closed or full one, or to a broken pipe, never raises an OSError."""

import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO, cast

BROKEN_PIPE = 128 + signal.SIGPIPE
"""The exit code of a program that SIGPIPE ended: 141."""


class GuardedStream:
    """A text stream that passes OSErrors to `fail` instead of raising them. Everything else is that of `stream`.

    stream: None if it was closed before this process began.
    """

    def __init__(self, stream: TextIO | None, fail: Callable[[OSError], None]) -> None:
        self._is_closed, self._fail = stream is None, fail
        self._stream = stream or _empty()

    def write(self, text: str) -> int:
        """Write text; text that cannot be written is dropped."""
        try:
            if self._is_closed:
                raise OSError(errno.EBADF, "it is closed")
            self._stream.write(text)
        except OSError as err:
            self._give_up(err)
        return len(text)

    def write_bytes(self, data: bytes) -> None:
        """Write bytes as they are; those that cannot be written are dropped."""
        try:
            if self._is_closed:
                raise OSError(errno.EBADF, "it is closed")
            self._stream.buffer.write(data)
            self._stream.buffer.flush()
        except OSError as err:
            self._give_up(err)

    def flush(self) -> None:
        """Write out the buffer; what cannot be written is dropped."""
        try:
            self._stream.flush()
        except OSError as err:
            self._give_up(err)

    def _give_up(self, err: OSError) -> None:
        """Redirect the stream to the null device, so that the rest of the buffer does not fail again at exit."""
        with suppress(OSError, ValueError):  # ValueError: the stream has no file number
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)
        self._fail(err)

    def __getattr__(self, name: str) -> object:
        attribute: object = getattr(self._stream, name)
        return attribute


def write_bytes(stream: TextIO, data: bytes) -> None:
    """Write bytes to a text stream as they are, past its encoding."""
    (stream if isinstance(stream, GuardedStream) else GuardedStream(stream, lambda _: None)).write_bytes(data)


@contextmanager
def guarded_streams(lost: Callable[[str], None]) -> Iterator[None]:
    """Guard stdout and stderr, and open the standard streams that were closed when this process began.

    A broken pipe on stdout ends the process with exit code 141, as SIGPIPE would, but with an exception, so that the
    file that is being written is finished first. Any other error on stdout calls `lost` with the reason, once or more
    often, and the work continues. Text that cannot be written to stderr is dropped. The standard streams are opened so
    that no file opened later gets their number: a library that prints would write into it.
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
    """Return a stand-in for a closed stream: it is empty, and what is written to it is lost."""
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
