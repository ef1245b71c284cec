"""Photos in batches, read and decoded ahead of the models by a few threads."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")
READERS = 2


def read_ahead(items: Iterable[S], read: Callable[[S], T], *, ahead: int) -> Iterator[T]:
    """`read` of every item, in order, with at most `ahead` results waiting: memory stays flat."""
    source = iter(items)
    with ThreadPoolExecutor(READERS) as pool:
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


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most `size` items."""
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch


def in_batches(items: Iterable[S], read: Callable[[S], T], size: int) -> Iterator[list[T]]:
    """`read` of every item, in order, at most `size` at a time."""
    return batched(read_ahead(items, read, ahead=max(1, size // 2)), size)
