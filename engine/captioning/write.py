"""Write the records of photos into their sidecars, and report what became of each photo and its companions."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from engine.captioning.caption_run import CaptionRun
from engine.captioning.indexing import index_results
from engine.captioning.photo_steps import PhotoInRun
from engine.captioning.results import PhotoResult
from engine.core.notes import KEPT_DESCRIPTION_NOTES, Note, NoteCode
from engine.core.types import Status
from engine.sidecars.json_sidecar import PhotoRecord
from engine.sidecars.plan import plan_companions, plan_sidecars
from engine.sidecars.writer import SidecarEdit, Written, preview


def write_photos(run: CaptionRun, items: Sequence[PhotoInRun]) -> list[PhotoResult]:
    """Write the sidecars of some photos together, and return the result of each photo and of its raw companions."""
    return index_results(run, list(_write_sidecars(run, items)), {i.file.path: i.suggestions for i in items})


def _write_sidecars(run: CaptionRun, items: Sequence[PhotoInRun]) -> Iterator[PhotoResult]:
    edits = [_plan(run, item) for item in items]
    flat = [edit for own in edits for edit in own]
    written = iter(run.writer.write(flat) if run.writer else [preview(edit) for edit in flat])
    for item, own in zip(items, edits, strict=True):
        if item.known is not None:
            yield from item.known
            continue
        if item.record is None:
            yield _result_without_record(item)
            yield from (_skipped_companion(raw, item.file.path) for raw in item.file.companions)
            continue
        lead, *rest = own
        yield _report(run, item, item.record, lead, next(written))
        for raw, edit in zip(item.file.companions, rest, strict=True):
            companion = replace(item, paths=None, seconds=0.0)
            result = _report(run, companion, item.record, edit, next(written), path=raw)
            yield replace(result, reason=result.reason or f"as {item.file.path.name}")


def remember(run: CaptionRun, items: Sequence[PhotoInRun], results: Sequence[PhotoResult]) -> None:
    """Keep what the next run would report of photos, so that it need not read them while nothing changes.

    results: those of `write_photos`.
    """
    if run.written is None:
        return
    rest, found = iter(results), []
    for item in items:
        own = tuple(islice(rest, len(item.known or (item.file, *item.file.companions))))
        if item.look is None or item.known is not None:
            continue
        if any(n.code is NoteCode.NOT_INDEXED for r in own for n in r.notes):
            continue
        if any(r.status is Status.OK for r in own):
            facts = own[0].facts
            if facts is not None:
                run.written.add(run, item.look, facts.content_hash)
        else:
            found.append((item.look, own))
    run.written.unchanged.keep_results(found)


def _plan(run: CaptionRun, item: PhotoInRun) -> list[SidecarEdit]:
    """Plan the sidecars of a photo and of its raw companions; none where there is no record."""
    if item.record is None or item.paths is None:
        return []
    path, record, sidecars = item.file.path, item.record, run.request.sidecars
    embedded = item.photo.embedded if item.photo else item.embedded
    photo = plan_sidecars(
        path,
        record,
        item.paths,
        run=run.run_id,
        unrequested=run.unrequested,
        options=sidecars,
        embedded=embedded,
    )
    companions = plan_companions(
        path,
        record,
        item.file.companions,
        run.namer,
        run=run.run_id,
        unrequested=run.unrequested,
        options=sidecars,
    )
    return [photo, *companions]


def _result_without_record(item: PhotoInRun) -> PhotoResult:
    """Return the result of a photo that was skipped or failed."""
    if item.result is None:
        raise RuntimeError(f"{item.file.path} has neither a record nor a result")
    return item.result


def _skipped_companion(raw: Path, lead: Path) -> PhotoResult:
    return PhotoResult(raw, Status.SKIPPED, reason=f"goes with {lead.name}, which failed")


def _report(
    run: CaptionRun,
    item: PhotoInRun,
    record: PhotoRecord,
    edit: SidecarEdit,
    written: Written,
    *,
    path: Path | None = None,
) -> PhotoResult:
    """Report what became of a photo whose sidecars were written or previewed. path: of a companion."""
    path = path or item.file.path
    base = item.result or PhotoResult(path, Status.OK)
    outdated = tuple(map(Note.parse, run.keys.labels.notes(path, record.facts.content_hash)))
    sidecar_notes = item.paths.notes if item.paths else ()
    result = replace(
        base,
        path=path,
        caption=record.caption,
        matches=record.matches,
        facts=record.facts,
        sidecars=tuple(f.path for f in edit.files if f.path.exists()) if run.writer else (),
        notes=(*record.notes, *outdated, *sidecar_notes, *(n for m in written.merges for n in m.notes)),
        changes=tuple(c for m in written.merges for c in m.changes),
        displaced=item.displaced,
        removed=base.removed if any(m.changes_description for m in written.merges) else None,
        seconds=item.seconds,
    )
    if written.error is not None:
        return replace(result, status=Status.FAILED, reason=str(written.error), sidecars=())
    if item.result is None and not written.paths:
        kept = (n for m in written.merges for n in m.notes if n.code in KEPT_DESCRIPTION_NOTES)
        return replace(result, status=Status.UNCHANGED, reason="up to date", notes=(*record.notes, *outdated, *kept))
    if run.writer is None:
        return replace(result, status=Status.DRY_RUN)
    return replace(result, reason="written again" if item.result is None else None)
