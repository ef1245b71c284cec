"""Scan with workers: the driver reads files and writes the cache, workers decode and compute features."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engine.cluster.collecting_cache import CollectingCache
from engine.cluster.dispatch import Dispatcher, Pool, Step
from engine.cluster.jobs import Answer, Job, R, W, known_features
from engine.cluster.options import ClusterOptions
from engine.cluster.ray_pool import RayPool
from engine.cluster.worker import Work, open_worker_session, options_for_workers
from engine.core.batches import read_ahead
from engine.core.errors import EnvironmentFault, PhotoError
from engine.core.types import Status
from engine.photos.discovery import FoundFile
from engine.photos.photo_file import PhotoFile
from engine.recognition.scan import (
    BATCH,
    ScanRequest,
    ScanResult,
    begin_scan,
    read_unscanned,
    scan_files,
    scanned_already,
    with_companions,
)
from engine.session import Session, SessionOptions
from engine.store.known_contents import KnownContents
from engine.vision.cache import FeatureCache
from engine.vision.cached_extractor import CachedExtractor

_SHARD = 2 * BATCH
"""Photos in a shard: a worker decodes one batch while its models work on another."""
Scanned = tuple[FoundFile, ScanResult]


def scan_on(
    session: Session, photos: Iterable[Path | FoundFile], request: ScanRequest, options: ClusterOptions
) -> Iterator[ScanResult]:
    """Scan as `scan` does, with workers in place of this process.

    Raises:
        EngineError: those of `scan`, and of `ClusterOptions.check`.
    """
    options.check(session)
    setup = ScanSetup.of(session, request)
    with RayPool[None, Scanned](setup, options, uses_gpu=may_use_gpu(session, options)) as pool:
        yield from scan_with(pool, session, photos, request, ship_bytes=options.ship_bytes)


def scan_with(
    pool: Pool[None, Scanned],
    session: Session,
    photos: Iterable[Path | FoundFile],
    request: ScanRequest,
    *,
    ship_bytes: bool = False,
) -> Iterator[ScanResult]:
    """Scan as `scan` does, with the workers of a pool."""
    begin_scan(session, request)
    contents = session.contents(verify=request.verify)
    task = _ScanTask(session.extractor, request, contents)
    dispatcher = Dispatcher(pool, task, _SHARD, request.limit, ship_bytes)
    files = (FoundFile(p, "photo") if isinstance(p, Path) else p for p in photos)
    try:
        with closing(read_ahead(files, task.begin, ahead=_SHARD)) as steps:  # type: ignore[type-var]
            for results in dispatcher.run(steps):
                for file, result in results:
                    yield from with_companions(file, result)
    finally:
        contents.flush()


def may_use_gpu(session: Session, options: ClusterOptions) -> bool:
    """Whether workers may have GPUs: those of this machine, or those that a cluster has."""
    return session.uses_cuda if options.address is None else session.models.setting("device").value in ("auto", "cuda")


def store_features(cache: FeatureCache, answered: Sequence[tuple[Job[W], Answer[R]]]) -> None:
    """Store the features that workers computed, in one change for each model."""
    rows: dict[str, list[tuple[str, dict[str, np.ndarray]]]] = defaultdict(list)
    for job, answer in answered:
        for model, arrays in answer.features.items():
            rows[model].append((job.content_hash, arrays))
    for model, entries in rows.items():
        cache.save(model, entries)


@dataclass(frozen=True)
class _ScanTask:
    """What the driver does about each photo."""

    extractor: CachedExtractor
    request: ScanRequest
    contents: KnownContents

    def begin(self, file: FoundFile) -> Step[None, Scanned]:
        """Read a file, and settle it here if its features are in the cache."""
        found = read_unscanned(self.extractor, file, self.request, lambda file: self.contents.open(file.path))
        if isinstance(found, ScanResult):
            return Step((file, found))
        wanted = {"faces": self.request.faces, "regions": self.request.regions}
        return Step(None, Job.of(file, found, None, known_features(self.extractor, found.content_hash, **wanted)))

    def counts(self, result: Scanned) -> bool:
        """Whether the limit counts a photo: its features were computed."""
        return result[1].status is Status.OK

    def failed(self, job: Job[None], error: PhotoError) -> Scanned:
        """Return a photo that failed."""
        return job.file, ScanResult(job.file.path, Status.FAILED, reason=str(error))

    def again(self, job: Job[None], answer: Answer[Scanned]) -> Scanned | Job[None]:
        """Return a photo with the content of one that was scanned meanwhile."""
        is_scanned = answer.result is not None and answer.result[1].status is Status.OK
        return (job.file, scanned_already(job.file, job.content_hash)) if is_scanned else job

    def keep(self, answered: Sequence[tuple[Job[None], Answer[Scanned]]]) -> None:
        """Store new features."""
        store_features(self.extractor.cache, answered)


@dataclass(frozen=True)
class ScanSetup:
    """What workers need for a scan. recogniser: the id of the driver's."""

    options: SessionOptions
    request: ScanRequest
    recogniser: str

    @classmethod
    def of(cls, session: Session, request: ScanRequest) -> "ScanSetup":
        """Make the setup of a run."""
        return cls(options_for_workers(session), replace(request, limit=None), session.recogniser_config.id)

    def open(self) -> Work[None, Scanned]:
        """Choose the recogniser; its models load with the first photo.

        Raises:
            EngineError: the recogniser is not there, or is not that of the driver.
        """
        session, cache = open_worker_session(self.options)
        check_recogniser(session, self.recogniser)
        return _ScanWork(session.extractor, self.request, cache)


def check_recogniser(session: Session, recogniser: str) -> None:
    """Check that a worker has the driver's recogniser.

    Raises:
        EnvironmentFault: it has another version of it.
    """
    if session.recogniser_config.id != recogniser:
        raise EnvironmentFault(
            "a machine of the cluster has another version of the recogniser",
            hint="Install the same version of myvlm on every machine.",
        )


@dataclass(frozen=True)
class _ScanWork:
    """What a worker does about the photos of a shard."""

    extractor: CachedExtractor
    request: ScanRequest
    cache: CollectingCache

    def __call__(self, jobs: Sequence[Job[None]]) -> list[Answer[Scanned]]:
        self.cache.begin(jobs)
        unseen: set[Path] = set()
        results = scan_files(self.extractor, [j.file for j in jobs], self.request, _opener(jobs, unseen))
        return [
            Answer[Scanned](None)
            if job.place in unseen
            else Answer((file, result), self.cache.collected(job.content_hash))
            for job, (file, result) in zip(jobs, results, strict=True)
        ]


def _opener(jobs: Sequence[Job[None]], unseen: set[Path]) -> Callable[[FoundFile], PhotoFile]:
    """Return what opens the files of jobs; files that this machine cannot see are added to `unseen`."""
    by_file = {job.file: job for job in jobs}

    def open_file(file: FoundFile) -> PhotoFile:
        contents = by_file[file].open()
        if contents is None:
            unseen.add(by_file[file].place)
            raise PhotoError(f"{file.path}: it cannot be read here")
        return contents

    return open_file
