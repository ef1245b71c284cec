"""The benchmark of search compares two ways that find the same photos."""

import pytest

from engine.benchmarks.speed import search as case
from engine.benchmarks.speed.measurement import SpeedSettings


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    settings = SpeedSettings(tmp_path_factory.mktemp("speed").resolve(), photos=400)
    photos = case.make_photos(settings, 400)
    assert case.fill_index(settings.work / "home", photos) > 0
    return settings


@pytest.mark.parametrize("task", case.TASKS)
def test_both_ways_find_the_same(settings, task):
    found = case.with_index(settings, task)
    assert sorted(found) == case.with_sidecars(settings, task, 400)
    assert found or task == "a place and a kind"
