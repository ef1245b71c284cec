"""The process that works on photos for a driver: it holds the models, and writes no file."""

import os
import platform
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol

from engine import __version__
from engine.cluster.collecting_cache import CollectingCache
from engine.cluster.jobs import Answer, Job, R, W
from engine.core.cpu import limit_threads
from engine.core.errors import EngineError, EnvironmentFault
from engine.core.paths import stay_offline
from engine.session import Session, SessionOptions
from engine.vlms.quantise import quantise_option

Work = Callable[[Sequence[Job[W]]], list[Answer[R]]]
"""Works on the photos of a shard; one answer for each, in order."""


@dataclass(frozen=True)
class Share:
    """A worker's share of its machine.

    workers: how many there are on it. cores: those of this worker alone; () for any. omp_threads: the driver's
    OMP_NUM_THREADS, None if it is not set: Ray would set it to 1.
    """

    workers: int
    cores: tuple[int, ...] = ()
    omp_threads: str | None = None

    def take(self) -> None:
        """Limit this process to its share. Call it before libraries are imported."""
        if self.cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, self.cores)
        os.environ.pop("OMP_NUM_THREADS", None)
        if self.omp_threads is not None:
            os.environ["OMP_NUM_THREADS"] = self.omp_threads
        limit_threads(1 if self.cores else self.workers)


class Setup(Protocol[W, R]):
    """What a worker needs of the driver. It travels to the worker's process."""

    def open(self) -> Work[W, R]:
        """Load the models."""


class Worker(Generic[W, R]):
    """A Ray actor. Errors that concern all photos are returned, not raised: Ray would wrap them into others."""

    def begin(self, version: str, share: Share) -> EngineError | None:
        """Prepare the process. version: of the driver's myvlm."""
        stay_offline()
        share.take()
        if version != __version__:
            return EnvironmentFault(
                f"{platform.node()} has myvlm {__version__}, and this machine has {version}",
                hint="Install the same version of myvlm on every machine of the cluster.",
            )
        return None

    def open(self, setup: Setup[W, R]) -> EngineError | None:
        """Load the models."""
        try:
            self._work = setup.open()
        except EngineError as err:
            return err
        return None

    def work(self, jobs: Sequence[Job[W]]) -> list[Answer[R]] | EngineError:
        """Work on the photos of a shard."""
        try:
            return self._work(jobs)
        except EngineError as err:
            return err


def options_for_workers(session: Session) -> SessionOptions:
    """Return the driver's choices with every default resolved, so that a worker's own `config.toml` decides nothing."""
    models = session.models
    precision = session.vlm_precision
    return SessionOptions(
        vlm=str(models.vlm_setting.value),
        recogniser=session.recogniser_config.name,
        device=str(models.setting("device").value),
        dtype=_text(models.setting("dtype").value),
        speak=session.vlm_in_use.speak,
        quantise=quantise_option(precision) if precision else _text(models.setting("quantise").value),
        heads=session.choices.heads,
        allow_body=session.choices.allow_body,
        allow_remote=session.choices.allow_remote,
        decode=session.choices.decode,
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def open_worker_session(options: SessionOptions) -> tuple[Session, CollectingCache]:
    """Open the session of a worker, which has no data folder: what it needs of it comes with its setup and its jobs."""
    nowhere = Path(tempfile.mkdtemp(prefix="myvlm-worker-"))
    nowhere.rmdir()
    session, cache = Session(options, nowhere, create=False), CollectingCache()
    session.__dict__["cache"] = cache
    return session, cache
