"""Let one step of a pipeline work in a thread of its own while its results are used."""

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")
_END = object()
_LONGEST_WAIT = 5.0
"""Seconds to wait for the thread at the end. After an error or Ctrl-C it may be in the middle of a long calculation,
whose result nobody will use."""
_LOOK = 0.1
"""Seconds after which a thread whose queue is full looks whether anybody still takes from it."""


def in_background(source: Iterable[T], *, ahead: int = 1) -> Generator[T]:
    """Yield the items of `source`, which a thread makes ahead of their use; at most `ahead` finished ones wait.

    An error in `source` is raised here, after the items before it. Closing this iterator closes `source`.
    """
    made: queue.Queue[object] = queue.Queue(maxsize=max(1, ahead))
    stopped = threading.Event()
    thread = threading.Thread(target=_fill, args=(made, source, stopped), daemon=True)
    thread.start()
    try:
        while (item := made.get()) is not _END:
            if isinstance(item, _Failure):
                raise item.error
            yield item  # type: ignore[misc]  # the queue holds items, failures and the end
    finally:
        stopped.set()
        thread.join(_LONGEST_WAIT)


class _Failure:
    """An error on its way from the thread to the user of its items."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _fill(made: "queue.Queue[object]", source: Iterable[object], stopped: threading.Event) -> None:
    """Put the items of `source` into a queue, then its error or its end, until nobody takes from it."""
    items = iter(source)
    try:
        for item in items:
            if not _put(made, item, stopped):
                return
    except BaseException as err:  # noqa: BLE001  # whatever it is, it belongs to whoever uses the items
        _put(made, _Failure(err), stopped)
    else:
        _put(made, _END, stopped)
    finally:
        close = getattr(items, "close", None)  # of a generator
        if close is not None:
            close()


def _put(made: "queue.Queue[object]", item: object, stopped: threading.Event) -> bool:
    """Put an item into a queue, as soon as there is room; returns False if nobody takes from it any more."""
    while not stopped.is_set():
        try:
            made.put(item, timeout=_LOOK)
            return True
        except queue.Full:
            continue
    return False
