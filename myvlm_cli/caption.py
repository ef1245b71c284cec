"""`myvlm caption`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.errors import UsageError
from engine.core.types import Status
from myvlm_cli import options as o
from myvlm_cli.caption_choice import CaptionChoice, Speak
from myvlm_cli.caption_job import CaptionJob, caption_all
from myvlm_cli.caption_report import Report
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.given import Photos, tell_tally
from myvlm_cli.output import out
from myvlm_cli.remote import AllowRemote
from myvlm_cli.run_memory import RunMemory
from myvlm_cli.sidecar_choice import SidecarChoice
from myvlm_cli.summary import tell_library
from myvlm_cli.watch import WatchChoice
from myvlm_cli.workers import WorkerChoice

if TYPE_CHECKING:
    from engine.captioning.pipeline import Prepare
    from engine.cluster.options import ClusterOptions
    from engine.session import Session


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
    watch.check(photos, run != RunControl() or explain is not None, workers, output)
    files = photos.find()  # refuses missing paths before the engine's modules load
    job = CaptionJob(names, concepts, run, form, sidecars, explain, models, speak, allow_remote)
    report = Report(output, show_all=show_all)
    with watch.begin(files, job) as watcher:  # what arrives during the first run is not lost
        told = set[tuple[str, str]]()
        code, session = _run(files, job, report, workers, told)
        if watcher:
            watcher.follow(session, report, told)
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
    files: Photos, job: CaptionJob, report: Report, workers: WorkerChoice, told: set[tuple[str, str]]
) -> "tuple[int, Session | None]":
    """Caption all photos, print a summary, and return the exit code and the session; None if none was needed.

    told: is filled with what was said about concepts.
    """
    memory = RunMemory(job.kind(files), files)
    rest = memory.tell_unchanged(report, whole=job.run.limit is None)
    told |= memory.told
    if rest is None:
        if not job.run.dry_run:
            tell_library(files.folder)
        return OK, None
    session = job.open_session()
    prepare = _prepare_on(session, workers.open(explains=bool(job.explain)))
    concepts = caption_all(session, files, rest, job, report, memory, prepare, told=told)
    report.finish(session.vlm_config.name)
    if report.warned and report.unnamed and session.recogniser_config.drawn_only and concepts.requested:
        name = session.recogniser_config.name
        out.say(f"The recogniser in use, {name}, recognises drawings only. Next: myvlm doctor")
    if job.run.limit is None:  # with a limit, the search of the folders stopped early
        tell_tally(memory.search)
    if not job.run.dry_run:
        tell_library(files.folder)
    return SOME_FAILED if report.counts[Status.FAILED] else OK, session


def _prepare_on(session: "Session", cluster: "ClusterOptions | None") -> "Prepare | None":
    """Return how workers prepare photos; None for this process."""
    if cluster is None:
        return None
    from engine.cluster.caption import caption_on

    return caption_on(session, cluster)
