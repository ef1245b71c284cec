"""Spread measurements over processes, with the same sums as in a single one."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context

from engine.core.errors import EnvironmentFault

Notify = Callable[[str], None]
"""Shows the user one line about the progress of a measurement."""


def silent(line: str) -> None:
    """Drop a line of progress: workers show none."""


@contextmanager
def worker_pool(workers: int, *, prepare: Callable[[], None] | None = None) -> Iterator[ProcessPoolExecutor]:
    """Open a pool of new processes, each of which calls `prepare` first.

    Raises:
        EnvironmentFault: a process died.
    """
    try:
        with ProcessPoolExecutor(workers, get_context("spawn"), prepare) as pool:
            yield pool
    except BrokenProcessPool as err:
        raise EnvironmentFault("a worker died, perhaps for lack of memory", hint="Use fewer --workers.") from err


def use_one_thread() -> None:
    """Limit torch to one thread in this process."""
    import engine.core.device  # noqa: F401, I001
    import torch

    torch.set_num_threads(1)


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch to one thread for a while: sums, and so results, then equal those of several workers."""
    import engine.core.device  # noqa: F401, I001
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
