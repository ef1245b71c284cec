"""Captioning photos: read, recognise, caption, write sidecars; one bad photo never stops the rest.

Nothing is found out twice: a photo's matches are those of its JSON sidecar while nobody's head changed, else those of
the cached features; its caption is that of its JSON sidecar while it is about the same concepts, said the same way.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.captioning.explain_pictures import Drawn, Pictures
from engine.captioning.names_only import caption_holds, check_drawn, names_only_account, with_new_names
from engine.captioning.requested_concepts import RequestedConcepts, choose_requested
from engine.captioning.staleness import CacheKeys, compute_cache_keys, known_matches
from engine.core.batches import in_batches
from engine.core.errors import PhotoError, SidecarError
from engine.core.files import finish_first
from engine.core.notes import FILE_NOTES, KEPT_DESCRIPTION_NOTES, Note, NoteCode, SkipReason
from engine.core.types import Match, PhotoFacts, PhotoResult, Status
from engine.photos.decode import Photo, PhotoFile, decode_photo, read_photo
from engine.photos.discovery import FoundFile
from engine.photos.metadata.embedded import Embedded, embedded_of
from engine.photos.metadata.exif import exif_of
from engine.recognition.displaced import DisplacedConcept
from engine.recognition.explain.explanation import Explanation
from engine.recognition.gallery import Gallery, load_gallery
from engine.recognition.recognise import recognise_all
from engine.session import Session
from engine.sidecars.json_sidecar import PhotoRecord, read_record
from engine.sidecars.locate import Namer, Naming, SidecarPaths
from engine.sidecars.plan import SidecarOptions, UnrequestedConcepts, plan_companions, plan_sidecars
from engine.sidecars.removed_names import load_removed_names
from engine.sidecars.writer import SidecarEdit, Writer, Written, preview
from engine.sidecars.xmp import Change

if TYPE_CHECKING:
    from engine.vlms.generate import PersonalisedConcept


@dataclass(frozen=True)
class CaptionRequest:
    """What to caption and how.

    concepts: None stands for all that are enrolled, () for none. only: the names of all others that earlier runs wrote
    are removed. explain: a folder for pictures of what each concept attends to and why it was recognised, for which
    what is up to date is captioned again. limit: how many photos to caption at most, not counting those that are up to
    date. library: the folder whose calibration to use.
    """

    concepts: tuple[str, ...] | None = None
    only: bool = False
    write: bool = True
    force: bool = False
    explain: Path | None = None
    naming: Naming = Naming()
    manner: SidecarOptions = SidecarOptions()
    limit: int | None = None
    library: Path | None = None


@dataclass(frozen=True)
class Described(PhotoResult):
    """A photo's result with what explains it where that was wanted, pictures and why each concept was recognised, and
    what is or would be changed in its XMP sidecar. `removed`: the caption of before, which names somebody who is not
    recognised any more, and which no VLM could replace. `displaced`: concepts that an enrolled one, which was not asked
    for, keeps from being named.
    """

    pictures: tuple[Path, ...] = ()
    whys: tuple[Explanation, ...] = ()
    changes: tuple[Change, ...] = ()
    removed: str | None = None
    displaced: tuple[DisplacedConcept, ...] = ()


@dataclass(frozen=True)
class _Job:
    """One photo on its way: decoded; or known well enough without; or done before it got that far.

    document: its JSON sidecar. software: the program that made it, by its EXIF.
    """

    found: FoundFile
    photo: Photo | None = None
    paths: SidecarPaths | None = None
    document: PhotoRecord | None = None
    embedded: Embedded | None = None
    software: str = ""
    declined: frozenset[str] = frozenset()
    matches: tuple[Match, ...] | None = None
    account: PhotoRecord | None = None
    displaced: tuple[DisplacedConcept, ...] = ()
    result: PhotoResult | None = None
    seconds: float = 0.0

    @property
    def counts(self) -> bool:
        """Whether `limit` counts this photo: it is not up to date."""
        return self.photo is not None or (self.result is not None and self.result.status is Status.OK)


@dataclass(frozen=True)
class _Run:
    """What all photos of a run share."""

    session: Session
    request: CaptionRequest
    chosen: RequestedConcepts
    enrolled: Gallery
    others: UnrequestedConcepts
    digests: CacheKeys
    namer: Namer
    writer: Writer | None
    pictures: Pictures | None


def caption_photos(
    session: Session, photos: Iterable[Path | FoundFile], request: CaptionRequest
) -> Iterator[PhotoResult]:
    """Caption photos, in order; every photo, RAW companion and video yields exactly one result.

    Raises:
        NoVlmError: the user chose a VLM that knows the drawn world only, and a photo was not drawn; nothing is written.
        EngineError: something that concerns all photos: an unknown concept, missing weights, another run that is
            writing, a full disk.
    """
    chosen = choose_requested(session, request.concepts)
    if session.choices.vlm and session.vlm_config.world:
        photos = check_drawn(session, photos)
    enrolled = load_gallery(
        session.store, session.recogniser_config, session.recognition, chosen.asked, request.library
    )
    now = compute_cache_keys(session, chosen.asked, enrolled, only=request.only)
    others = UnrequestedConcepts.of(session.store.all(), session.store.all() if request.only else chosen.asked)
    writer = Writer(session.folder, "caption") if request.write else None
    with writer or nullcontext():
        if writer and now.state is not None:
            session.store.recognition_states.save(now.everyone, now.state)
        pictures = Pictures(request.explain) if request.explain else None
        run = _Run(session, request, chosen, enrolled, others, now, Namer(request.naming), writer, pictures)
        found = (FoundFile(p, "photo") if isinstance(p, Path) else p for p in photos)
        left = request.limit
        for batch in in_batches(found, lambda f: _read(run, f), session.vlm_config.batch):
            jobs = _at_most(batch, left)
            ready = _caption(run, jobs)
            with finish_first():  # what is written is also told
                yield from _finish(run, ready)
            if left is not None:
                left -= sum(j.counts for j in jobs)
                if left <= 0:
                    return


def _at_most(jobs: list[_Job], left: int | None) -> list[_Job]:
    """The jobs before the first that would be one too many to caption."""
    if left is None:
        return jobs
    opened = 0
    for i, job in enumerate(jobs):
        opened += job.counts
        if opened > left:
            return jobs[:i]
    return jobs


def _read(run: _Run, found: FoundFile) -> _Job:
    """Read a photo; decode it only when its caption is not known already."""
    began = time.monotonic()
    if found.kind == "video":
        skip = SkipReason.LIVE_PHOTO_VIDEO if found.live else SkipReason.VIDEO
        return _Job(found, result=PhotoResult(found.path, Status.SKIPPED, reason=skip.text, skip=skip))
    try:
        file = read_photo(found.path)
        paths = run.namer.find(found.path)
        declined = load_removed_names(paths.xmp)
        job = _Job(found, paths=paths, document=read_record(paths.json), declined=declined)
        if job.document is not None and _may_reuse(run):
            job = _reuse(run, job, job.document, file)
        if job.account is None:
            photo = decode_photo(file)
            job = replace(job, photo=photo, software=photo.software)
    except (PhotoError, SidecarError) as err:
        job = _Job(found, result=PhotoResult(found.path, Status.FAILED, reason=str(err)))
    return replace(job, seconds=time.monotonic() - began)


def _may_reuse(run: _Run) -> bool:
    return not (run.request.force or run.request.explain)


def _reuse(run: _Run, job: _Job, known: PhotoRecord, file: PhotoFile) -> _Job:
    """What an earlier run found out, as far as it still holds, without looking at a pixel."""
    seen = known_matches(run.session, run.digests, run.enrolled, known, file.content_hash, job.declined)
    if seen is None:
        return job
    exif = exif_of(file.blocks)  # date and place may have been written into the photo since
    facts = replace(known.facts, taken=exif.taken, place=exif.place)
    job = replace(job, embedded=embedded_of(file.blocks), software=exif.software, displaced=seen.displaced)
    return _settle(run, job, facts, file.content_hash, seen.matches)


def _settle(run: _Run, job: _Job, facts: PhotoFacts, content_hash: str, matches: tuple[Match, ...]) -> _Job:
    """Add a photo's matches to its job. Add its account, too, where no VLM has to run: the recorded caption is what the
    VLM would write now, or no VLM knows such photos.
    """
    known, job = job.document, replace(job, matches=matches)
    if not run.session.can_describe(job.software):
        return _without_caption(run, job, replace(facts, content_hash=content_hash))
    if known is None or not _may_reuse(run) or known.key != run.digests.key(content_hash, matches):
        return job
    return replace(job, account=_account(run, job, facts, known.caption, known.notes))


def _without_caption(run: _Run, job: _Job, facts: PhotoFacts) -> _Job:
    """Finish a photo that no VLM describes: with its earlier caption unless that is known to be wrong, else with names
    only.
    """
    known, matches = job.document, job.matches or ()
    recognition = run.digests.recognition(facts.content_hash, job.declined)
    if known is not None and caption_holds(known, facts, matches, job.software):
        text = with_new_names(known, matches)
        return replace(job, account=replace(known, caption=text, facts=facts, matches=matches, recognition=recognition))
    if known is None and not run.chosen.asked:
        skip = SkipReason.NOTHING_TO_WRITE
        skipped = PhotoResult(job.found.path, Status.SKIPPED, reason=skip.text, skip=skip)
        return replace(job, photo=None, result=skipped)
    account = replace(names_only_account(run.digests, facts, matches, recognition), notes=_file_notes(job))
    if known is not None and known.key == account.key:
        return replace(job, account=account)
    removed = known.caption if known is not None else None
    return replace(job, account=account, result=Described(job.found.path, Status.OK, removed=removed))


def _file_notes(job: _Job) -> tuple[Note, ...]:
    """Return the notes about the photo's file, from decoding it now or from its JSON sidecar."""
    if job.photo is not None:
        return job.photo.notes
    return tuple(n for n in (job.document.notes if job.document else ()) if n.code in FILE_NOTES)


def _account(run: _Run, job: _Job, facts: PhotoFacts, caption: str | None, notes: Iterable[Note]) -> PhotoRecord:
    matches = job.matches or ()
    return PhotoRecord(
        facts=facts,
        caption=caption,
        matches=matches,
        vlm=run.session.vlm_id,
        revision=run.session.vlm_revision,
        key=run.digests.key(facts.content_hash, matches),
        recognition=run.digests.recognition(facts.content_hash, job.declined),
        settings=run.digests.settings,
        notes=tuple(notes),
    )


def _caption(run: _Run, jobs: Sequence[_Job]) -> list[_Job]:
    """Find out who is in the photos that were decoded, and let the VLM speak of those that changed."""
    began = time.monotonic()
    done = _explain_names_only(run, _recognise(run, jobs))
    opened = [(i, j, j.photo) for i, j in enumerate(done) if j.photo is not None and j.account is None]
    if not opened:
        return done
    from engine.vlms import generate

    session = run.session
    photos = [p for _, _, p in opened]
    known = {c.id: generate.PersonalisedConcept(c, vector) for c, vector in run.chosen.vectors.items()}
    named = [[known[m.concept_id] for m in j.matches or () if m.concept_id in known] for _, j, _ in opened]
    spoken = generate.caption(session.vlm, [p.image for p in photos], named)
    drawn = _explain(run, [j for _, j, _ in opened], photos, known)
    share = (time.monotonic() - began) / len(opened)
    for (i, job, photo), said, heat in zip(opened, spoken, drawn, strict=True):
        notes = (
            *photo.notes,
            *(Note(NoteCode.NAME_PUT_IN, (n,)) for n in said.repaired),
            *map(Note.parse, heat.notes),
        )
        result = Described(job.found.path, Status.OK, repaired=said.repaired, pictures=heat.pictures, whys=heat.whys)
        if not said.text.strip():
            reason = f"{job.found.path}: the VLM said nothing"
            done[i] = replace(job, result=replace(result, status=Status.FAILED, facts=photo.facts, reason=reason))
            continue
        account = _account(run, job, photo.facts, said.text, notes)
        done[i] = replace(job, account=account, result=result, seconds=job.seconds + share)
    return done


def _explain_names_only(run: _Run, jobs: list[_Job]) -> list[_Job]:
    """Add pictures of why concepts were recognised to the jobs that no VLM describes, if `explain` is set."""
    open_jobs = [j for j in jobs if run.pictures and j.photo is not None and j.account is not None]
    photos = [j.photo for j in open_jobs if j.photo is not None]
    drawn = dict(zip((j.found.path for j in open_jobs), _explain(run, open_jobs, photos, {}), strict=True))
    done = []
    for job in jobs:
        own = drawn.get(job.found.path)
        if own is not None:
            result = job.result if isinstance(job.result, Described) else Described(job.found.path, Status.OK)
            job = replace(job, result=replace(result, pictures=own.pictures, whys=own.whys))
        done.append(job)
    return done


def _explain(
    run: _Run, jobs: Sequence[_Job], photos: Sequence[Photo], known: "Mapping[str, PersonalisedConcept]"
) -> list[Drawn]:
    """Draw why the requested concepts were recognised in some photos, and what each attends to in the VLM."""
    if run.pictures is None:
        return [Drawn()] * len(photos)
    asked = {c.id: c for c in run.chosen.asked}
    recognised = [[asked[m.concept_id] for m in j.matches or () if m.concept_id in asked] for j in jobs]
    return run.pictures.explain(run.session, photos, recognised, known, run.enrolled)


def _recognise(run: _Run, jobs: Sequence[_Job]) -> list[_Job]:
    unknown = [j.photo for j in jobs if j.matches is None and j.photo is not None]
    fresh = iter(recognise_all(run.session.extractor, unknown, run.enrolled, keep=run.request.write))
    done = []
    for job in jobs:
        if job.matches is None and job.photo is not None:
            facts = job.photo.facts
            seen = next(fresh)
            matches = run.digests.allowed(seen.matches, facts.content_hash, job.declined)
            matches = run.digests.with_kept(matches, job.document, facts.content_hash, job.declined)
            job = _settle(run, replace(job, displaced=seen.displaced), facts, facts.content_hash, matches)
        done.append(job)
    return done


def _finish(run: _Run, jobs: Sequence[_Job]) -> Iterator[PhotoResult]:
    """Write what was found out, and say what came of each photo and of its companions."""
    groups: list[list[SidecarEdit]] = []
    for job in jobs:
        groups.append([])
        if job.account is not None and job.paths is not None:
            embedded = job.photo.embedded if job.photo else job.embedded
            name = run.writer.run if run.writer else ""
            path, account, others, manner = job.found.path, job.account, run.others, run.request.manner
            groups[-1].append(
                plan_sidecars(path, account, job.paths, run=name, unrequested=others, options=manner, embedded=embedded)
            )
            groups[-1].extend(
                plan_companions(
                    path, account, job.found.companions, run.namer, run=name, unrequested=others, options=manner
                )
            )
    plans = [p for group in groups for p in group]
    outcomes = iter(run.writer.write(plans) if run.writer else [preview(p) for p in plans])
    for job, group in zip(jobs, groups, strict=True):
        result = _tell(run, job, group[0], next(outcomes)) if group else job.result
        assert result is not None
        yield result
        for raw, plan in zip(job.found.companions, group[1:] or [None] * len(job.found.companions), strict=True):
            if plan is None:
                reason = f"goes with {job.found.path.name}, which failed"
                yield PhotoResult(raw, Status.SKIPPED, reason=reason)
            else:
                own = replace(job, found=FoundFile(raw, "photo"), paths=None, seconds=0.0)
                told = _tell(run, own, plan, next(outcomes))
                yield replace(told, reason=told.reason or f"as {job.found.path.name}")


def _tell(run: _Run, job: _Job, plan: SidecarEdit, outcome: Written) -> PhotoResult:
    account = job.account
    assert account is not None
    base = job.result if isinstance(job.result, Described) else Described(job.found.path, Status.OK)
    past = tuple(map(Note.parse, run.digests.rulings.notes(job.found.path, account.facts.content_hash)))
    result = replace(
        base,
        path=job.found.path,
        caption=account.caption,
        matches=account.matches,
        facts=account.facts,
        sidecars=tuple(i.path for i in plan.files if i.path.exists()) if run.writer else (),
        notes=(
            *account.notes,
            *past,
            *(job.paths.notes if job.paths else ()),
            *(n for m in outcome.merges for n in m.notes),
        ),
        changes=tuple(c for m in outcome.merges for c in m.changes),
        displaced=job.displaced,
        removed=base.removed if any(m.changes_description for m in outcome.merges) else None,
        seconds=job.seconds,
    )
    if outcome.error is not None:
        return replace(result, status=Status.FAILED, reason=str(outcome.error), sidecars=())
    if job.result is None and not outcome.paths:
        kept = (n for m in outcome.merges for n in m.notes if n.code in KEPT_DESCRIPTION_NOTES)
        return replace(result, status=Status.UNCHANGED, reason="up to date", notes=(*account.notes, *past, *kept))
    if run.writer is None:
        return replace(result, status=Status.DRY_RUN)
    return replace(result, reason="written again" if job.result is None else None)
