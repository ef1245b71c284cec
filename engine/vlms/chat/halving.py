"""Halve a batch where memory runs out, and go on."""

from collections.abc import Callable
from typing import TypeVar

import engine.core.device  # noqa: F401

import torch

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
    if torch.cuda.is_available():  # out of the `except` block, whose traceback keeps the batch's tensors alive
        torch.cuda.empty_cache()
    middle = len(items) // 2
    return in_halves(run, items[:middle]) + in_halves(run, items[middle:])
