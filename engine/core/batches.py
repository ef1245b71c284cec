"""Process photos in batches; a few threads read and decode them ahead of the models."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

from engine.core.cpu import available_cores

S = TypeVar("S")
T = TypeVar("T")
MOST_READERS = 8
"""The largest number of threads that read ahead; eight decode more photos than one GPU describes."""


def read_ahead(items: Iterable[S], read: Callable[[S], T], *, ahead: int) -> Iterator[T]:
    """Yield `read(item)` of every item, in order, as read by a thread for each core of this process.

    At most `ahead` results wait, so that memory use is bounded.
    """
    source = iter(items)
    with ThreadPoolExecutor(min(MOST_READERS, available_cores())) as pool:
        waiting: list[Future[T]] = [pool.submit(read, item) for item in islice(source, ahead)]
        try:
            while waiting:
                done = waiting.pop(0)
                for item in islice(source, 1):
                    waiting.append(pool.submit(read, item))
                yield done.result()
        finally:
            for future in waiting:
                future.cancel()


def in_parallel(tasks: Sequence[Callable[[], T]], workers: int, stop: Callable[[], None]) -> list[T]:
    """Run tasks in a few threads and return their results in order.

    stop: called on the first error and on Ctrl-C, so that tasks that wait for something end. Tasks that have not begun
    are left out then. A single task runs in this thread.
    """
    if len(tasks) == 1:
        return [tasks[0]()]
    pool = ThreadPoolExecutor(workers)
    futures = [pool.submit(task) for task in tasks]
    try:
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)  # the first error in time, not in order
        for future in done:
            future.result()
        return [future.result() for future in futures]
    except BaseException:
        stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of at most `size` items."""
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch


def in_batches(items: Iterable[S], read: Callable[[S], T], size: int, *, ahead: int | None = None) -> Iterator[list[T]]:
    """Yield `read(item)` of every item, in order, in lists of at most `size`.

    ahead: the largest number of results that wait beside a list; half of `size` by default.
    """
    return batched(read_ahead(items, read, ahead=ahead or max(1, size // 2)), size)


def up_to(items: list[T], most: int | None, counts: Callable[[T], bool]) -> list[T]:
    """Return the leading items of which at most `most` count; all of them for None."""
    number = 0
    for i, item in enumerate(items):
        number += counts(item)
        if most is not None and number > most:
            return items[:i]
    return items
