"""Halve a batch where memory runs out, and go on."""

from collections.abc import Callable
from typing import TypeVar

from engine.core.errors import is_out_of_memory

T = TypeVar("T")
R = TypeVar("R")


def in_halves(run: Callable[[list[T]], list[R]], items: list[T]) -> list[R]:
    """Run a batch; where memory runs out, run its halves, down to one item at a time.

    Raises:
        RuntimeError, MemoryError: one item alone does not fit either.
    """
    try:
        return run(items)
    except (RuntimeError, MemoryError) as err:
        if len(items) == 1 or not is_out_of_memory(err):
            raise
    _free_memory()  # out of the `except` block, whose traceback keeps the batch's tensors alive
    middle = len(items) // 2
    return in_halves(run, items[:middle]) + in_halves(run, items[middle:])


def _free_memory() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class BatchLimit:
    """How many items are run at a time: half as many each time that memory runs out, and no more afterwards."""

    def __init__(self) -> None:
        self.most: int | None = None

    def run(self, run: Callable[[list[T]], list[R]], items: list[T]) -> list[R]:
        """Run items in batches that fit into memory, in order.

        Raises:
            RuntimeError, MemoryError: one item alone does not fit.
        """
        results: list[R] = []
        while len(results) < len(items):
            rest = items[len(results) :]
            batch = rest[: self.most]
            try:
                results += run(batch)
                continue
            except (RuntimeError, MemoryError) as err:
                if len(batch) == 1 or not is_out_of_memory(err):
                    raise
            self.most = len(batch) // 2
            _free_memory()  # out of the `except` block, as above
        return results
