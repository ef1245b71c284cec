"""Keep what the next run would report of photos that a run has just written, by doing what it would do."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from engine.captioning.results import PhotoResult
from engine.captioning.unchanged import Look, UnchangedPhotos
from engine.photos.photo_file import UnreadPhoto
from engine.sidecars.file_states import FileStates
from engine.sidecars.locate import Namer
from engine.sidecars.writer import Preview

if TYPE_CHECKING:
    from engine.captioning.caption_run import CaptionRun

_TOGETHER = 256
"""Photos that are rehearsed together, so that their folder is listed once for them."""


@dataclass(frozen=True)
class WrittenPhotos:
    """Photos with new sidecars: how they looked before they were read, and their content hashes."""

    unchanged: UnchangedPhotos
    waiting: list[tuple[Look, str]] = field(default_factory=list)

    def add(self, run: "CaptionRun", look: Look, content_hash: str) -> None:
        """Add a photo, and rehearse if there are many."""
        self.waiting.append((look, content_hash))
        if len(self.waiting) >= _TOGETHER:
            self.rehearse(run)

    def rehearse(self, run: "CaptionRun") -> None:
        """Keep what the next run would report of the photos, if nothing changes.

        Photos are read again only if they had changed just before they were read.
        """
        photos = self.waiting.copy()
        self.waiting.clear()
        if photos and run.writer is not None:
            self.unchanged.keep_results(_next_results(run, photos))


def _next_results(
    run: "CaptionRun", photos: Sequence[tuple[Look, str]]
) -> Iterator[tuple[Look, Sequence[PhotoResult]]]:
    """Yield what the next run would report of each photo, without those that it would decode."""
    from engine.captioning.photo_steps import read_undecoded
    from engine.captioning.write import write_photos

    assert run.writer is not None
    request = replace(run.request, force=False, explain=None)
    namer, writer = Namer(request.naming), Preview(run.writer)
    again = replace(
        run, request=request, writer=writer, namer=namer, pictures=None, unchanged=None, written=None, index=None
    )
    states = FileStates(request.naming)
    for before, content_hash in photos:
        look = Look.at(before.file, states.of(before.file))
        if look is None:
            continue
        same = before.state.unsettled != "all" and look.state.of_photos == before.state.of_photos
        unread = UnreadPhoto(before.file.path, content_hash) if same else None
        item, to_decode = read_undecoded(again, before.file, unread)
        if to_decode is None:
            yield look, tuple(write_photos(again, [item]))
