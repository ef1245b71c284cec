"""`myvlm caption`."""

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.errors import UsageError
from engine.core.types import Status
from myvlm_cli import options as o
from myvlm_cli.caption_choice import CaptionChoice, Speak, WatchChoice
from myvlm_cli.caption_concepts import choose_concepts
from myvlm_cli.caption_report import Report
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.given import Photos, tell_tally
from myvlm_cli.output import out
from myvlm_cli.remote import AllowRemote
from myvlm_cli.run_memory import RunKind, RunMemory
from myvlm_cli.sidecar_choice import SidecarChoice
from myvlm_cli.summary import tell_library
from myvlm_cli.workers import WorkerChoice

if TYPE_CHECKING:
    from engine.captioning.caption_run import CaptionRequest
    from engine.captioning.pipeline import Prepare
    from engine.captioning.requested_concepts import RequestedConcepts
    from engine.cluster.options import ClusterOptions
    from engine.photos.discovery import FoundFile
    from engine.session import Session
    from engine.vlms.prompt_config import Speak as SpeakWay
    from myvlm_cli.watch import Watcher


@dataclass(frozen=True)
class RunControl:
    """How much a run does: at most how many photos, whether it writes, and whether it redoes what is up to date."""

    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            min=1,
            help="Caption at most this many photos, not counting those that are up to date.",
            show_default=False,
        ),
    ] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Caption and show what would change, but write nothing.")
    ] = False
    force: Annotated[
        bool, typer.Option("--force", help="Caption up-to-date photos again. Descriptions edited by people are kept.")
    ] = False
    verify: o.Verify = False


@dataclass(frozen=True)
class CaptionJob:
    """The options of `myvlm caption`, besides its photos. names: of the requested concepts; None for all."""

    names: tuple[str, ...] | None
    concepts: o.ConceptChoice
    run: RunControl
    form: CaptionChoice
    sidecars: SidecarChoice
    explain: Path | None
    models: o.DecodingModelChoice
    speak: "SpeakWay | None"
    allow_remote: bool

    def kind(self, photos: Photos) -> RunKind:
        """Return what tells this run from others."""
        options = (self.names, self.concepts.only, self.form, self.sidecars, self.models, self.speak, self.allow_remote)
        return RunKind(
            options=(*options, photos.folder),
            vlm=self.models.vlm,
            naming=self.sidecars.naming,
            about=(photos.are_folders, self.run.dry_run, self.run.limit is not None),
            recalls=not (self.run.force or self.run.verify or self.explain),
            introduces=self.concepts.only or self.models.allow_body,  # warnings that depend on all sidecars
            writes=not self.run.dry_run,
        )

    def request(self, library: Path | None) -> "CaptionRequest":
        """Make the engine's request. library: the folder whose calibration is used."""
        from engine.captioning.caption_run import CaptionRequest

        return CaptionRequest(
            self.concepts.names,
            only=self.concepts.only,
            write=not self.run.dry_run,
            force=self.run.force,
            explain=self.explain,
            naming=self.sidecars.naming,
            sidecars=self.sidecars.content,
            limit=self.run.limit,
            library=library,
            forms=self.form.forms,
        )

    def open_session(self) -> "Session":
        """Open a session with the models that were chosen; see `sessions.open_session`."""
        return self.models.open_session(
            create=not self.run.dry_run, names=self.names, speak=self.speak, allow_remote=self.allow_remote
        )


ShowAll = Annotated[bool, typer.Option("--all", help="Print every caption, not only those that changed.")]


def caption(
    *,
    concepts: o.ConceptChoice,
    photos: o.PhotoSelection,
    run: RunControl,
    watch: WatchChoice,
    form: CaptionChoice,
    sidecars: SidecarChoice,
    explain: o.Explain = None,
    models: o.DecodingModelChoice,
    speak: Speak = None,
    allow_remote: AllowRemote = False,
    workers: WorkerChoice,
    show_all: ShowAll = False,
    output: o.OutputChoice,
) -> None:
    """Caption photos and write the result to sidecar files.

    Without a VLM, only names are written: keywords, people and JSON, no description.

    Example: myvlm caption ~/Pictures --concepts rex,anna

    Example: myvlm caption ~/Pictures --watch
    """
    names = check_concepts(concepts, explained_dry_run=bool(explain and run.dry_run))
    limited = run != RunControl() or explain is not None
    watch.check(photos, limited=limited, plain=workers == WorkerChoice(), output=output)
    files = photos.find()  # refuses missing paths before the engine's modules load
    job = CaptionJob(names, concepts, run, form, sidecars, explain, models, speak, allow_remote)
    report = Report(output, show_all=show_all)
    with watch.begin(files, job) as watcher:  # what arrives during the first run is not lost
        code = _run(files, job, report, workers, watcher)
        if watcher:
            watcher.follow(report)
    raise typer.Exit(code)


def check_concepts(concepts: o.ConceptChoice, *, explained_dry_run: bool = False) -> tuple[str, ...] | None:
    """Refuse options that exclude each other; return the names of the requested concepts."""
    if concepts.no_concepts and concepts.concepts is not None:
        raise UsageError("--concepts and --no-concepts exclude each other", hint="Use one of them.")
    if explained_dry_run:
        raise UsageError(
            "--dry-run writes nothing, --explain writes pictures",
            hint="Use myvlm locate NAME PHOTOS --explain FOLDER: it writes pictures and nothing else.",
        )
    names = concepts.names
    if concepts.only and not names:
        raise UsageError("--only needs --concepts", hint="Example: --concepts rex,anna --only")
    return names


def _run(
    files: Photos, job: CaptionJob, report: Report, workers: WorkerChoice, watcher: "Watcher | None" = None
) -> int:
    """Caption all photos, print a summary, and return the exit code.

    watcher: is given the session, if one was needed, and what was said about concepts.
    """
    memory = RunMemory(job.kind(files), files)
    rest = memory.tell_unchanged(report, whole=job.run.limit is None)
    if watcher:
        watcher.told |= memory.told
    if rest is None:
        if not job.run.dry_run:
            tell_library(files.folder)
        return OK
    session = job.open_session()
    prepare = _prepare_on(session, workers.open(explains=bool(job.explain)))
    concepts = caption_all(session, files, rest, job, report, memory, prepare, told=watcher.told if watcher else None)
    report.finish(session.vlm_config.name)
    if report.warned and report.unnamed and session.recogniser_config.drawn_only and concepts.requested:
        name = session.recogniser_config.name
        out.say(f"The recogniser in use, {name}, recognises drawings only. Next: myvlm doctor")
    if job.run.limit is None:  # with a limit, the search of the folders stopped early
        tell_tally(memory.search)
    if not job.run.dry_run:
        tell_library(files.folder)
    if watcher:
        watcher.session = session
    return SOME_FAILED if report.counts[Status.FAILED] else OK


def caption_all(
    session: "Session",
    photos: Photos,
    rest: "Iterable[FoundFile]",
    job: CaptionJob,
    report: Report,
    memory: RunMemory,
    prepare: "Prepare | None" = None,
    library: Photos | None = None,
    told: set[tuple[str, str]] | None = None,
) -> "RequestedConcepts":
    """Caption photos, and report the result of each; return the concepts that were looked for.

    rest: those that are not reported yet. library: the photos that thresholds are calibrated on, if others. told: what
    was said about concepts before, which is not said again.
    """
    from engine.captioning.caption import caption_photos

    request = job.request(photos.folder)
    report.why_no_vlm = session.models.why_no_vlm
    with nullcontext() if told is None else out.once(told):
        concepts, key, lasting = choose_concepts(session, library or photos, request, report, memory)
    unchanged = memory.after_choosing(session.folder, key, report, session.vlm_config.name, lasting)
    with out.progress("captioning", None) as bar:
        photos.count_onto(bar)
        bar.done = sum(report.counts.values())
        for result in caption_photos(session, rest, request, concepts, unchanged, prepare=prepare):
            bar.advance()
            report.add(result)
    return concepts


def _prepare_on(session: "Session", cluster: "ClusterOptions | None") -> "Prepare | None":
    """Return how workers prepare photos; None for this process."""
    if cluster is None:
        return None
    from engine.cluster.caption import caption_on

    return caption_on(session, cluster)
