"""Halve batches where memory runs out, and go on."""

from collections.abc import Callable
from typing import TypeVar

from engine.core.errors import is_out_of_memory

T = TypeVar("T")
R = TypeVar("R")


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
            _free_memory()  # out of the `except` block, whose traceback keeps the batch's tensors alive
        return results
