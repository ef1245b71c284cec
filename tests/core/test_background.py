import threading
from contextlib import closing

import pytest

from engine.core.background import in_background


def test_items_are_made_ahead_but_not_further_than_asked():
    made, used_first = [], threading.Event()

    def source():
        for i in range(20):
            made.append(i)
            yield i

    with closing(in_background(source(), ahead=2)) as items:
        assert next(items) == 0
        used_first.wait(0.3)
        assert 1 < len(made) <= 4  # one used, two waiting, one in the thread's hand
        assert list(items) == list(range(1, 20))


def test_an_error_comes_after_the_items_before_it():
    def source():
        yield 1
        yield 2
        raise OSError("the disk is gone")

    items = in_background(source())
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(OSError, match="gone"):
        next(items)


def test_closing_closes_the_source_and_ends_the_thread():
    closed = threading.Event()
    before = threading.active_count()

    def source():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    items = in_background(source())
    next(items)
    items.close()
    assert closed.wait(2)
    assert threading.active_count() == before
