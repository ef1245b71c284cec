"""Progress: a line that moves on a terminal, lines now and then elsewhere, data on stdout whatever is drawn."""

import io
import sys

import pytest

from myvlm_cli import progress
from myvlm_cli.output import Output
from myvlm_cli.progress import Progress, clock, duration


@pytest.fixture
def now(monkeypatch):
    """A clock that tests set."""

    class Clock:
        seconds = 1000.0

    monkeypatch.setattr(progress.time, "monotonic", lambda: Clock.seconds)
    return Clock


def run(bar, now, seconds, count):
    for _ in range(count):
        now.seconds += seconds
        bar.advance()


def test_a_long_run_is_announced_once_and_told_every_30_seconds(now):
    lines = []
    bar = Progress("captioning", 100, say=lines.append)
    run(bar, now, 2.0, 50)
    assert lines[0] == "100 photos, 0.5 photos/s: about 3 minutes"
    assert lines[1:] == [
        "captioning: 18 of 100 photos, 0.5 photos/s, about 3 minutes left",
        "captioning: 33 of 100 photos, 0.5 photos/s, about 2 minutes left",
        "captioning: 48 of 100 photos, 0.5 photos/s, about 2 minutes left",
    ]


def test_a_short_run_prints_nothing(now):
    lines = []
    run(Progress("captioning", 100, say=lines.append), now, 0.25, 100)
    assert lines == []


def test_the_speed_leaves_out_the_time_in_which_models_load(now):
    bar = Progress("captioning", 1000, say=lambda _: None)
    now.seconds += 60
    run(bar, now, 0.0, 8)
    now.seconds += 4
    run(bar, now, 0.0, 8)
    assert bar.rate() == pytest.approx(2.0)
    assert bar.seconds_left() == pytest.approx(492.0)


def test_the_speed_is_that_of_the_last_minute(now):
    bar = Progress("captioning", 1000, say=lambda _: None)
    run(bar, now, 0.01, 500)
    run(bar, now, 2.0, 100)
    assert bar.rate() == pytest.approx(0.5, rel=0.05)


def test_without_a_total_no_time_is_told(now):
    bar = Progress("captioning", None, say=lambda _: None)
    bar.expect(40)
    run(bar, now, 1.0, 10)
    assert bar.seconds_left() is None
    assert bar.line(80) == "captioning  10  1.0 photos/s"
    bar.count_done()
    assert bar.line(80) == "captioning  [#####---------------]  10/40  1.0 photos/s  ETA 0:30"
    assert len(bar.line(30)) < 30


@pytest.mark.parametrize(("seconds", "short", "long"), [(7, "0:07", "7 seconds"), (750, "12:30", "12 minutes")])
def test_times_in_words(seconds, short, long):
    assert (clock(seconds), duration(seconds)) == (short, long)


def test_hours():
    assert (clock(7500), duration(7500)) == ("2:05:00", "2.1 hours")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("is_terminal", [True, False])
def test_results_go_to_stdout_above_the_line_or_into_a_file(monkeypatch, is_terminal):
    """What is drawn on a terminal must not swallow what a pipe or a file is to get."""
    screen = Terminal()
    data = screen if is_terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdout", data)
    monkeypatch.setenv("TERM", "xterm")
    writer = Output()
    with writer.progress("captioning", 2) as bar:
        for name in ("a.jpg", "b.jpg"):
            bar.advance()
            bar.draw()
            writer.text(name)
    lines = [line.rpartition(progress.CLEAR)[2] for line in data.getvalue().split("\n")]
    assert [line for line in lines if line] == ["a.jpg", "b.jpg"]
    assert "1/2" in screen.getvalue()
    assert screen.getvalue().endswith(progress.CLEAR)
    assert is_terminal or progress.CLEAR not in data.getvalue()


@pytest.mark.parametrize(
    ("quiet", "terminal", "name"), [(True, True, "xterm"), (False, True, "dumb"), (False, False, "xterm")]
)
def test_no_line_is_drawn_when_nobody_wants_it(monkeypatch, quiet, terminal, name):
    screen = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", name)
    writer = Output()
    writer.settings.quiet = quiet
    with writer.progress("captioning", 1) as bar:
        bar.advance()
        assert bar.shown != quiet
    assert screen.getvalue() == ""
