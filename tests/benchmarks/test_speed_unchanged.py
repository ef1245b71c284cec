"""The cases of unchanged libraries: what is timed says that nothing changed."""

import os

from engine.benchmarks.speed import large_library, unchanged_run
from engine.benchmarks.speed.measurement import SpeedSettings


def test_the_second_run_finds_nothing_to_do(tmp_path):
    settings = SpeedSettings(tmp_path, photos=3, rounds=1)
    command = unchanged_run.caption_command(unchanged_run.make_library(settings, 3))
    assert "3 ok" in unchanged_run.run_command(settings, command)
    assert "Nothing to do: 3 photos up to date." in unchanged_run.run_command(settings, command)
    (measured,) = unchanged_run.measure(SpeedSettings(tmp_path / "again", photos=2, rounds=1))
    assert measured.extra["peak MB"] > 1 and measured.speedup > 0


def test_all_photos_of_a_large_library_are_known_until_one_changes(tmp_path):
    settings = SpeedSettings(tmp_path, photos=1_200, rounds=1)
    (measured,) = large_library.measure(settings)
    assert measured.extra["MB of tables"] > 0
    library, home = tmp_path / "library", tmp_path / "home"
    assert large_library.walk(library) == 3 * 1_200
    assert large_library.count_unchanged(home, library) == 1_200
    os.utime(library / "0000" / "IMG_0000500.jpg")
    assert large_library.count_unchanged(home, library) == 500
