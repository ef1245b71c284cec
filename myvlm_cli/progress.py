"""How far a long run is: a line that moves on a terminal, a line now and then elsewhere."""

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
"""Where there is no terminal: seconds between two lines; shorter runs print none."""
_LONG_SECONDS = 30.0
"""A run that will take longer is announced with its number of photos, speed and time."""
_FIRST = 3
_FIRST_SECONDS = 2.0
"""The speed is measured on at least so many photos, for at least so long."""
_WINDOW_SECONDS = 60.0
"""The speed is that of the last minute: photos that are up to date are fast, others are not."""
_BURST_SECONDS = 0.25
_BAR_WIDTH = 20
CLEAR = "\r\x1b[2K"


def is_live(quiet: bool) -> bool:
    """Whether a line on stderr can be drawn again and again."""
    return not quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@dataclass
class Progress:
    """Counts steps. `say` prints a line for people; with `live` a line is drawn on stderr, else `say` is called every
    30 seconds; with neither nothing is shown and `shown` is False.
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
        """Whether anybody sees it, so that counting beside the work is worth it."""
        return self.say is not None

    @property
    def stopped(self) -> bool:
        """Whether the run is over."""
        return self._stop.is_set()

    def expect(self, more: int) -> None:
        """So many steps more are to come than was known."""
        self.total = (self.total or 0) + more

    def count_done(self) -> None:
        """All steps are counted: from now on the time that is left can be told."""
        self.counted = True

    def advance(self, label: str | None = None) -> None:
        """One step further."""
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
        """Note what is done. What comes at once, as a batch does, is one note."""
        if self._past and now - self._past[-1][0] < _BURST_SECONDS:
            now, _ = self._past.pop()
        self._past.append((now, self.done))
        while len(self._past) > 2 and self._past[1][0] < now - _WINDOW_SECONDS:
            self._past.popleft()

    def _announce(self, now: float) -> None:
        """Say once, at the beginning of a long run, how many photos there are and how long they will take."""
        left, measured = self.seconds_left(), now - self._past[0][0]
        if self._announced or left is None or self.done < _FIRST or measured < _FIRST_SECONDS:
            return
        self._announced = True
        if left >= _LONG_SECONDS and self.say is not None:
            self._told = now
            self.say(f"{self.total} {self.unit}, {self._speed()}: about {duration(left)}")

    def rate(self) -> float:
        """Steps a second, lately; 0.0 while it is not known. The first note is where measuring begins: before it the
        models were loaded.
        """
        if not self._past:
            return 0.0
        (first, before), (last, done) = self._past[0], self._past[-1]
        if first == last:
            first, before = self._began, 0
        return (done - before) / max(last - first, 1e-3)

    def seconds_left(self) -> float | None:
        """How long it will still take; None while that is not known."""
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
        """The line for a terminal of that width."""
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
        """Draw the line; nothing where there is none."""
        if not self.live or self.stopped:
            return
        with self.lock:
            sys.stderr.write(CLEAR + self.line(shutil.get_terminal_size().columns))
            sys.stderr.flush()

    def clear(self) -> None:
        """Take the line off the terminal, to print another or at the end."""
        if self.live:
            sys.stderr.write(CLEAR)
            sys.stderr.flush()

    def start(self) -> None:
        """Begin to draw."""
        if self.live:
            threading.Thread(target=self._redraw, daemon=True).start()

    def _redraw(self) -> None:
        while not self._stop.wait(_REDRAW_SECONDS):
            self.draw()

    def stop(self) -> None:
        """End: the line is gone."""
        with self.lock:
            self._stop.set()
            self.clear()


def clock(seconds: float) -> str:
    """Seconds as 0:07, 12:30 or 2:05:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def duration(seconds: float) -> str:
    """Seconds in words: 40 seconds, 12 minutes, 2.5 hours."""
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} minutes"
    return f"{seconds / 3600:.1f} hours"
