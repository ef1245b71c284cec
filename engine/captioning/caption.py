"""Caption photos: read, recognise, describe, write sidecars. One bad photo never stops the others.

Nothing is computed twice: matches come from the JSON sidecar while no head changed, else from cached features; a
caption comes from the JSON sidecar while it would be written the same way about the same concepts.
"""

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from engine.captioning.caption_run import CaptionRequest, CaptionRun
from engine.captioning.explain_pictures import Pictures
from engine.captioning.names_only import check_drawn
from engine.captioning.pipeline import Prepare, caption_files, prepare_items
from engine.captioning.rehearse import WrittenPhotos
from engine.captioning.requested_concepts import RequestedConcepts, choose_requested
from engine.captioning.results import PhotoResult
from engine.captioning.staleness import compute_cache_keys
from engine.captioning.unchanged import UnchangedPhotos
from engine.library.index import LibraryIndex
from engine.photos.discovery import FoundFile
from engine.recognition.gallery import build_gallery
from engine.session import Session
from engine.sidecars.locate import Namer
from engine.sidecars.writer import Writer


def caption_photos(
    session: Session,
    photos: Iterable[Path | FoundFile],
    request: CaptionRequest,
    concepts: RequestedConcepts | None = None,
    unchanged: UnchangedPhotos | None = None,
    *,
    prepare: Prepare | None = None,
) -> Iterator[PhotoResult]:
    """Caption photos, in order; every photo, raw companion and video yields exactly one result.

    concepts: those of the request, if the caller has chosen them already, and has checked that the VLM can describe
    all photos (`check_drawn`). unchanged: what earlier runs of the same kind saw. prepare: how photos are read,
    recognised and described; None for in this process.

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
    written = WrittenPhotos(unchanged) if unchanged and writer else None
    run = replace(prepare_run(session, request, concepts, writer), unchanged=unchanged, written=written)
    with writer or nullcontext(), run.index or nullcontext():
        if writer and run.keys.state is not None:
            session.store.recognition_states.save(run.keys.recognition_key, run.keys.state)
        files = (FoundFile(p, "photo") if isinstance(p, Path) else p for p in photos)
        yield from caption_files(run, files, session.batch, prepare or prepare_items)
        if run.written is not None:
            run.written.rehearse(run)
            run.written.unchanged.finish()


def prepare_run(
    session: Session, request: CaptionRequest, concepts: RequestedConcepts, writer: Writer | None
) -> CaptionRun:
    """Assemble what all photos of a run share."""
    store, config, vlm = session.store, session.recogniser_config, session.vlm_in_use
    gallery = build_gallery(
        concepts.enrolled,
        concepts.requested,
        calibrations=store.calibrations if request.write else store.calibrations.reading_only(),
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
        sorts=session.has_vlm and session.uses_cuda,
        index=LibraryIndex(session.folder) if writer else None,
    )
