"""Index photos for `myvlm search` once their sidecars are written."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from engine.captioning.caption_run import CaptionRun
from engine.captioning.results import PhotoResult
from engine.core.notes import Note, NoteCode
from engine.core.types import Status
from engine.library.update import PhotoFiles, index_photos


def index_results(
    run: CaptionRun, results: Sequence[PhotoResult], suggestions: Mapping[Path, tuple[str, ...] | None]
) -> list[PhotoResult]:
    """Index the photos of a batch; where that fails, their results say so, and nothing else changes.

    suggestions: ids of the suggested concepts of photos; None if not known. Those of concepts that the run does not
    look for stay.
    """
    if run.index is None:
        return list(results)
    photos = [
        PhotoFiles(r.path, r.sidecars, suggestions.get(r.path), _failure(r))
        for r in results
        if r.status is not Status.SKIPPED
    ]
    problem = index_photos(run.index, photos, [c.id for c in run.concepts.requested])
    note = (Note(NoteCode.NOT_INDEXED, (problem,)),) if problem else ()
    return [replace(r, notes=(*r.notes, *note)) for r in results]


def _failure(result: PhotoResult) -> str:
    return (result.reason or "failed") if result.status is Status.FAILED else ""
