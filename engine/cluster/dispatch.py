"""Send photos to workers in shards, and yield results in the order of the files. Nothing here knows Ray."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Generic, Protocol, TypeVar

from engine.cluster.jobs import Answer, Job
from engine.core.errors import PhotoError

W = TypeVar("W")
R = TypeVar("R")
TRIES = 3
"""How often a shard is given to a worker that then ends; after that, its photos are tried one by one."""
MOST_BYTES = 32 * 2**20
"""Bytes of photos in a shard, unless one alone has more: what is in memory at once is a few of these a worker."""
_AHEAD = 4
"""How far the driver reads ahead, in multiples of what the workers can hold, so that none waits."""


@dataclass(frozen=True)
class Step(Generic[W, R]):
    """A file as the driver read it: its result, or else the job for a worker."""

    result: R | None
    job: Job[W] | None = None


class Task(Protocol[W, R]):
    """What is done with photos."""

    def counts(self, result: R) -> bool:
        """Whether the limit of the run counts a photo with this result."""

    def failed(self, job: Job[W], error: PhotoError) -> R:
        """Return the result of a photo that cannot be worked on."""

    def again(self, job: Job[W], answer: Answer[R]) -> R | Job[W]:
        """Return the result, or the job, of a photo with the content of one that has been answered."""

    def keep(self, answered: Sequence[tuple[Job[W], Answer[R]]]) -> None:
        """Store the features that a worker computed."""


@dataclass(frozen=True)
class Done(Generic[R]):
    """A shard is done: an answer for each of its jobs, in order."""

    shard: int
    answers: Sequence[Answer[R]]


@dataclass(frozen=True)
class Lost:
    """The worker that had a shard ended. at_work: whether it was working on this shard, not on one before it."""

    shard: int
    at_work: bool


class Pool(Protocol[W, R]):
    """Workers that take shards. Each shard that is submitted comes back once, done or lost."""

    @property
    def workers(self) -> int:
        """How many there are, or will be."""

    @property
    def depth(self) -> int:
        """How many shards each holds at most, the one in work included."""

    def has_room(self, *, alone: bool = False) -> bool:
        """Whether a worker takes a shard now. alone: one that has no other."""

    def submit(self, shard: int, jobs: Sequence[Job[W]], *, alone: bool = False) -> None:
        """Give a shard to the worker that has the fewest. alone: it gets no other until this one is done."""

    def wait(self) -> Sequence[Done[R] | Lost]:
        """Wait until something happens; it may be that there is room now, which is no event."""


@dataclass
class _Entry(Generic[W, R]):
    """A file in the order of the walk."""

    job: Job[W] | None
    result: R | None = None
    must_ship: bool = False  # a worker could not see the file


@dataclass
class _Shard(Generic[W, R]):
    entries: list[_Entry[W, R]]
    deaths: int = 0


@dataclass
class Dispatcher(Generic[W, R]):
    """One run over a pool. size: photos in a shard. limit: most photos that may count; None for all.

    ship_bytes: whether the driver reads the photos for the workers; else only when a worker cannot see one.
    A photo with the content of one that is with a worker waits for it, so that nothing is computed twice.
    """

    pool: Pool[W, R]
    task: Task[W, R]
    size: int
    limit: int | None = None
    ship_bytes: bool = False
    _entries: "deque[_Entry[W, R]]" = field(default_factory=deque, init=False)
    _waiting: "deque[_Entry[W, R]]" = field(default_factory=deque, init=False)
    _retries: "deque[_Shard[W, R]]" = field(default_factory=deque, init=False)
    _in_flight: "dict[int, _Shard[W, R]]" = field(default_factory=dict, init=False)
    _held: "dict[str, list[_Entry[W, R]]]" = field(default_factory=dict, init=False)
    _numbers: "Iterator[int]" = field(default_factory=count, init=False)
    _counted: int = field(default=0, init=False)
    _pending: int = field(default=0, init=False)

    def run(self, steps: Iterator[Step[W, R]]) -> Iterator[list[R]]:
        """Yield the results of all steps in order, in lists."""
        while True:
            more = self._fill(steps)
            self._submit()
            if results := self._take():
                yield results
            elif self._entries:
                for event in self.pool.wait():
                    self._settle(event)
            elif not more:
                return

    def _fill(self, steps: Iterator[Step[W, R]]) -> bool:
        """Take steps while there is room and the limit allows it; return whether there may be more later."""
        most = _AHEAD * self.pool.workers * self.pool.depth * self.size
        while len(self._entries) < most:
            if self.limit is not None and self._counted + self._pending >= self.limit:
                return self._counted < self.limit
            step = next(steps, None)
            if step is None:
                return False
            entry = _Entry[W, R](step.job, step.result)
            self._entries.append(entry)
            if step.result is not None:
                self._counted += self.task.counts(step.result)
            elif step.job is not None:
                self._admit(entry, step.job)
        return True

    def _admit(self, entry: _Entry[W, R], job: Job[W]) -> None:
        self._pending += 1
        if job.content_hash in self._held:
            self._held[job.content_hash].append(entry)
        else:
            self._held[job.content_hash] = []
            self._waiting.append(entry)

    def _submit(self) -> None:
        """Give shards to the workers that have room."""
        while (self._retries or self._waiting) and self.pool.has_room(alone=self._suspects):
            alone = self._suspects
            shard = self._retries.popleft() if self._retries else self._next_shard()
            if jobs := self._load(shard):
                number = next(self._numbers)
                self._in_flight[number] = shard
                self.pool.submit(number, jobs, alone=alone)

    @property
    def _suspects(self) -> bool:
        """Whether the next shard may have ended a worker: alone with one it is found out for sure."""
        return bool(self._retries) and self._retries[0].deaths > 0

    def _next_shard(self) -> _Shard[W, R]:
        """Take the photos of a shard: fewer than `size` where that gives every worker some."""
        most = min(self.size, -(-len(self._waiting) // self.pool.workers))
        entries: list[_Entry[W, R]] = []
        size = 0
        while self._waiting and len(entries) < most:
            job = self._waiting[0].job
            assert job is not None
            size += job.size
            if entries and size > MOST_BYTES:
                break
            entries.append(self._waiting.popleft())
        return _Shard(entries)

    def _load(self, shard: _Shard[W, R]) -> list[Job[W]]:
        """Return a shard's jobs, with the photos' bytes where workers cannot read them."""
        jobs = []
        for entry in list(shard.entries):
            assert entry.job is not None
            try:
                ship = self.ship_bytes or entry.must_ship
                jobs.append(replace(entry.job, data=entry.job.read_here()) if ship else entry.job)
            except PhotoError as err:
                shard.entries.remove(entry)
                self._waiting.extendleft(self._held.pop(entry.job.content_hash, ()))
                self._end(entry, self.task.failed(entry.job, err))
        return jobs

    def _take(self) -> list[R]:
        """Take the results of the first files, up to the first that has none."""
        results = []
        while self._entries and (result := self._entries[0].result) is not None:
            results.append(result)
            self._entries.popleft()
        return results

    def _settle(self, event: Done[R] | Lost) -> None:
        shard = self._in_flight.pop(event.shard)
        if isinstance(event, Done):
            self._finish(shard, event.answers)
        else:
            self._retry(shard, event)

    def _finish(self, shard: _Shard[W, R], answers: Sequence[Answer[R]]) -> None:
        """Take a shard's answers; photos that the worker could not see are sent to one."""
        answered = [(e, e.job, a) for e, a in zip(shard.entries, answers, strict=True) if e.job is not None]
        seen = [(entry, job, answer) for entry, job, answer in answered if answer.result is not None]
        self.task.keep([(job, answer) for _, job, answer in seen])
        for entry, job, answer in seen:
            assert answer.result is not None
            self._end(entry, answer.result)
            self._release(job, answer)
        for entry in reversed([entry for entry, _, answer in answered if answer.result is None]):
            entry.must_ship = self.ship_bytes = True  # this worker will not see the next ones either
            self._waiting.appendleft(entry)

    def _release(self, job: Job[W], answer: Answer[R]) -> None:
        """Go on with the photos that have the content of one that was answered."""
        for entry in self._held.pop(job.content_hash, ()):
            assert entry.job is not None
            outcome = self.task.again(entry.job, answer)
            if isinstance(outcome, Job):
                entry.job = outcome
                self._waiting.appendleft(entry)
            else:
                self._end(entry, outcome)

    def _retry(self, shard: _Shard[W, R], lost: Lost) -> None:
        """Give a lost shard to another worker; one with which workers end again and again is taken apart."""
        shard.deaths += lost.at_work
        if shard.deaths < TRIES:
            self._retries.append(shard)
        elif len(shard.entries) > 1:
            self._retries.extend(_Shard([entry], TRIES - 1) for entry in shard.entries)
        else:
            self._give_up(shard.entries[0])

    def _give_up(self, entry: _Entry[W, R]) -> None:
        """Let a photo with which workers end fail, with those of the same content that wait for it."""
        assert entry.job is not None
        error = PhotoError(
            f"{entry.job.file.path}: {TRIES} worker processes ended while working on it",
            hint="It may need more memory than there is, or break a decoder. Run the command on it without --workers.",
        )
        for other in (entry, *self._held.pop(entry.job.content_hash, ())):
            assert other.job is not None
            self._end(other, self.task.failed(other.job, error))

    def _end(self, entry: _Entry[W, R], result: R) -> None:
        entry.job, entry.result = None, result
        self._pending -= 1
        self._counted += self.task.counts(result)
