"""`myvlm caption`."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import typer

from myvlm_cli import options as o
from myvlm_cli.calibrate import calibrate_unseen
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.output import out, path_text
from myvlm_cli.show import describe_why

Limit = Annotated[
    int | None,
    typer.Option(
        "--limit", min=1, help="Caption at most this many; what is up to date does not count.", show_default=False
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Caption and show what would change, but write nothing at all.")
]
Force = Annotated[bool, typer.Option("--force", help="Caption again what is up to date. A human's words stay.")]
OnExisting = Annotated[
    Literal["keep", "replace-all"],
    typer.Option(
        "--on-existing", help="A description that myvlm did not write: keep it, or replace it (undo brings it back)."
    ),
]
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
    json: o.Json = False,
    jsonl: o.JsonLines = False,
) -> None:
    """Caption photos and write the result to sidecar files.

    Example: myvlm caption ~/Pictures --concepts rex,anna
    """
    from engine.pipeline.describe import Request, split_trained
    from engine.pipeline.sidecar_plans import Manner, Regions
    from engine.sidecars.xmp import Policy

    _check(no_concepts=no_concepts and concepts is not None, explained_dry_run=bool(explain and dry_run))
    photos = o.find_photos(paths, files_from, null=null, selection=o.make_selection(include, exclude, since, until))
    request = Request(
        () if no_concepts else o.split_names(concepts),
        write=not dry_run,
        force=force,
        explain=explain,
        naming=o.make_naming(sidecar_naming, sidecar_dir),
        manner=Manner(Policy(replace_all=on_existing == "replace-all", hierarchy=hierarchy), Regions(regions)),
        limit=limit,
        library=photos.folder,
    )
    session = o.open_session(
        vlm, recogniser, device, dtype, heads=heads, allow_body=allow_body, create=not dry_run, names=request.concepts
    )
    o.warn_of_slow_faces(session)
    if not no_concepts:
        trained = split_trained(session, request.concepts)[0]
        calibrate_unseen(session, photos, trained, kept=not dry_run, some=limit is not None)
    report = _Report(json=json, jsonl=jsonl)
    _run(session, photos, request, report)
    raise typer.Exit(SOME_FAILED if report.counts.get("failed") else OK)


def _check(*, no_concepts: bool, explained_dry_run: bool) -> None:
    from engine.errors import UsageError

    if no_concepts:
        raise UsageError("--concepts and --no-concepts exclude each other", hint="Use one of them.")
    if explained_dry_run:
        raise UsageError(
            "--dry-run writes nothing, --explain writes pictures",
            hint="Use myvlm locate NAME PHOTOS --explain FOLDER: it writes pictures and nothing else.",
        )


@dataclass
class _Report:
    """What was printed, and how many photos came to what."""

    json: bool
    jsonl: bool
    counts: dict[str, int] = field(default_factory=dict)
    videos: int = 0
    live: int = 0
    both: int = 0
    kept: int = 0
    strange: bool = False
    documents: list[dict[str, Any]] = field(default_factory=list)

    def add(self, result: Any) -> None:
        """Print one result."""
        from engine.pipeline.describe import LIVE_HALF, VIDEO
        from engine.sidecars.naming import BOTH_THERE

        self.counts[result.status] = self.counts.get(result.status, 0) + 1
        self.videos += result.reason in (VIDEO, LIVE_HALF)
        self.live += result.reason == LIVE_HALF
        both = [note for note in result.notes if BOTH_THERE in note]
        if both and not self.both:
            out.warn(f"{path_text(result.path)}: {both[0]} (said once; -v says it of every photo)")
        self.both += bool(both)
        self.kept += any(note.startswith("kept the description") for note in result.notes)
        self.strange = self.strange or any("storybook" in note for note in result.notes)
        document = describe_result(result)
        if self.json:
            self.documents.append(document)
        elif self.jsonl:
            out.json_line(document)
        elif result.caption is not None and result.status != "failed":
            out.text(f"{document['file']}: {result.caption}")
            shown = result.status == "dry-run"
            for change in document["changes"] if shown else ():
                if not change["property"].startswith("myvlm:") or out.settings.verbose:
                    out.text(f"  {change['property']}: {change['before']!r} -> {change['after']!r}")
        if result.status == "failed":
            out.say(f"failed: {result.reason}")
        for note in result.notes:
            out.detail(f"{document['file']}: {note}")


def _run(session: Any, photos: o.Photos, request: Any, report: _Report) -> None:
    from engine.pipeline.describe import describe, split_trained

    for concept in split_trained(session, request.concepts)[1]:
        if concept.references:
            out.warn(f"{concept.name} was never trained for {session.vlm_config.name} and is left out (myvlm train)")
        else:
            out.warn(f"{concept.name} was imported without a head or an embedding for this VLM and is left out")
    with out.progress("captioning", None) as bar:
        photos.count_onto(bar)
        for result in describe(session, photos, request):
            bar.advance()
            report.add(result)
    if report.json:
        out.json_document({"photos": report.documents, "summary": report.counts})
    _summarise(report)


def describe_result(result: Any) -> dict[str, Any]:
    """A photo's result as plain data."""
    from engine.sidecars.json_sidecar import describe_match

    whys = {w.concept.id: {"why": describe_why(w)} for w in getattr(result, "whys", ())}
    return {
        "file": path_text(result.path),
        "status": str(result.status),
        "caption": result.caption,
        "concepts": [describe_match(m) | whys.get(m.concept_id, {}) for m in result.matches],
        "sidecar": path_text(result.sidecars[0]) if result.sidecars else None,
        "changes": [
            {"property": c.property, "before": c.before, "after": c.after} for c in getattr(result, "changes", ())
        ],
        "pictures": [path_text(p) for p in getattr(result, "pictures", ())],
        "taken": result.facts.taken if result.facts else None,
        "reason": result.reason,
        "notes": list(result.notes),
        "seconds": round(result.seconds, 3),
    }


def _summarise(report: _Report) -> None:
    if not report.counts:
        out.say("No photos found.")
        return
    counts = dict(report.counts)
    if report.videos:
        counts["skipped"] -= report.videos
        live = f", {report.live} of them halves of Live Photos" if report.live else ""
        out.say(f"{report.videos} videos skipped{live}")
    counts = {status: n for status, n in counts.items() if n}
    if set(counts) == {"unchanged"}:
        out.say(f"Nothing to do: {counts['unchanged']} photos are up to date.")
        return
    out.say(", ".join(f"{n} {status}" for status, n in sorted(counts.items())))
    if report.kept:
        out.say(f"{report.kept} descriptions that others wrote were kept (-v says which)")
    if report.strange:
        out.warn(
            "the storybook VLM only knows its own drawn world; what it says of real photos is noise. "
            "Get a real one: myvlm models"
        )
