"""Show the progress of a long run: one moving line on a terminal, a line every 30 seconds elsewhere."""

import os
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

_REDRAW_SECONDS = 0.2
_PLAIN_SECONDS = 30.0
"""Seconds between two lines where there is no terminal; shorter runs print none."""
_LONG_SECONDS = 30.0
"""A run that will take longer than this is announced with its number of photos, speed and duration."""
_FIRST = 3
_FIRST_SECONDS = 2.0
"""The speed is measured on at least this many photos, for at least this long."""
_WINDOW_SECONDS = 60.0
"""The speed is that of the last minute, because photos that are up to date take less time than others."""
_BURST_SECONDS = 0.25
_BAR_WIDTH = 20
CLEAR = "\r\x1b[2K"


def is_live(quiet: bool) -> bool:
    """Whether a line on stderr can be redrawn."""
    return not quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@dataclass
class Progress:
    """Counts steps and shows how many are done.

    say: prints a line for people; None if nothing is to be shown. live: redraw one line on stderr; otherwise `say` is
    called every 30 seconds.
    """

    label: str = ""
    total: int | None = None
    unit: str = "photos"
    say: Callable[[str], None] | None = None
    live: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)
    done: int = 0
    counted: bool = False
    _past: deque[tuple[float, int]] = field(default_factory=deque)
    _began: float = field(default_factory=time.monotonic)
    _told: float = field(default_factory=time.monotonic)
    _announced: bool = False
    _stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.counted = self.total is not None

    @property
    def shown(self) -> bool:
        """Whether progress is shown, so that it is worth counting the steps."""
        return self.say is not None

    @property
    def stopped(self) -> bool:
        """Whether the run has ended."""
        return self._stop.is_set()

    def expect(self, more: int) -> None:
        """Add steps to the expected total."""
        self.total = (self.total or 0) + more

    def count_done(self) -> None:
        """Note that all steps are counted: from now on the time left can be computed."""
        self.counted = True

    def advance(self, label: str | None = None) -> None:
        """Count one step, and show it."""
        self.done += 1
        self.label = label or self.label
        if self.say is None:
            return
        now = time.monotonic()
        self._remember(now)
        self._announce(now)
        if not self.live and now - self._told >= _PLAIN_SECONDS:
            self._told = now
            self.say(self._plain())

    def _remember(self, now: float) -> None:
        """Record how much is done at a time. Steps that come at once, as in a batch, are one record."""
        if self._past and now - self._past[-1][0] < _BURST_SECONDS:
            now, _ = self._past.pop()
        self._past.append((now, self.done))
        while len(self._past) > 2 and self._past[1][0] < now - _WINDOW_SECONDS:
            self._past.popleft()

    def _announce(self, now: float) -> None:
        """Say once, near the beginning of a long run, how many photos there are and how long they will take."""
        left, measured = self.seconds_left(), now - self._past[0][0]
        if self._announced or left is None or self.done < _FIRST or measured < _FIRST_SECONDS:
            return
        self._announced = True
        if left >= _LONG_SECONDS and self.say is not None:
            self._told = now
            self.say(f"{self.total} {self.unit}, {self._speed()}: about {duration(left)}")

    def rate(self) -> float:
        """Return the steps per second of the last minute; 0.0 if unknown.

        Measuring begins at the first record, because the models are loaded before it.
        """
        if not self._past:
            return 0.0
        (first, before), (last, done) = self._past[0], self._past[-1]
        if first == last:
            first, before = self._began, 0
        return (done - before) / max(last - first, 1e-3)

    def seconds_left(self) -> float | None:
        """Return how many seconds the rest will take; None if unknown."""
        rate = self.rate()
        if not self.counted or self.total is None or not rate:
            return None
        return max(0, self.total - self.done) / rate

    def _speed(self) -> str:
        rate = self.rate()
        return f"{rate:.{0 if rate >= 10 else 1 if rate >= 0.1 else 2}f} {self.unit}/s"

    def _plain(self) -> str:
        of = f" of {self.total}" if self.counted and self.total is not None else ""
        left = self.seconds_left()
        time_left = "" if left is None else f", about {duration(left)} left"
        return f"{self.label}: {self.done}{of} {self.unit}, {self._speed()}{time_left}"

    def line(self, width: int) -> str:
        """Return the line for a terminal of this width, in characters."""
        known = self.counted and bool(self.total)
        left = self.seconds_left()
        parts = [self.label]
        if known and self.total and width >= 60:
            filled = min(_BAR_WIDTH, _BAR_WIDTH * self.done // self.total)
            parts.append("[" + "#" * filled + "-" * (_BAR_WIDTH - filled) + "]")
        parts.append(f"{self.done}/{self.total}" if known else f"{self.done}")
        if self.done:
            parts.append(self._speed())
        if left is not None:
            parts.append(f"ETA {clock(left)}")
        return "  ".join(parts)[: width - 1]

    def draw(self) -> None:
        """Draw the line, if there is one."""
        if not self.live or self.stopped:
            return
        with self.lock:
            sys.stderr.write(CLEAR + self.line(shutil.get_terminal_size().columns))
            sys.stderr.flush()

    def clear(self) -> None:
        """Remove the line from the terminal."""
        if self.live:
            sys.stderr.write(CLEAR)
            sys.stderr.flush()

    def start(self) -> None:
        """Start drawing in a second thread."""
        if self.live:
            threading.Thread(target=self._redraw, daemon=True).start()

    def _redraw(self) -> None:
        while not self._stop.wait(_REDRAW_SECONDS):
            self.draw()

    def stop(self) -> None:
        """Stop drawing, and remove the line."""
        with self.lock:
            self._stop.set()
            self.clear()


def clock(seconds: float) -> str:
    """Return seconds as 0:07, 12:30 or 2:05:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def duration(seconds: float) -> str:
    """Return seconds in words: 40 seconds, 12 minutes, 2.5 hours."""
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} minutes"
    return f"{seconds / 3600:.1f} hours"
