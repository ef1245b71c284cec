"""`myvlm caption`."""

from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.errors import UsageError
from engine.core.types import Concept, Kind, Status
from myvlm_cli import options as o
from myvlm_cli.calibration import calibrate_unseen
from myvlm_cli.caption_choice import CaptionChoice, Speak
from myvlm_cli.caption_report import Report
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.given import Photos, tell_tally
from myvlm_cli.output import out
from myvlm_cli.remote import AllowRemote
from myvlm_cli.run_memory import RunMemory
from myvlm_cli.sessions import warn_of_slow_faces
from myvlm_cli.sidecar_choice import SidecarChoice
from myvlm_cli.summary import tell_library
from myvlm_cli.words import count, listed
from myvlm_cli.workers import WorkerChoice

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.captioning.caption_run import CaptionRequest
    from engine.captioning.pipeline import Prepare
    from engine.captioning.requested_concepts import RequestedConcepts
    from engine.cluster.options import ClusterOptions
    from engine.photos.discovery import FoundFile
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
    quick = not (run.dry_run or run.force or run.verify or explain or sidecars.elsewhere)
    choices = (names, concepts.only, form, sidecars, models, speak, allow_remote, files.folder)
    memory, report = RunMemory(choices, files, usable=quick), Report(output, show_all=show_all)
    rest = memory.tell_unchanged(report, whole=run.limit is None)
    if rest is None:
        tell_library(files.folder)
        raise typer.Exit(OK)
    request = _make_request(concepts, run, form, sidecars, explain, files.folder)
    session = models.open_session(create=not run.dry_run, names=names, speak=speak, allow_remote=allow_remote)
    report.why_no_vlm = session.models.why_no_vlm
    prepare = _prepare_on(session, workers.open(explains=bool(explain)))
    raise typer.Exit(_run(session, files, rest, request, report, memory, prepare))


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

    concepts, told = _choose(session, photos, request, report)
    unchanged = memory.after_choosing(session.folder, report, session.vlm_config.name, told)
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


def _choose(
    session: "Session", photos: Photos, request: "CaptionRequest", report: Report
) -> "tuple[RequestedConcepts, list[tuple[str, str]]]":
    """Choose the concepts, say before anything is written what this run will not name, and calibrate if needed.

    Returns also what was said that holds for every run of this kind.
    """
    from engine.captioning.requested_concepts import choose_requested

    concepts = choose_requested(
        session.store, session.recogniser_config, session.recognition, session.vlm_in_use, request.concepts
    )
    report.untrained = {c.id for c in _untold(session, concepts)}
    _check_vlm(session, photos)
    with out.keeping() as told:
        warn_of_slow_faces(session, people=any(c.kind is Kind.PERSON for c in concepts.requested))
        _warn_of_missing_heads(concepts)
        _check_form(session, request)
        _tell_same_pairs(concepts)
        if not concepts.enrolled.concepts:
            out.say("No concepts yet, so no names are written. Start with: myvlm add-concept NAME PHOTOS")
    if concepts.requested:
        calibrate_unseen(
            session,
            photos,
            concepts.requested,
            enrolled=concepts.enrolled,
            kept=request.write,
            some=request.limit is not None,
        )
    if request.only or request.concepts == ():
        _warn_of_lost_names(concepts, photos, request)
    return concepts, told


def _untold(session: "Session", concepts: "RequestedConcepts") -> "tuple[Concept, ...]":
    """List the concepts that the VLM cannot be told of, so that captions do not name them."""
    if not session.has_vlm:
        return ()
    from engine.captioning.speaking import Speaking, untold

    vlm = session.vlm_in_use
    return untold(Speaking(vlm.config, vlm.speak, concepts.embeddings), concepts.requested)


def _check_form(session: "Session", request: "CaptionRequest") -> None:
    """Refuse a style, language or context that the VLM cannot follow, and warn where no place can be named."""
    from engine.captioning.speaking import check_speak
    from engine.vlms.requests import check_form

    if not session.has_vlm:
        return
    check_form(session.vlm_config, request.forms.form, context=request.forms.context)
    check_speak(session.vlm_config, session.vlm_in_use.speak)
    if request.forms.context:
        from engine.photos.places import has_places

        if not has_places():
            out.say("The VLM is told dates but no places: for places, run: pip install 'myvlm[places]'")


def _tell_same_pairs(chosen: "RequestedConcepts") -> None:
    """Say which two concepts look like the same individual, so that neither is named.

    This is not a warning, and --quiet silences it: the user may have enrolled twins.
    """
    from engine.concepts.concept_warnings import warn_of_same
    from engine.concepts.similarity import find_same_pairs

    for a, b in find_same_pairs(chosen.enrolled):
        if a in chosen.requested or b in chosen.requested:
            out.say(str(warn_of_same(a, b)))


def _check_vlm(session: "Session", photos: Photos) -> None:
    """Refuse a VLM that is not on disk, or that cannot describe these photos, before other work."""
    from engine.captioning.names_only import check_drawn

    if session.has_vlm:
        session.models.check_weights()
    if session.vlm_config.world:
        check_drawn(session.vlm_in_use, photos)


def _warn_of_missing_heads(chosen: "RequestedConcepts") -> None:
    """Name the concepts that the recogniser in use has no head for, and say how to enrol them."""
    for concept in chosen.without_head:
        how = "enrolled with another recogniser" if concept.references else "imported without a head"
        out.warn(f"{concept.name} was {how} and is not looked for. Run: myvlm add-concept {quote(concept.name)} PHOTOS")


def _warn_of_lost_names(concepts: "RequestedConcepts", photos: Photos, request: "CaptionRequest") -> None:
    """Say before anything is written which names this run removes from earlier captions."""
    from engine.captioning.names_only import count_lost_names

    lost = count_lost_names(concepts.requested, photos, request.naming, read_xmp=bool(request.concepts))
    photos_lost = lost.pop("", 0)
    if photos_lost:
        names = listed([f"{name} ({n})" for name, n in sorted(lost.items())])
        removes = "removes" if request.write else "would remove"
        where = "" if request.only else "the captions of "
        keywords = "" if request.only else " (keywords stay)"
        most = "up to " if request.limit is not None else ""
        out.warn(
            f"this run {removes} names from {where}{most}{count(photos_lost, 'photo')}{keywords}: {names}."
            " myvlm undo restores them"
        )
