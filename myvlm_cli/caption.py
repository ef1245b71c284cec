"""`myvlm caption`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.errors import UsageError
from engine.core.types import Status
from myvlm_cli import options as o
from myvlm_cli.caption_choice import CaptionChoice, Speak
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
    from collections.abc import Iterable

    from engine.captioning.caption_run import CaptionRequest
    from engine.captioning.pipeline import Prepare
    from engine.cluster.options import ClusterOptions
    from engine.photos.discovery import FoundFile
    from engine.session import Session
    from engine.sidecars.locate import Naming


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
    """
    names = _check(concepts, explained_dry_run=bool(explain and run.dry_run))
    files = photos.find()  # refuses missing paths before the engine's modules load
    options = (names, concepts.only, form, sidecars, models, speak, allow_remote)
    special = {"reads": bool(explain), "only": concepts.only, "allow_body": models.allow_body}
    kind = _kind_of(options, files, models.vlm, sidecars.naming, run, **special)
    memory, report = RunMemory(kind, files), Report(output, show_all=show_all)
    rest = memory.tell_unchanged(report, whole=run.limit is None)
    if rest is None:
        if not run.dry_run:
            tell_library(files.folder)
        raise typer.Exit(OK)
    request = _make_request(concepts, run, form, sidecars, explain, files.folder)
    session = models.open_session(create=not run.dry_run, names=names, speak=speak, allow_remote=allow_remote)
    report.why_no_vlm = session.models.why_no_vlm
    prepare = _prepare_on(session, workers.open(explains=bool(explain)))
    raise typer.Exit(_run(session, files, rest, request, report, memory, prepare))


def _kind_of(
    options: tuple[object, ...],
    photos: Photos,
    vlm: str | None,
    naming: "Naming",
    run: RunControl,
    *,
    reads: bool,
    only: bool,
    allow_body: bool,
) -> RunKind:
    """Return what tells this run from others.

    reads: whether every photo is read in any case. only: names will be lost, of which it warns; they are in all
    sidecars. allow_body: it may warn that this has no effect.
    """
    return RunKind(
        options=(*options, photos.folder),
        vlm=vlm,
        naming=naming,
        about=(photos.are_folders, run.dry_run, run.limit is not None),
        recalls=not (run.force or run.verify or reads),
        introduces=only or allow_body,
        writes=not run.dry_run,
    )


def _make_request(
    concepts: o.ConceptChoice,
    run: RunControl,
    form: CaptionChoice,
    sidecars: SidecarChoice,
    explain: Path | None,
    library: Path | None,
) -> "CaptionRequest":
    """Make the engine's request."""
    from engine.captioning.caption_run import CaptionRequest

    return CaptionRequest(
        concepts.names,
        only=concepts.only,
        write=not run.dry_run,
        force=run.force,
        explain=explain,
        naming=sidecars.naming,
        sidecars=sidecars.content,
        limit=run.limit,
        library=library,
        forms=form.forms,
    )


def _check(concepts: o.ConceptChoice, *, explained_dry_run: bool) -> tuple[str, ...] | None:
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
    session: "Session",
    photos: Photos,
    rest: "Iterable[FoundFile]",
    request: "CaptionRequest",
    report: Report,
    memory: RunMemory,
    prepare: "Prepare | None",
) -> int:
    """Caption the photos, print the result of each and a summary, and return the exit code.

    rest: those that are not reported yet.
    """
    from engine.captioning.caption import caption_photos

    concepts, key, told = choose_concepts(session, photos, request, report, memory)
    unchanged = memory.after_choosing(session.folder, key, report, session.vlm_config.name, told)
    with out.progress("captioning", None) as bar:
        photos.count_onto(bar)
        bar.done = sum(report.counts.values())
        for result in caption_photos(session, rest, request, concepts, unchanged, prepare=prepare):
            bar.advance()
            report.add(result)
    report.finish(session.vlm_config.name)
    if report.warned and report.unnamed and session.recogniser_config.drawn_only and concepts.requested:
        name = session.recogniser_config.name
        out.say(f"The recogniser in use, {name}, recognises drawings only. Next: myvlm doctor")
    if request.limit is None:  # with a limit, the search of the folders stopped early
        tell_tally(memory.search)
    if request.write:
        tell_library(photos.folder)
    return SOME_FAILED if report.counts[Status.FAILED] else OK


def _prepare_on(session: "Session", cluster: "ClusterOptions | None") -> "Prepare | None":
    """Return how workers prepare photos; None for this process."""
    if cluster is None:
        return None
    from engine.cluster.caption import caption_on

    return caption_on(session, cluster)
