"""`myvlm caption`."""

from shlex import quote
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from myvlm_cli import options as o
from myvlm_cli.calibrate import calibrate_unseen
from myvlm_cli.caption_report import Report
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.output import out
from myvlm_cli.words import count, listed

if TYPE_CHECKING:
    from engine.captioning.caption import CaptionRequest
    from engine.captioning.requested_concepts import RequestedConcepts
    from engine.session import Session

Limit = Annotated[
    int | None,
    typer.Option(
        "--limit", min=1, help="Caption at most this many; what is up to date does not count.", show_default=False
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Caption and show what would change, but write nothing at all.")
]
Force = Annotated[bool, typer.Option("--force", help="Caption up-to-date photos again. Human edits are kept.")]
OnExisting = Annotated[
    Literal["keep", "replace-all"],
    typer.Option(
        "--on-existing", help="A description that myvlm did not write: keep it, or replace it (undo brings it back)."
    ),
]
Only = Annotated[
    bool,
    typer.Option(
        "--only", help="With --concepts: also remove the names of all other concepts that earlier runs wrote."
    ),
]
ShowAll = Annotated[bool, typer.Option("--all", help="Print every caption, not only those that changed.")]
Hierarchy = Annotated[
    bool, typer.Option("--hierarchy", help="Write hierarchical keywords (People|Anna) where there are none yet.")
]
FaceRegions = Annotated[
    Literal["none", "people", "all"],
    typer.Option("--regions", help="Write face regions; all: pets, too, which digiKam and Immich take for people."),
]


def caption(
    paths: o.Paths = None,  # type: ignore[assignment]
    concepts: o.Concepts = None,
    only: Only = False,
    no_concepts: o.NoConcepts = False,
    files_from: o.FilesFrom = None,
    null: o.Null = False,
    include: o.Include = None,
    exclude: o.Exclude = None,
    since: o.Since = None,
    until: o.Until = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    force: Force = False,
    on_existing: OnExisting = "keep",
    hierarchy: Hierarchy = False,
    regions: FaceRegions = "none",
    sidecar_naming: o.SidecarNaming = "auto",
    sidecar_dir: o.SidecarDir = None,
    explain: o.Explain = None,
    vlm: o.Vlm = None,
    recogniser: o.Recogniser = None,
    heads: o.Heads = "open-set",
    allow_body: o.AllowBody = False,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    show_all: ShowAll = False,
    json: o.Json = False,
    jsonl: o.JsonLines = False,
) -> None:
    """Caption photos and write the result to sidecar files.

    Without a VLM for real photos, only names are written: keywords, people, JSON, no description.

    Example: myvlm caption ~/Pictures --concepts rex,anna
    """
    names = () if no_concepts else o.split_names(concepts)
    _check(names_twice=no_concepts and concepts is not None, explained_dry_run=bool(explain and dry_run))
    _check_only(only=only, names=names)
    photos = o.find_photos(paths, files_from, null=null, selection=o.make_selection(include, exclude, since, until))
    from engine.captioning.caption import CaptionRequest
    from engine.sidecars.plan import RegionChoice, SidecarOptions
    from engine.sidecars.xmp import Policy

    request = CaptionRequest(
        names,
        only=only,
        write=not dry_run,
        force=force,
        explain=explain,
        naming=o.make_naming(sidecar_naming, sidecar_dir),
        manner=SidecarOptions(
            Policy(replace_all=on_existing == "replace-all", hierarchy=hierarchy), RegionChoice(regions)
        ),
        limit=limit,
        library=photos.folder,
    )
    session = o.open_session(
        vlm, recogniser, device, dtype, heads=heads, allow_body=allow_body, create=not dry_run, names=names
    )
    report = Report(json=json, jsonl=jsonl, show_all=show_all, has_vlm=session.has_vlm)
    raise typer.Exit(_run(session, photos, request, report))


def _check(*, names_twice: bool, explained_dry_run: bool) -> None:
    from engine.core.errors import UsageError

    if names_twice:
        raise UsageError("--concepts and --no-concepts exclude each other", hint="Use one of them.")
    if explained_dry_run:
        raise UsageError(
            "--dry-run writes nothing, --explain writes pictures",
            hint="Use myvlm locate NAME PHOTOS --explain FOLDER: it writes pictures and nothing else.",
        )


def _check_only(*, only: bool, names: tuple[str, ...] | None) -> None:
    from engine.core.errors import UsageError

    if only and not names:
        raise UsageError("--only needs --concepts", hint="Example: --concepts rex,anna --only")


def _run(session: "Session", photos: o.Photos, request: "CaptionRequest", report: Report) -> int:
    """Caption the photos and print what came of each; the exit code."""
    from engine.captioning.caption import caption_photos
    from engine.captioning.requested_concepts import choose_requested

    o.warn_of_slow_faces(session)
    chosen = choose_requested(session, request.concepts)
    _tell_left_out(chosen)
    report.untrained = {c.id for c in chosen.untrained} if session.has_vlm else set()
    _check_vlm(session, photos)
    _warn_of_doubles(session, chosen)
    if not session.store.all():
        out.say("No concepts yet, so nobody is named. Start with: myvlm add-concept NAME PHOTOS")
    if chosen.asked:
        calibrate_unseen(session, photos, chosen.asked, kept=request.write, some=request.limit is not None)
    if request.concepts is not None:
        _tell_lost(session, photos, request)
    with out.progress("captioning", None) as bar:
        photos.count_onto(bar)
        for result in caption_photos(session, photos, request):
            bar.advance()
            report.add(result)
    if report.json:
        out.json_document({"photos": report.documents, "summary": report.counts})
    report.summarise(session.vlm_config.name)
    if report.told and report.nobody and session.recogniser_config.drawn_only and chosen.asked:
        out.say(f"The recogniser in use, {session.recogniser_config.name}, only knows drawings. Next: myvlm doctor")
    if request.limit is None:  # else the folders were not searched to their ends
        o.tell_tally(photos)
    return SOME_FAILED if report.counts.get("failed") else OK


def _warn_of_doubles(session: "Session", chosen: "RequestedConcepts") -> None:
    """Say which two names stand for one individual: then neither is written."""
    from engine.concepts.similarity import find_same_pairs, same_words

    for a, b in find_same_pairs(session):
        if a in chosen.asked or b in chosen.asked:
            out.say(same_words(a, b))  # -q silences it: two enrolled twins are no mistake


def _check_vlm(session: "Session", photos: o.Photos) -> None:
    """Refuse at once what captioning would refuse: a chosen VLM that is not on disk, or does not know the photos."""
    from engine.captioning.names_only import check_drawn
    from engine.vlms.registry import check_weights

    if session.has_vlm:
        check_weights(session.vlm_config)
    if session.choices.vlm and session.vlm_config.world:
        check_drawn(session, photos)


def _tell_left_out(chosen: "RequestedConcepts") -> None:
    """Say which concepts are left out."""
    for concept in chosen.without_head:
        how = "enrolled with another recogniser" if concept.references else "imported without a head"
        out.warn(f"{concept.name} was {how} and is not looked for. Run: myvlm add-concept {quote(concept.name)} PHOTOS")


def _tell_lost(session: "Session", photos: o.Photos, request: "CaptionRequest") -> None:
    """Say before anything is written which names this run takes out of earlier captions."""
    if not (request.only or request.concepts == ()):
        return
    from engine.captioning.names_only import names_to_lose

    lost = names_to_lose(session, photos, request.concepts or (), request.naming)
    photos_lost = lost.pop("", 0)
    if photos_lost:
        names = listed([f"{name} ({n})" for name, n in sorted(lost.items())])
        takes = "takes" if request.write else "would take"
        where = "" if request.only else "the captions of "
        keywords = "" if request.only else " (keywords stay)"
        most = "up to " if request.limit is not None else ""
        out.warn(
            f"this run {takes} names out of {where}{most}{count(photos_lost, 'photo')}{keywords}: {names}."
            " myvlm undo brings them back"
        )
