"""Tasks that run in a few threads."""

import threading

import pytest

from engine.core.batches import in_parallel


def test_results_are_in_order():
    assert in_parallel([lambda n=n: n for n in range(5)], 2, lambda: None) == list(range(5))


def test_an_error_of_a_later_task_stops_an_earlier_one_that_waits():
    released = threading.Event()

    def hang():
        assert released.wait(3), "it was not stopped"

    def fail():
        raise ValueError("no server")

    with pytest.raises(ValueError, match="no server"):
        in_parallel([hang, fail], 2, released.set)
