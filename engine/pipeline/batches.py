"""Photos in batches, read and decoded ahead of the models by a few threads."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
READERS = 2


def read_ahead(paths: Iterable[Path], read: Callable[[Path], T], *, ahead: int) -> Iterator[T]:
    """`read` of every path, in order, with at most `ahead` results waiting: memory stays flat."""
    source = iter(paths)
    with ThreadPoolExecutor(READERS) as pool:
        waiting: list[Future[T]] = [pool.submit(read, p) for p in islice(source, ahead)]
        try:
            while waiting:
                done = waiting.pop(0)
                for path in islice(source, 1):
                    waiting.append(pool.submit(read, path))
                yield done.result()
        finally:
            for future in waiting:
                future.cancel()


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most `size` items."""
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch


def in_batches(paths: Iterable[Path], read: Callable[[Path], T], size: int) -> Iterator[list[T]]:
    """`read` of every path, in order, at most `size` at a time."""
    return batched(read_ahead(paths, read, ahead=max(1, size // 2)), size)
