"""Caption photos: read, recognise, describe, write sidecars. One bad photo never stops the others.

Nothing is computed twice: matches come from the JSON sidecar while no head changed, else from cached features; a
caption comes from the JSON sidecar while it would be written the same way about the same concepts.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from engine.captioning.caption_run import CaptionRequest, CaptionRun
from engine.captioning.explain_pictures import Explainer, ExplanationPictures, Pictures
from engine.captioning.names_only import check_drawn
from engine.captioning.photo_steps import PhotoInRun, make_record, read, recognise_photos
from engine.captioning.requested_concepts import RequestedConcepts, choose_requested
from engine.captioning.results import PhotoResult
from engine.captioning.staleness import compute_cache_keys
from engine.captioning.write import write_photos
from engine.core.batches import in_batches, up_to
from engine.core.errors import PhotoError
from engine.core.files import finish_first
from engine.core.notes import Note, NoteCode
from engine.core.types import PhotoFacts, Status
from engine.photos.decode import Photo
from engine.photos.discovery import FoundFile
from engine.recognition.gallery import build_gallery
from engine.session import Session
from engine.sidecars.locate import Namer
from engine.sidecars.writer import Writer
from engine.vlms.name_rules import words_of
from engine.vlms.personalised import GeneratedCaption, PersonalisedConcept

_Source = TypeVar("_Source")


def caption_photos(
    session: Session,
    photos: Iterable[Path | FoundFile],
    request: CaptionRequest,
    concepts: RequestedConcepts | None = None,
    *,
    prepare: "Prepare | None" = None,
) -> Iterator[PhotoResult]:
    """Caption photos, in order; every photo, raw companion and video yields exactly one result.

    concepts: those of the request, if the caller has chosen them already, and has checked that the VLM can describe
    all photos (`check_drawn`). prepare: how photos are read, recognised and described; None for in this process.

    Raises:
        NoVlmError: the VLM knows the drawn world only, and a photo was not drawn; nothing is written.
        EngineError: something that concerns all photos: an unknown concept, missing weights, another run that is
            writing, a full disk.
    """
    if concepts is None:
        options = (session.recogniser_config, session.recognition)
        concepts = choose_requested(session.store, *options, session.vlm_in_use, request.concepts)
        if session.vlm_config.world:
            photos = check_drawn(session.vlm_in_use, photos)
    writer = Writer(session.folder, "caption") if request.write else None
    run = _prepare(session, request, concepts, writer)
    with writer or nullcontext():
        if writer and run.keys.state is not None:
            session.store.recognition_states.save(run.keys.recognition_key, run.keys.state)
        files = (FoundFile(p, "photo") if isinstance(p, Path) else p for p in photos)
        yield from caption_files(run, files, session.vlm_config.batch, prepare or prepare_items)


def _prepare(
    session: Session, request: CaptionRequest, concepts: RequestedConcepts, writer: Writer | None
) -> CaptionRun:
    """Assemble what all photos of a run share."""
    store, config, vlm = session.store, session.recogniser_config, session.vlm_in_use
    gallery = build_gallery(
        concepts.enrolled,
        concepts.requested,
        calibrations=store.calibrations,
        decisions=store.decisions.all(),
        library=request.library,
    )
    return CaptionRun(
        request=request,
        concepts=concepts,
        gallery=gallery,
        keys=compute_cache_keys(store, config, vlm, concepts, gallery, only=request.only, form=request.forms.form),
        vlm=vlm,
        extractor=session.extractor,
        store=store,
        namer=Namer(request.naming),
        writer=writer,
        pictures=Pictures(request.explain) if request.explain else None,
    )


Prepare = Callable[[CaptionRun, Iterable[FoundFile], int], Iterator[list[PhotoInRun]]]
"""Reads, recognises and describes files; yields them in order, in lists, ready to be written. The number is a VLM's
batch."""


def caption_files(
    run: CaptionRun, files: Iterable[FoundFile], batch_size: int, prepare: Prepare
) -> Iterator[PhotoResult]:
    """Caption files, up to the limit of the request; every file and raw companion yields exactly one result."""
    with closing(prepare(run, files, batch_size)) as prepared:  # type: ignore[type-var]  # it is a generator
        for items in prepared:
            with finish_first():  # what is written is also reported
                yield from write_photos(run, items)


def prepare_items(run: CaptionRun, files: Iterable[FoundFile], batch_size: int) -> Iterator[list[PhotoInRun]]:
    """Read, recognise and describe files here; yield them in order, in lists, ready to be written."""
    return prepare_read(run, files, batch_size, lambda file: read(run, file))


def prepare_read(
    run: CaptionRun, sources: Iterable[_Source], batch_size: int, read_source: Callable[[_Source], PhotoInRun]
) -> Iterator[list[PhotoInRun]]:
    """Prepare items as `prepare_items` does, of sources that `read_source` reads and decodes in threads."""
    remaining = run.request.limit
    for batch in in_batches(sources, read_source, batch_size):
        items = up_to(batch, remaining, lambda item: item.counts)
        counted = sum(i.counts for i in items)
        items = _describe(run, _explain_names_only(run, recognise_photos(run, items)))
        yield [_without_pixels(item) for item in items]
        if remaining is not None:
            remaining -= counted
            if remaining <= 0:
                return


def _without_pixels(item: PhotoInRun) -> PhotoInRun:
    """Return an item with what its sidecars need of the photo, so that the pixels can be freed."""
    return item if item.photo is None else replace(item, photo=None, embedded=item.photo.embedded)


def _describe(run: CaptionRun, items: Sequence[PhotoInRun]) -> list[PhotoInRun]:
    """Let the VLM caption the decoded photos that have no record yet."""
    started = time.monotonic()
    done = list(items)
    pending = [(n, i, i.photo) for n, i in enumerate(done) if i.photo is not None and i.record is None]
    if not pending:
        return done
    from engine.vlms import captions

    photos = [photo for _, _, photo in pending]
    known = run.personalised
    concepts = [_tell(run, item, photo.facts) for _, item, photo in pending]
    forms = [run.form_for(photo.facts) for photo in photos]
    rules = [replace(run.name_rules, allowed=words_of([form.context])) for form in forms]

    def ask(some: Sequence[int]) -> list[GeneratedCaption]:
        images = [photos[i].image for i in some]
        return captions.caption(
            run.vlm.model, images, [concepts[i] for i in some], [forms[i] for i in some], [rules[i] for i in some]
        )

    generated = run.vlm.ask_by_photo(len(photos), ask)
    drawings = _explain(run, [item for _, item, _ in pending], photos, known)
    share = (time.monotonic() - started) / len(pending)
    for (n, item, photo), caption, drawing in zip(pending, generated, drawings, strict=True):
        done[n] = _with_caption(run, item, photo, caption, drawing)
        if done[n].record is not None:
            done[n] = replace(done[n], seconds=item.seconds + share)
    return done


def _tell(run: CaptionRun, item: PhotoInRun, facts: PhotoFacts) -> list[PersonalisedConcept]:
    """Return the concepts of a photo that the VLM is told of, and how."""
    return run.speaking.tell(run.enrolled_by_id, item.matches or (), (facts.width, facts.height))


def _with_caption(
    run: CaptionRun,
    item: PhotoInRun,
    photo: Photo,
    caption: GeneratedCaption | PhotoError,
    drawing: ExplanationPictures,
) -> PhotoInRun:
    """Add a generated caption to a photo.

    An empty one is a failure, as is an error in its place; but where all of it was taken out, because it named somebody
    who was not recognised, the photo gets names only.
    """
    if isinstance(caption, PhotoError):
        failed = PhotoResult.failed(item.file.path, PhotoError(f"{item.file.path}: {caption}"))
        return replace(item, result=replace(failed, facts=photo.facts))
    result = PhotoResult(
        item.file.path,
        Status.OK,
        repaired=caption.repaired,
        pictures=drawing.pictures,
        explanations=drawing.explanations,
    )
    if not caption.text.strip() and not caption.removed:
        reason = f"{item.file.path}: the VLM said nothing"
        return replace(item, result=replace(result, status=Status.FAILED, facts=photo.facts, reason=reason))
    put_in = (Note(NoteCode.NAME_PUT_IN, (name,)) for name in caption.repaired)
    taken_out = (Note(NoteCode.NAME_TAKEN_OUT, (name,)) for name in caption.removed)
    notes = (*photo.notes, *put_in, *taken_out, *map(Note.parse, drawing.notes))
    return replace(item, record=make_record(run, item, photo.facts, caption.text.strip() or None, notes), result=result)


def _explain_names_only(run: CaptionRun, items: list[PhotoInRun]) -> list[PhotoInRun]:
    """Add pictures of why concepts were recognised to the photos that no VLM describes, if the run explains."""
    if run.pictures is None:
        return items
    done = []
    for item in items:
        if item.photo is not None and item.record is not None:
            (drawing,) = _explain(run, [item], [item.photo], {})
            result = item.result or PhotoResult(item.file.path, Status.OK)
            result = replace(result, pictures=drawing.pictures, explanations=drawing.explanations)
            item = replace(item, result=result)
        done.append(item)
    return done


def _explain(
    run: CaptionRun,
    items: Sequence[PhotoInRun],
    photos: Sequence[Photo],
    known: Mapping[str, PersonalisedConcept],
) -> list[ExplanationPictures]:
    """Draw why the requested concepts were recognised in some photos, and what each attends to in the VLM."""
    if run.pictures is None:
        return [ExplanationPictures()] * len(photos)
    requested = run.requested_by_id
    recognised = [[requested[m.concept_id] for m in i.matches or () if m.concept_id in requested] for i in items]
    explainer = Explainer(run.store, run.extractor, run.vlm, run.gallery, run.pictures)
    return [explainer.explain(photo, concepts, known) for photo, concepts in zip(photos, recognised, strict=True)]
