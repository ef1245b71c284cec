"""Captioning photos: read, recognise, caption, write sidecars; one bad photo never stops the rest."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from engine import __version__
from engine.errors import NotTrainedError, PhotoError, SidecarError
from engine.files import finish_first, sha256_of
from engine.photos.decode import Photo, decode_photo, read_photo
from engine.pipeline.batches import in_batches
from engine.pipeline.explain import Drawn, Pictures
from engine.pipeline.recognition import recognise
from engine.pipeline.session import Session
from engine.sidecars.json_sidecar import Account, json_path, read_document, recorded_matches, write_account
from engine.sidecars.xmp import Words, is_current, write_words, xmp_path
from engine.types import Concept, Kind, PhotoResult, Status


@dataclass(frozen=True)
class Request:
    """What to caption and how. `concepts` None stands for all that are enrolled, () for none; `explain` is a
    folder for pictures of what each concept attends to, for which what is up to date is captioned again.
    """

    concepts: tuple[str, ...] | None = None
    write: bool = True
    force: bool = False
    explain: Path | None = None


@dataclass(frozen=True)
class Described(PhotoResult):
    """A photo's result with the pictures that explain it."""

    pictures: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _Job:
    """One photo on its way: decoded, or done before it got that far."""

    path: Path
    photo: Photo | None
    key: str
    result: PhotoResult | None
    seconds: float = 0.0


def describe(session: Session, paths: Iterable[Path], request: Request) -> Iterator[PhotoResult]:
    """Caption photos, in order; every photo yields exactly one result.

    Raises:
        EngineError: something that concerns all photos: an unknown or untrained concept, missing weights.
    """
    vectors, _ = split_trained(session, request.concepts)
    concepts = tuple(vectors)
    base = _settings_digest(session, concepts)

    pictures = Pictures(request.explain) if request.explain else None

    def read(path: Path) -> _Job:
        return _read(path, base, request)

    for batch in in_batches(paths, read, session.vlm_config.batch):
        open_jobs = [j for j in batch if j.photo is not None]
        results = _caption(session, open_jobs, vectors, request, base, pictures)
        done = dict(zip([j.path for j in open_jobs], results, strict=True))
        yield from (j.result or done[j.path] for j in batch)


def split_trained(
    session: Session, names: tuple[str, ...] | None
) -> tuple[dict[Concept, np.ndarray], tuple[Concept, ...]]:
    """The concepts to name with their embeddings (1, D), and those left out because the VLM was never
    taught them, or because they were imported without a head (only when nobody asked for them by name).

    Raises:
        NotTrainedError: a concept asked for by name was never trained for this VLM.
        ConceptError: one asked for by name cannot be recognised.
    """
    if names == ():
        return {}, ()
    chosen = session.concepts(names)
    trained: dict[Concept, np.ndarray] = {}
    untrained = []
    for concept in chosen:
        try:
            vector = session.store.load_embedding(concept, session.vlm_id, session.vlm_revision).vector
        except NotTrainedError:
            if names is not None:
                raise
            untrained.append(concept)
            continue
        if names is not None:
            session.check_recognisable(concept)
        if session.can_recognise(concept):
            trained[concept] = vector
        else:
            untrained.append(concept)
    return trained, tuple(untrained)


def _settings_digest(session: Session, concepts: Sequence[Concept]) -> str:
    """What, beside the photo itself, decides a caption: VLM, prompts, recogniser, and all enrolled concepts with
    their versions, heads and embeddings for captions by this VLM (also those nobody asked for: they are
    rivals), unless none are to be named.
    """
    vlm = session.vlm_config
    model = (session.vlm_id, session.vlm_revision)
    everyone = session.store.all() if concepts else ()
    rivals = [(c.id, c.version, session.store.fingerprint(c, *model)) for c in everyone]
    parts = (
        __version__,
        *model,
        sorted(vlm.requests.items()),
        vlm.template,
        vlm.max_new_tokens,
        vlm.injection,
        session.recogniser_config.id,
        sorted(c.id for c in concepts),
        sorted(rivals),
    )
    return sha256_of(repr(parts).encode())[:24]


def _read(path: Path, base: str, request: Request) -> _Job:
    """Read a photo; an unchanged or unreadable one is done here."""
    began = time.monotonic()
    try:
        file = read_photo(path)
        key = f"{base}:{file.content_hash[:24]}"
        if not request.force and request.write and not request.explain:
            known = _up_to_date(path, key)
            if known:
                return _Job(path, None, key, replace(known, seconds=time.monotonic() - began))
        return _Job(path, decode_photo(file), key, None, time.monotonic() - began)
    except PhotoError as err:
        seconds = time.monotonic() - began
        return _Job(path, None, "", PhotoResult(path, Status.FAILED, reason=f"{err}", seconds=seconds))


def _up_to_date(path: Path, key: str) -> PhotoResult | None:
    document = read_document(path)
    if document is None or document.get("key") != key or not is_current(path):
        return None
    sidecars = (xmp_path(path), json_path(path))
    try:
        caption, matches = str(document["caption"]), recorded_matches(document)
    except (KeyError, TypeError, ValueError):  # edited by hand
        return None
    return PhotoResult(path, Status.UNCHANGED, caption=caption, matches=matches, sidecars=sidecars, reason="up to date")


def _caption(
    session: Session,
    jobs: Sequence[_Job],
    vectors: dict[Concept, np.ndarray],
    request: Request,
    base: str,
    pictures: Pictures | None,
) -> list[PhotoResult]:
    if not jobs:
        return []
    from engine import tasks

    began = time.monotonic()
    photos = [j.photo for j in jobs if j.photo]
    known = {c.id: tasks.Known(c, vector) for c, vector in vectors.items()}
    matches = recognise(session, photos, tuple(vectors), keep=request.write)
    named = [[known[m.concept_id] for m in own] for own in matches]
    spoken = tasks.caption(session.vlm, [p.image for p in photos], named)
    drawn = pictures.explain(session, photos, named) if pictures else [Drawn()] * len(photos)
    share = (time.monotonic() - began) / len(jobs)
    results = []
    for job, photo, own, said, heat in zip(jobs, photos, matches, spoken, drawn, strict=True):
        result = Described(
            job.path,
            Status.OK,
            caption=said.text,
            matches=own,
            facts=photo.facts,
            repaired=said.repaired,
            notes=(
                *(f"the VLM left out {n}; the name was put in" for n in said.repaired),
                *session.world_note(photo.software),
                *heat.notes,
            ),
            seconds=job.seconds + share,
            pictures=heat.pictures,
        )
        if not said.text.strip():
            results.append(
                replace(result, status=Status.FAILED, caption=None, reason=f"{job.path}: the VLM said nothing")
            )
        elif request.write:
            results.append(_write(session, job.key, photo, result, base))
        else:
            results.append(replace(result, status=Status.DRY_RUN))
    return results


def _write(session: Session, key: str, photo: Photo, result: PhotoResult, base: str) -> PhotoResult:
    words = Words(
        caption=result.caption or "",
        names=tuple(m.name for m in result.matches),
        people=tuple(m.name for m in result.matches if m.kind is Kind.PERSON),
        concepts=tuple(f"{m.concept_id}@{m.version}" for m in result.matches),
        vlm=f"{session.vlm_id}@{session.vlm_revision}",
        settings=base,
    )
    account = Account(
        photo.facts, words.caption, result.matches, session.vlm_id, session.vlm_revision, key, result.notes
    )
    try:
        with finish_first():
            xmp, merge = write_words(result.path, words, datetime.now().astimezone(), embedded=photo.xmp)
            json = write_account(result.path, account)
    except SidecarError as err:
        return replace(result, status=Status.FAILED, reason=str(err))
    return replace(result, sidecars=(xmp, json), notes=result.notes + merge.notes)
