"""Overlap the steps of a run: photos are read and recognised, described by the VLM, and written, all at the same time.

Threads read photos ahead (`core/batches.py`). Another recognises concepts in them. The VLM works in the main thread, so
that Ctrl-C stops it. A third kind of thread writes sidecars. Results come in the order of the files.
"""

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillWorkingError
from contextlib import closing
from dataclasses import replace
from time import monotonic
from typing import TypeVar

from engine.captioning.caption_run import CaptionRun
from engine.captioning.describe import describe, explain_names_only
from engine.captioning.photo_steps import PhotoInRun, read, recognise_photos
from engine.captioning.results import PhotoResult
from engine.captioning.write import remember, write_photos
from engine.core.background import in_background
from engine.core.batches import batched, in_batches, up_to
from engine.core.files import finish_first
from engine.photos.discovery import FoundFile

_Source = TypeVar("_Source")
_SORTED = 64
"""Photos among which those with prompts of like length are described together, where a run sorts them."""
_PATIENCE = 0.02
"""How long to wait for a batch to be written, as a share of the time that it took: captions of a slow VLM appear at
once, and a fast one is not held up."""


def prepare_items(run: CaptionRun, files: Iterable[FoundFile], batch_size: int) -> Generator[list[PhotoInRun]]:
    """Read, recognise and describe files; yield them in order, in lists, ready to be written and without pixels."""
    return prepare_read(run, files, batch_size, lambda file: read(run, file))


Prepare = Callable[[CaptionRun, Iterable[FoundFile], int], Generator[list[PhotoInRun]]]
"""What `prepare_items` does, here or in workers. The number is a VLM's batch."""


def caption_files(
    run: CaptionRun, files: Iterable[FoundFile], batch_size: int, prepare: Prepare = prepare_items
) -> Iterator[PhotoResult]:
    """Caption files, up to the limit of the request; every file and raw companion yields exactly one result."""
    with closing(prepare(run, files, batch_size)) as prepared:
        yield from write_behind(run, prepared)


def prepare_read(
    run: CaptionRun, sources: Iterable[_Source], batch_size: int, read_source: Callable[[_Source], PhotoInRun]
) -> Generator[list[PhotoInRun]]:
    """Prepare items as `prepare_items` does, of sources that `read_source` reads and decodes in threads."""
    batches = _recognised(run, sources, batch_size, read_source)
    ahead = batches if run.pictures else in_background(batches)  # explaining uses the recogniser, too
    together = max(1, _SORTED // batch_size) if run.sorts else 1
    with closing(ahead):
        for window in batched(ahead, together):
            items = describe(run, explain_names_only(run, [i for batch in window for i in batch]), batch_size)
            yield [_without_pixels(item) for item in items]


def _recognised(
    run: CaptionRun, sources: Iterable[_Source], batch_size: int, read_source: Callable[[_Source], PhotoInRun]
) -> Generator[list[PhotoInRun]]:
    """Read photos and recognise concepts in them batch by batch, up to the limit of the request."""
    remaining = run.request.limit
    for batch in in_batches(sources, read_source, batch_size):
        items = recognise_photos(run, up_to(batch, remaining, lambda item: item.counts))
        yield items
        if remaining is not None:
            remaining -= sum(i.counts for i in items)
            if remaining <= 0:
                return


def _without_pixels(item: PhotoInRun) -> PhotoInRun:
    """Return an item with what its sidecars need of the photo, so that the pixels can be freed."""
    return item if item.photo is None else replace(item, photo=None, embedded=item.photo.embedded)


def write_behind(run: CaptionRun, batches: Iterable[list[PhotoInRun]]) -> Iterator[PhotoResult]:
    """Write each list of items while the next one is made, and yield the results in order.

    What is written is also reported, whatever happens to the lists after it.
    """
    waiting: deque[Future[list[PhotoResult]]] = deque()
    with ThreadPoolExecutor(1) as pool:
        try:
            began = monotonic()
            for items in batches:
                patience = _PATIENCE * (monotonic() - began)
                yield from _results(waiting)
                with finish_first():
                    waiting.append(pool.submit(_write, run, items))
                if _is_done(waiting[0], patience):
                    yield from _results(waiting)
                began = monotonic()
        except GeneratorExit:  # nobody takes results any more
            raise
        except BaseException:
            yield from _results(waiting)
            raise
        yield from _results(waiting)


def _write(run: CaptionRun, items: list[PhotoInRun]) -> list[PhotoResult]:
    results = list(write_photos(run, items))
    try:
        remember(run, items, results)
    except Exception as err:  # noqa: BLE001  # it costs time only, and what is written is reported
        logging.getLogger(__name__).warning("the next run reads %d photos again: %s", len(items), err)
    return results


def _is_done(writing: "Future[list[PhotoResult]]", seconds: float) -> bool:
    """Wait for a writing; returns False where it takes longer. Its error, if any, is raised with its results."""
    try:
        writing.exception(timeout=seconds)
    except StillWorkingError:
        return False
    return True


def _results(waiting: "deque[Future[list[PhotoResult]]]") -> Iterator[PhotoResult]:
    """Yield the results of what was written; a signal waits meanwhile, so that all of them are reported."""
    with finish_first():
        while waiting:
            yield from waiting.popleft().result()
