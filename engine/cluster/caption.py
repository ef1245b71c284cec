"""Caption with workers: the driver reads files and writes sidecars, workers decode, recognise and describe."""

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from engine.captioning.caption_run import CaptionRequest, CaptionRun
from engine.captioning.photo_steps import PhotoInRun, decode, read_undecoded
from engine.captioning.pipeline import Prepare, prepare_read
from engine.captioning.requested_concepts import RequestedConcepts
from engine.captioning.results import PhotoResult
from engine.captioning.staleness import CacheKeys
from engine.cluster.collecting_cache import CollectingCache
from engine.cluster.dispatch import Dispatcher, Pool, Step
from engine.cluster.jobs import Answer, Job, known_features
from engine.cluster.options import ClusterOptions
from engine.cluster.ray_pool import RayPool
from engine.cluster.scan import check_recogniser, may_use_gpu, store_features
from engine.cluster.worker import Work, open_worker_session, options_for_workers
from engine.core.batches import read_ahead
from engine.core.errors import EnvironmentFault, PhotoError
from engine.core.types import Status
from engine.photos.discovery import FoundFile
from engine.recognition.gallery import Gallery
from engine.session import Session, SessionOptions
from engine.sidecars.locate import Namer

_SMALLEST_SHARD = 8
"""Photos in a shard, at least."""


@dataclass(frozen=True)
class Described:
    """An item, without pixels, and whether the limit of the run counts it."""

    item: PhotoInRun
    counts: bool


def caption_on(session: Session, options: ClusterOptions) -> Prepare:
    """Return what `caption_photos` takes as `prepare`, for workers in place of this process.

    Raises:
        EngineError: those of `ClusterOptions.check`.
    """
    options.check(session, describes=True)

    def prepare(run: CaptionRun, files: Iterable[FoundFile], batch_size: int) -> Generator[list[PhotoInRun]]:
        setup = CaptionSetup.of(session, run, batch_size)
        with RayPool[PhotoInRun, Described](setup, options, uses_gpu=may_use_gpu(session, options)) as pool:
            yield from prepare_on(pool, run, files, batch_size, ship_bytes=options.ship_bytes)

    return prepare


def prepare_on(
    pool: Pool[PhotoInRun, Described],
    run: CaptionRun,
    files: Iterable[FoundFile],
    batch_size: int,
    *,
    ship_bytes: bool = False,
) -> Generator[list[PhotoInRun]]:
    """Prepare items as `prepare_items` does, with the workers of a pool."""
    task = _CaptionTask(run)
    size = max(_SMALLEST_SHARD, 2 * batch_size)  # so that a worker reads one batch while it describes another
    dispatcher = Dispatcher(pool, task, size, run.request.limit, ship_bytes)
    with closing(read_ahead(files, task.begin, ahead=size)) as steps:  # type: ignore[type-var]
        for results in dispatcher.run(steps):
            yield [described.item for described in results]


@dataclass(frozen=True)
class _CaptionTask:
    """What the driver does about each photo."""

    run: CaptionRun

    def begin(self, file: FoundFile) -> Step[PhotoInRun, Described]:
        """Read a file, and settle it here if its record is known."""
        item, contents = read_undecoded(self.run, file)
        if contents is None:
            return Step(Described(item, item.counts))
        features = known_features(self.run.extractor, contents.content_hash, faces=True, regions=True)
        return Step(None, Job.of(file, contents, item, features))

    def counts(self, result: Described) -> bool:
        """Whether the limit counts a photo."""
        return result.counts

    def failed(self, job: Job[PhotoInRun], error: PhotoError) -> Described:
        """Return a photo that failed."""
        return Described(PhotoInRun(job.file, result=PhotoResult.failed(job.file.path, error)), False)

    def again(self, job: Job[PhotoInRun], answer: Answer[Described]) -> Job[PhotoInRun]:
        """Return the job of a photo whose features are known by now. It has sidecars, and so a caption, of its own."""
        return replace(job, features={**job.features, **answer.features})

    def keep(self, answered: Sequence[tuple[Job[PhotoInRun], Answer[Described]]]) -> None:
        """Store new features, unless nothing is written."""
        if self.run.request.write:
            store_features(self.run.extractor.cache, answered)


@dataclass(frozen=True)
class CaptionSetup:
    """What workers need for captions: the driver's gallery and keys, so that all of them recognise and record alike.

    vlm, recogniser: the id and revision of the VLM, and the id of the recogniser, that workers must have as well.
    """

    options: SessionOptions
    request: CaptionRequest
    concepts: RequestedConcepts
    gallery: Gallery
    keys: CacheKeys
    vlm: tuple[str, str]
    recogniser: str
    batch_size: int

    @classmethod
    def of(cls, session: Session, run: CaptionRun, batch_size: int) -> "CaptionSetup":
        """Make the setup of a run."""
        return cls(
            options_for_workers(session),
            replace(run.request, limit=None),
            run.concepts,
            run.gallery,
            run.keys,
            (run.vlm.id, run.vlm.revision),
            session.recogniser_config.id,
            batch_size,
        )

    def open(self) -> Work[PhotoInRun, Described]:
        """Load the VLM; the recogniser loads with the first photo whose features are not known.

        Raises:
            EngineError: the models are not there, or are not those of the driver.
        """
        session, cache = open_worker_session(self.options)
        vlm = session.vlm_in_use
        check_recogniser(session, self.recogniser)
        if (vlm.id, vlm.revision) != self.vlm:
            raise EnvironmentFault(
                f"a machine of the cluster has another version of {vlm.id}",
                hint="Copy the model's folder to it, and run there: myvlm setup --from FOLDER",
            )
        run = CaptionRun(
            request=self.request,
            concepts=self.concepts,
            gallery=self.gallery,
            keys=self.keys,
            vlm=vlm,
            extractor=session.extractor,
            store=session.store,
            namer=Namer(self.request.naming),
            writer=None,
            pictures=None,
            sorts=session.has_vlm and session.uses_cuda,
        )
        if vlm.exists:
            _ = vlm.model
        return _CaptionWork(run, cache, self.batch_size)


@dataclass(frozen=True)
class _CaptionWork:
    """What a worker does about the photos of a shard."""

    run: CaptionRun
    cache: CollectingCache
    batch_size: int

    def __call__(self, jobs: Sequence[Job[PhotoInRun]]) -> list[Answer[Described]]:
        self.cache.begin(jobs)
        unseen: set[int] = set()

        def read(numbered: tuple[int, Job[PhotoInRun]]) -> PhotoInRun:
            number, job = numbered
            contents = job.open()
            if contents is None:
                unseen.add(number)
                return PhotoInRun(job.file, result=PhotoResult(job.file.path, Status.SKIPPED))
            return decode(self.run, job.work, contents)

        batches = prepare_read(self.run, enumerate(jobs), self.batch_size, read)
        items = [item for batch in batches for item in batch]
        return [
            Answer[Described](None)
            if number in unseen
            else Answer(Described(item, _counts(item)), self.cache.collected(job.content_hash))
            for number, (job, item) in enumerate(zip(jobs, items, strict=True))
        ]


def _counts(item: PhotoInRun) -> bool:
    """Whether the limit counts a photo that was decoded: it has a record, or else facts in its failure."""
    return item.record is not None or (item.result is not None and item.result.facts is not None)
