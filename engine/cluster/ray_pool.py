"""Workers that are Ray actors. An actor that ends is replaced, and what it had is reported as lost."""

import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from types import ModuleType, TracebackType
from typing import Any, Generic

from engine import __version__
from engine.cluster.dispatch import TRIES, Done, Lost
from engine.cluster.jobs import Answer, Job, R, W
from engine.cluster.options import ClusterOptions
from engine.cluster.ray_runtime import DEPTH, Plan, as_faults, ray_running
from engine.cluster.worker import Setup, Worker
from engine.core.errors import EngineError, EnvironmentFault, first_line
from engine.core.files import finish_first

_LOOK = 0.5
"""Seconds to wait for Ray at a time; Ctrl-C is handled in between."""
_PATIENCE = 300.0
"""Seconds after which a run gives up if no worker has a process yet: the cluster has no free GPU or CPU."""


@dataclass
class _Actor:
    """A worker.

    slot: its number among the workers of the run. starting: what is awaited before it takes shards. placed: whether it
    has a process. shards: by reference, in the order of their turn. alone: the shard that it has stays alone with it.
    """

    slot: int
    handle: Any  # Ray has no type for it that others could name
    starting: Any
    placed: bool = False
    alone: bool = False
    shards: dict[Any, int] = field(default_factory=dict)


class RayPool(Generic[W, R]):
    """Workers as a context; Ray and they start with the first shard, so that a run without one starts nothing."""

    depth = DEPTH

    def __init__(self, setup: Setup[W, R], options: ClusterOptions, *, uses_gpu: bool) -> None:
        """Prepare a pool. uses_gpu: whether workers may have GPUs."""
        self._setup, self._options, self._uses_gpu = setup, options, uses_gpu
        self._stack = ExitStack()
        self._actors: list[_Actor] = []
        self._failed_starts = 0
        self._ray: ModuleType | None = None
        self._plan = Plan(options.workers or 1, 0.0, 1)

    def __enter__(self) -> "RayPool[W, R]":
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None) -> None:
        for actor in self._actors:
            self._kill(actor)
        self._stack.close()

    @property
    def workers(self) -> int:
        """How many there are, or will be."""
        return self._plan.workers

    @property
    def ray(self) -> ModuleType:
        """Ray, started."""
        if self._ray is None:
            running = ray_running(self._options, uses_gpu=self._uses_gpu)
            self._ray, self._plan = self._stack.enter_context(running)
            with as_faults(self._ray):
                self._shipped = self._ray.put(self._setup)
                for slot in range(self._plan.workers):
                    self._add(slot)
        return self._ray

    def has_room(self, *, alone: bool = False) -> bool:
        """Whether a worker takes a shard now. alone: one that has no other."""
        _ = self.ray
        most = 0 if alone else self.depth - 1
        return any(len(a.shards) <= most for a in self._ready())

    def submit(self, shard: int, jobs: Sequence[Job[W]], *, alone: bool = False) -> None:
        """Give a shard to the worker that has the fewest. alone: it gets no other until this one is done.

        Raises:
            EnvironmentFault: Ray does not take it, as where a disk is full.
        """
        actor = min(self._ready(), key=lambda a: len(a.shards))
        with as_faults(self.ray):
            actor.shards[actor.handle.work.remote(jobs)] = shard
        actor.alone = alone

    def wait(self) -> list[Done[R] | Lost]:
        """Wait until something happens; it may be that there is room now, which is no event.

        Raises:
            EngineError: what concerns all photos; or Ray does not work.
        """
        ray = self.ray
        awaited = {ref: a for a in self._actors for ref in (*a.shards, *([a.starting] if a.starting else []))}
        with as_faults(ray), finish_first():  # Ray would make another exit code of a signal
            done, _ = ray.wait(list(awaited), num_returns=1, timeout=_LOOK)
            if not done:
                self._check_placed()
            return [event for ref in done for event in self._take(awaited[ref], ref)]

    def _ready(self) -> list[_Actor]:
        """List the workers that take shards, if there is room."""
        return [a for a in self._actors if a.starting is None and not (a.alone and a.shards)]

    def _add(self, slot: int) -> None:
        """Start a worker with the cores of a slot."""
        kind = self.ray.remote(Worker)
        options = {"num_cpus": 1, "num_gpus": self._plan.gpus, "max_restarts": 0, "scheduling_strategy": "SPREAD"}
        handle = kind.options(**options).remote()
        self._actors.append(_Actor(slot, handle, handle.begin.remote(__version__, self._plan.share(slot))))
        self._since = time.monotonic()

    def _take(self, actor: _Actor, ref: Any) -> list[Done[R] | Lost]:
        """Take what a worker returned."""
        exceptions = self.ray.exceptions
        try:
            value: list[Answer[R]] | EngineError | None = self.ray.get(ref)
        except exceptions.RayTaskError as err:  # an error of the program, or no memory
            raise err.cause if isinstance(err.cause, Exception) else err from None
        except exceptions.RayError as err:
            return self._replace(actor, err)
        if isinstance(value, EngineError):
            raise value
        if ref in actor.shards:
            return [Done(actor.shards.pop(ref), value or [])]
        actor.starting = None if actor.placed else actor.handle.open.remote(self._shipped)
        actor.placed = True
        if actor.starting is None:
            self._failed_starts = 0
        return []

    def _replace(self, actor: _Actor, err: Exception) -> list[Done[R] | Lost]:
        """Start a worker in place of one that ended, and report its shards: the first is the one that it worked on.

        Raises:
            EnvironmentFault: workers exit before they are ready.
        """
        self._actors.remove(actor)
        self._kill(actor)
        if actor.starting is not None:
            self._failed_starts += 1
            if self._failed_starts >= TRIES or getattr(err, "actor_init_failed", False):
                raise EnvironmentFault(
                    f"workers exit before they are ready: {first_line(err)}",
                    hint="Is there memory for a VLM in each? Is the same myvlm installed on every machine?",
                ) from err
        events: list[Done[R] | Lost] = []
        at_work = True
        for ref, shard in actor.shards.items():
            answers = self._answers(ref)
            events.append(Lost(shard, at_work) if answers is None else Done(shard, answers))
            at_work = at_work and answers is not None
        self._add(actor.slot)
        return events

    def _answers(self, ref: Any) -> list[Answer[R]] | None:
        """Return the answers of a shard whose worker ended, if they had arrived before."""
        done, _ = self.ray.wait([ref], timeout=0)
        with suppress(self.ray.exceptions.RayError):
            value = self.ray.get(ref) if done else None
            return value if isinstance(value, list) else None
        return None

    def _kill(self, actor: _Actor) -> None:
        with suppress(Exception):  # it ended, or Ray did
            self.ray.kill(actor.handle)

    def _check_placed(self) -> None:
        """Check that at least one worker has a process, some time after the last was added."""
        if any(a.placed for a in self._actors) or time.monotonic() - self._since < _PATIENCE:
            return
        raise EnvironmentFault(
            f"no worker has started in {_PATIENCE:.0f} seconds: no processor or GPU is free",
            hint="On a cluster, ray status shows who uses them.",
        )
