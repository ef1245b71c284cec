"""Scan a library: compute and cache the features of every photo, so that a new concept needs no photo to be decoded.

Only the cache is written, one batch at a time: an interrupted scan loses the current batch. No VLM is loaded, and the
lock of runs that write sidecars is not taken: two simultaneous scans take more time and cache the same rows.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.core.batches import in_batches, up_to
from engine.core.errors import PhotoError, UsageError
from engine.core.files import make_private_folder
from engine.core.notes import SkipReason
from engine.core.types import Status
from engine.photos.decode import Photo, PhotoFile, decode_photo, read_photo
from engine.photos.discovery import FoundFile
from engine.photos.photo_file import UnreadPhoto
from engine.session import Session
from engine.vision.cached_extractor import CachedExtractor

OpenFile = Callable[[FoundFile], PhotoFile | UnreadPhoto]
"""Reads a file's bytes, or tells its content hash, or raises PhotoError."""
BATCH = 8
"""Number of photos in each call of the models and each write to the cache."""


@dataclass(frozen=True)
class ScanRequest:
    """The features to compute.

    limit: the largest number of photos to compute features for. Photos with cached features do not count. verify: read
    also the photos that look as they did.
    """

    faces: bool = True
    regions: bool = True
    limit: int | None = None
    verify: bool = False


@dataclass(frozen=True)
class ScanResult:
    """The result for one file.

    faces, regions: the number of faces and regions in the photo; None if this scan did not detect them.
    seconds: the time that the file took.
    content_hash: None for a file that could not be read and for a video.
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
class _FileToScan:
    """A file with either its decoded photo or, where nothing has to be computed, its result."""

    file: FoundFile
    photo: Photo | None = None
    result: ScanResult | None = None
    seconds: float = 0.0


def scan(
    session: Session, photos: Iterable[Path | FoundFile], request: ScanRequest | None = None
) -> Iterator[ScanResult]:
    """Compute and cache the missing features; yield one result for each photo, RAW companion and video, in order.

    Raises:
        EngineError: a problem that affects all photos: no features were requested, weights are missing, the disk is
            full.
    """
    request = request or ScanRequest()
    begin_scan(session, request)
    files = (FoundFile(p, "photo") if isinstance(p, Path) else p for p in photos)
    contents = session.contents(verify=request.verify)
    try:
        for file, result in scan_files(session.extractor, files, request, lambda file: contents.open(file.path)):
            yield from with_companions(file, result)
    finally:
        contents.flush()


def begin_scan(session: Session, request: ScanRequest) -> None:
    """Prepare the cache.

    Raises:
        UsageError: neither faces nor regions are requested.
    """
    _check(request)
    make_private_folder(session.folder)  # no other step of a scan creates it
    session.cache.has_any("", ())  # opens the cache before the reader threads use it


def scan_files(
    extractor: CachedExtractor,
    files: Iterable[FoundFile],
    request: ScanRequest,
    open_file: OpenFile,
) -> Iterator[tuple[FoundFile, ScanResult]]:
    """Scan files, up to the limit of the request."""

    def read(file: FoundFile) -> _FileToScan:
        return _read(extractor, file, request, open_file)

    remaining = request.limit
    for batch in in_batches(files, read, BATCH, ahead=BATCH):
        items = up_to(batch, remaining, lambda item: item.photo is not None)
        yield from zip((item.file for item in items), _compute(extractor, request, items), strict=True)
        if remaining is not None:
            remaining -= sum(item.photo is not None for item in items)
            if remaining <= 0:
                return


def _check(request: ScanRequest) -> None:
    """Check that something is to be found.

    Raises:
        UsageError: neither faces nor regions are requested.
    """
    if not (request.faces or request.regions):
        raise UsageError("neither faces nor regions are wanted", hint="Ask for one of them, or for both.")


def read_unscanned(
    extractor: CachedExtractor,
    file: FoundFile,
    request: ScanRequest,
    open_file: OpenFile,
) -> ScanResult | PhotoFile:
    """Return the result for a file of which nothing has to be computed, else the file, read and hashed."""
    began = time.monotonic()
    if file.kind == "video":
        skip = SkipReason.LIVE_PHOTO_VIDEO if file.live else SkipReason.VIDEO
        return ScanResult(file.path, Status.SKIPPED, reason=skip.text, skip=skip)
    try:
        contents = open_file(file)
    except PhotoError as err:
        return _failed(file, err, began)
    if extractor.has(contents.content_hash, faces=request.faces, regions=request.regions):
        return replace(scanned_already(file, contents.content_hash), seconds=time.monotonic() - began)
    try:
        return contents if isinstance(contents, PhotoFile) else read_photo(file.path)
    except PhotoError as err:
        return _failed(file, err, began)


def scanned_already(file: FoundFile, content_hash: str) -> ScanResult:
    """Return the result for a photo whose features are in the cache."""
    return ScanResult(file.path, Status.UNCHANGED, reason="scanned already", content_hash=content_hash)


def _failed(file: FoundFile, error: PhotoError, began: float) -> ScanResult:
    return ScanResult(file.path, Status.FAILED, reason=str(error), seconds=time.monotonic() - began)


def _read(extractor: CachedExtractor, file: FoundFile, request: ScanRequest, open_file: OpenFile) -> _FileToScan:
    """Read and hash a photo; decode it only if some of its features are not cached."""
    began = time.monotonic()
    contents = read_unscanned(extractor, file, request, open_file)
    if isinstance(contents, ScanResult):
        return _FileToScan(file, result=contents)
    try:
        return _FileToScan(file, decode_photo(contents, edge=extractor.edge), seconds=time.monotonic() - began)
    except PhotoError as err:
        return _FileToScan(file, result=_failed(file, err, began))


def _compute(extractor: CachedExtractor, request: ScanRequest, items: Sequence[_FileToScan]) -> list[ScanResult]:
    """Return the result for each file; detect and cache the faces and regions of the decoded photos."""
    began = time.monotonic()
    photos = [item.photo for item in items if item.photo is not None]
    faces = [len(f) for f in extractor.find_faces(photos, keep=True)] if request.faces else [None] * len(photos)
    regions = (
        [len(f.regions) for f in extractor.find_regions(photos, keep=True)] if request.regions else [None] * len(photos)
    )
    seconds_each = (time.monotonic() - began) / max(1, len(photos))
    counts = iter(zip(faces, regions, strict=True))
    results = []
    for item in items:
        if item.photo is not None:
            scanned = ScanResult(item.file.path, Status.OK, *next(counts), seconds=item.seconds + seconds_each)
            results.append(replace(scanned, content_hash=item.photo.facts.content_hash))
        elif item.result is not None:
            results.append(item.result)
    return results


def with_companions(file: FoundFile, result: ScanResult) -> Iterator[ScanResult]:
    """Yield the result for a file, and those for its RAW companions."""
    yield result
    yield from (_companion_result(raw, file, result) for raw in file.companions)


def _companion_result(raw: Path, lead: FoundFile, result: ScanResult) -> ScanResult:
    """Return the result for a RAW file, which has the features of the photo `lead` of the same shot."""
    if result.status is Status.FAILED:
        return ScanResult(raw, Status.SKIPPED, reason=f"goes with {lead.path.name}, which failed")
    return replace(result, path=raw, reason=f"as {lead.path.name}", seconds=0.0)
