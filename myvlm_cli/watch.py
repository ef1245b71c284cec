"""`myvlm caption --watch`: caption what arrives in folders, batch after batch, until it is stopped."""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from engine.core.errors import EngineError, first_line, is_out_of_memory
from myvlm_cli import options as o
from myvlm_cli.caption import CaptionJob, caption_all
from myvlm_cli.caption_report import Report
from myvlm_cli.errors import exit_code
from myvlm_cli.given import Photos
from myvlm_cli.output import out, path_text
from myvlm_cli.progress import Progress, duration
from myvlm_cli.run_memory import RunMemory
from myvlm_cli.words import count

if TYPE_CHECKING:
    from engine.captioning.file_events import FolderEvents, Notice
    from engine.captioning.watch import Batch, PhotoWatch
    from engine.photos.discovery import FoundFile
    from engine.session import Session

_IDLE_SECONDS = 600.0
"""Models are released when nothing arrived for so long: a VLM takes several GB."""


@dataclass(frozen=True)
class _Arrived(Photos):
    """Photos that arrived in the folders of a library."""

    files: "Sequence[FoundFile]" = ()

    def __iter__(self) -> "Iterator[FoundFile]":
        return iter(self.files)

    @property
    def are_folders(self) -> bool:
        """No: they are some photos."""
        return False

    def count_onto(self, bar: Progress) -> None:
        """Report their number to a progress bar."""
        bar.expect(sum(1 + len(f.companions) for f in self.files))
        bar.count_done()


@dataclass
class Watcher:
    """Captions what arrives. Each batch is a run of its own; one that fails is tried again and ends nothing.

    session: with the models in use, which nothing else may hold, so that they can be released; None without any.
    told: what was said about concepts, which is not said again.
    """

    photos: Photos
    job: CaptionJob
    events: "FolderEvents"
    poll: int | None
    _began: datetime = field(default_factory=lambda: datetime.now().astimezone())
    session: "Session | None" = None
    _report: Report = field(default_factory=lambda: Report(o.OutputChoice()))
    told: set[tuple[str, str]] = field(default_factory=set)
    _key: str = ""
    _seen: int = 0
    _calibrated: int = 0
    _used: float = field(default_factory=time.monotonic)

    def follow(self, report: Report) -> NoReturn:
        """Caption batch after batch; Ctrl-C and SIGTERM end it. report: of the run over all photos."""
        from engine.captioning.watch import PhotoWatch

        self._report = report
        self._key = self._memory(self.photos).current_key()
        self._seen = self._calibrated = sum(report.counts.values())
        looks = f", looking every {self.poll} seconds" if self.poll else ""
        out.say(f"Watching {', '.join(map(path_text, self.photos.given))}{looks}. Ctrl-C ends it")
        watch = PhotoWatch(self.photos.given, self.photos.selection, self.events, self._known, time.monotonic)
        for batch in watch.batches():
            if out.interrupted:  # the signal came where Python drops exceptions, as in a destructor
                raise SystemExit(out.interrupted)
            for notice in batch.notices:
                _tell_notice(notice)
            if batch.files:
                self._try(watch, batch)
            elif self.session is not None and time.monotonic() - self._used > _IDLE_SECONDS:
                self._release()
        raise AssertionError("batches have no end")

    def _memory(self, photos: Photos) -> RunMemory:
        return RunMemory(self.job.kind(photos), photos)

    def _known(self, files: "Sequence[FoundFile]") -> frozenset[Path]:
        """Return which photos are as the last run left them, under what runs depend on now."""
        from engine.core.paths import home

        memory = self._memory(self.photos)
        unchanged = memory.open(home(), memory.current_key())
        known = frozenset(file.path for file in files if unchanged.results(file) is not None)
        unchanged.finish()
        return known

    def _try(self, watch: "PhotoWatch", batch: "Batch") -> None:
        """Caption a batch; if that fails as a whole, say why, and try again later."""
        try:
            self._caption(batch)
            return
        except EngineError as err:  # such as another run that is writing
            fault = err
        except Exception as err:  # whatever it is, the next photos may be fine
            if is_out_of_memory(err):
                from engine.vlms.memory import memory_fault

                fault = memory_fault(err)
            else:
                logging.getLogger(__name__).warning("a batch failed", exc_info=err)
                fault = EngineError(f"{type(err).__name__}: {first_line(err)}")
            self._release()
        out.fail(str(fault), fault.hint, exit_code(fault), type(fault).__name__)
        seconds = watch.retry(batch)
        out.say(f"{count(len(batch.files), 'photo')} will be tried again in {duration(seconds)}")

    def _caption(self, batch: "Batch") -> None:
        from engine.captioning.undone import left_undone, written_by_runs
        from engine.core.paths import home

        undone = left_undone(home(), self._began, batch.reasons())
        if undone:
            many = count(len(undone), "photo")
            out.say(f"{many} left as `myvlm undo` made them, until they change or --watch is started again")
            batch = batch.without(undone)
        others = written_by_runs(home(), {f.path: batch.edited[f.path] for f in batch.files if f.path in batch.edited})
        if others:
            out.say(f"{count(len(others), 'photo')} left as another run of myvlm wrote them")
            batch = batch.without(others)
        if not batch.files:
            return
        photos = _Arrived(self.photos.given, self.photos.selection, files=batch.files)
        memory, report = self._memory(photos), self._report.next()
        key = memory.current_key()
        if self._key and key != self._key:
            out.say(
                "Concepts, decisions or settings changed: used from now on. For photos before: myvlm caption FOLDER"
            )
        self.session = self.session.renewed() if self.session else self.job.open_session()
        self._seen += len(batch.files)
        library = self.photos if self._seen >= 2 * self._calibrated else None
        caption_all(self.session, photos, batch.files, self.job, report, memory, library=library, told=self.told)
        self._calibrated = self._seen if library else self._calibrated
        self._report, self._key, self._used = report, memory.current_key(), time.monotonic()
        report.finish_batch(f"{datetime.now():%Y-%m-%d %H:%M:%S}")

    def _release(self) -> None:
        """Release the models, and the memory that they take."""
        if self.session is None:
            return
        from engine.core.device_memory import free_memory

        self.session.close()
        self.session = None
        free_memory()
        out.detail("models released")


def _tell_notice(notice: "Notice") -> None:
    from engine.captioning.file_events import POLL_SECONDS, NoticeKind

    folder = path_text(notice.folder)
    if notice.kind is NoticeKind.GONE:
        out.warn(f"{folder} is not there now: deleted, or its disk is not mounted. Waiting until it is back")
    elif notice.kind is NoticeKind.BACK:
        out.say(f"{folder} is back")
    elif notice.kind is NoticeKind.POLLED:
        out.say(f"{folder}: looking every {POLL_SECONDS} seconds ({notice.detail})")
    else:
        out.warn(f"{folder}: {notice.detail}. Until then, looking every {POLL_SECONDS} seconds")
