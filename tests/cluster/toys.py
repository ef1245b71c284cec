"""A task without models, for pools and dispatchers: a photo's result is its name in capitals."""

import os
from dataclasses import dataclass
from pathlib import Path

from engine.cluster.dispatch import Step
from engine.cluster.jobs import Answer, Job
from engine.core.errors import PhotoError, WeightsMissingError
from engine.photos.discovery import FoundFile
from engine.photos.photo_file import read_photo


class Toy:
    """What the driver does about each file. kept: the features that it stored, by file name."""

    def __init__(self, settled=()):
        self.settled = settled
        self.kept = {}

    def begin(self, path: Path) -> Step:
        if path.name in self.settled:
            return Step(f"{path.name} known")
        file = FoundFile(path, "photo")
        return Step(None, Job.of(file, read_photo(path), None, {}))

    def counts(self, result):
        return "known" not in result and "failed" not in result

    def failed(self, job, error: PhotoError):
        return f"{job.file.path.name} failed"

    def again(self, job, answer):
        return f"{job.file.path.name} known"

    def keep(self, answered):
        self.kept |= {job.file.path.name: answer.features for job, answer in answered}


def capitals(jobs):
    """Answer the jobs of a shard."""
    return [Answer(j.file.path.name.upper(), {"model": j.file.path.name}) for j in jobs]


@dataclass(frozen=True)
class ToySetup:
    """The worker's side. poison: the names of files with which its process ends, once for each name in `marks`.

    marks: a folder; None if it always ends.
    """

    poison: tuple[str, ...] = ()
    marks: Path | None = None
    error: Exception | None = None
    missing_weights: bool = False

    def open(self):
        if self.missing_weights:
            raise WeightsMissingError("the weights are gone", hint="Run: myvlm setup")
        return self

    def __call__(self, jobs):
        if self.error is not None:
            raise self.error
        for job in jobs:
            if job.file.path.name in self.poison and self._first_time(job):
                os._exit(1)
        return capitals(jobs)

    def _first_time(self, job) -> bool:
        if self.marks is None:
            return True
        try:
            (self.marks / job.file.path.name).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


def make_files(folder: Path, names, contents=None):
    """Write files; a file holds its name, unless `contents` has another text for it."""
    for name in names:
        (folder / name).write_text((contents or {}).get(name, name))
    return [folder / name for name in names]
