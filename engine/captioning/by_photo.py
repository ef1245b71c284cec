"""Ask a VLM about a batch of photos, so that a photo without an answer does not stop the others."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from engine.core.batches import in_parallel
from engine.core.errors import PhotoError
from engine.vlms.in_use import VlmInUse

T = TypeVar("T")


def ask_by_photo(vlm: VlmInUse, count: int, ask: Callable[[Sequence[int]], Sequence[T]]) -> list[T | PhotoError]:
    """Ask about photos 0 to `count` - 1 of a batch; returns in order what was said of each, or why there is nothing.

    A VLM that is loaded here takes the whole batch at once. One in a server gets each photo in a request of its own, a
    few at a time, and a request can fail.

    ask: asks about the photos of some indices.
    """
    if vlm.config.server is None:
        return list(ask(range(count)))
    from engine.vlms.server.adapter import ServerVlm

    model = vlm.model  # connects once, before any thread does
    assert isinstance(model, ServerVlm)

    def ask_one(index: int) -> T | PhotoError:
        try:
            (said,) = ask([index])
        except PhotoError as err:
            return err
        return said

    tasks = [partial(ask_one, i) for i in range(count)]
    return in_parallel(tasks, vlm.config.server.parallel, model.stop)
