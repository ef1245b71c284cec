"""Scanning a library: the features of every photo, computed once and cached, so that a new concept needs no pixel.

Nothing but the cache is written, a batch at a time: what a kill loses is the batch in hand. No VLM is loaded, and no
lock of writing runs is taken: two scans at once cost time, and put the same rows into the cache.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.core.batches import in_batches
from engine.core.errors import PhotoError, UsageError
from engine.core.files import make_private_folder
from engine.core.notes import SkipReason
from engine.core.types import Status
from engine.photos.decode import Photo, decode_photo, read_photo
from engine.photos.discovery import FoundFile
from engine.session import Session
from engine.vision.cached_extractor import CachedExtractor
from engine.vision.config import RecogniserConfig

BATCH = 8
"""Photos that share the models' calls and a write to the cache."""


@dataclass(frozen=True)
class ScanRequest:
    """Which features to compute; `limit` is of how many photos at most, not counting those that have them already."""

    faces: bool = True
    regions: bool = True
    limit: int | None = None


@dataclass(frozen=True)
class ScanResult:
    """What came of one photo; how many faces and regions were found in it, where they were looked for now;
    content_hash: None of what could not be read, or is no photo.
    """

    path: Path
    status: Status
    faces: int | None = None
    regions: int | None = None
    reason: str | None = None
    seconds: float = 0.0
    content_hash: str | None = None
    skip: SkipReason | None = None


@dataclass(frozen=True)
class _Job:
    """One file on its way: decoded, or done before it got that far."""

    found: FoundFile
    photo: Photo | None = None
    result: ScanResult | None = None
    seconds: float = 0.0


def scan(
    session: Session, photos: Iterable[Path | FoundFile], request: ScanRequest | None = None
) -> Iterator[ScanResult]:
    """Compute and cache what is not cached yet, in order; every photo, RAW companion and video yields one result.

    Raises:
        EngineError: something that concerns all photos: no features were asked for, missing weights, a full disk.
    """
    request = request or ScanRequest()
    models = _models(session.recogniser_config, request)
    make_private_folder(session.folder)  # nothing else has to be opened that would make it
    session.cache.has("", models)  # opens it once, before the readers do
    found = (FoundFile(p, "photo") if isinstance(p, Path) else p for p in photos)
    left = request.limit
    for batch in in_batches(found, lambda f: _read(session.extractor, f, models), BATCH):
        jobs = _at_most(batch, left)
        for job, result in zip(jobs, _compute(session.extractor, request, jobs), strict=True):
            yield result
            yield from (_companion(raw, job.found, result) for raw in job.found.companions)
        if left is not None:
            left -= sum(j.photo is not None for j in jobs)
            if left <= 0:
                return


def _models(config: RecogniserConfig, request: ScanRequest) -> tuple[str, ...]:
    """Return the ids under which the wanted features are cached."""
    wanted = ((request.faces, config.found_faces_id), (request.regions, config.regions_id))
    models = tuple(model for is_wanted, model in wanted if is_wanted)
    if not models:
        raise UsageError("neither faces nor regions are wanted", hint="Ask for one of them, or for both.")
    return models


def _read(extractor: CachedExtractor, found: FoundFile, models: tuple[str, ...]) -> _Job:
    """Read and hash a photo; decode it only when something of it is not cached yet."""
    began = time.monotonic()
    if found.kind == "video":
        skip = SkipReason.LIVE_PHOTO_VIDEO if found.live else SkipReason.VIDEO
        return _Job(found, result=ScanResult(found.path, Status.SKIPPED, reason=skip.text, skip=skip))
    try:
        file = read_photo(found.path)
        if extractor.cache.has(file.content_hash, models):
            known = ScanResult(found.path, Status.UNCHANGED, reason="scanned already", content_hash=file.content_hash)
            return _Job(found, result=replace(known, seconds=time.monotonic() - began))
        return _Job(found, decode_photo(file), seconds=time.monotonic() - began)
    except PhotoError as err:
        failed = ScanResult(found.path, Status.FAILED, reason=str(err), seconds=time.monotonic() - began)
        return _Job(found, result=failed)


def _at_most(jobs: list[_Job], left: int | None) -> list[_Job]:
    """Return the jobs before the first that would be one too many to compute."""
    opened = 0
    for i, job in enumerate(jobs):
        opened += job.photo is not None
        if left is not None and opened > left:
            return jobs[:i]
    return jobs


def _compute(extractor: CachedExtractor, request: ScanRequest, jobs: Sequence[_Job]) -> list[ScanResult]:
    """Return the result of every job; faces and regions of those that were decoded are found and cached."""
    began = time.monotonic()
    photos = [j.photo for j in jobs if j.photo is not None]
    faces = [len(f) for f in extractor.find_faces(photos, keep=True)] if request.faces else [None] * len(photos)
    regions = (
        [len(f.regions) for f in extractor.find_regions(photos, keep=True)] if request.regions else [None] * len(photos)
    )
    share = (time.monotonic() - began) / max(1, len(photos))
    counts = iter(zip(faces, regions, strict=True))
    done = []
    for job in jobs:
        if job.photo is not None:
            own = ScanResult(job.found.path, Status.OK, *next(counts), seconds=job.seconds + share)
            done.append(replace(own, content_hash=job.photo.facts.content_hash))
        elif job.result is not None:
            done.append(job.result)
    return done


def _companion(raw: Path, lead: FoundFile, result: ScanResult) -> ScanResult:
    """Return the result of a raw file: its features are those of the photo beside it."""
    if result.status is Status.FAILED:
        return ScanResult(raw, Status.SKIPPED, reason=f"goes with {lead.path.name}, which failed")
    return replace(result, path=raw, reason=f"as {lead.path.name}", seconds=0.0)
