"""`myvlm add-concept`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.errors import UsageError
from engine.core.types import Kind
from myvlm_cli import options as o
from myvlm_cli.enrolment import describe_finding, tell_enrolment, tell_findings
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.given import NO_PHOTOS, warn_of_missing
from myvlm_cli.output import Document, out, path_text
from myvlm_cli.parameters import Without
from myvlm_cli.sessions import warn_of_slow_faces

if TYPE_CHECKING:
    from engine.concepts.enrol import Enrolment
    from engine.concepts.enrol_tagged import Chosen
    from engine.concepts.tagged_photos import Search
    from engine.session import Session

Name = Annotated[str, typer.Argument(help="The concept's name.", show_default=False)]
Photos = Annotated[
    list[Path], typer.Argument(help="Photos or folders; three to five photos are enough.", show_default=False)
]
Negatives = Annotated[
    list[Path] | None,
    typer.Option(help="Photos or folders of other things that it could be confused with.", show_default=False),
]
Replace = Annotated[
    bool, typer.Option("--replace", help="Replace the existing reference photos instead of adding to them.")
]


@dataclass(frozen=True)
class ConceptDescription:
    """What the user says about a concept."""

    kind: Annotated[
        Kind | None, typer.Option(help="What the concept is. Default: guessed from the photos.", show_default=False)
    ] = None
    category: Annotated[
        str | None,
        typer.Option(help="A word for it, such as dog, mug or woman. Default: guessed.", show_default=False),
    ] = None


@dataclass(frozen=True)
class TaggedChoice:
    """Whether to take references from regions tagged in other programs, and how many."""

    from_regions: Annotated[
        bool,
        typer.Option(
            "--from-regions",
            help="Search the photos for regions tagged NAME in digiKam, Lightroom, Picasa or others, and use these as"
            " references.",
        ),
    ] = False
    most: Annotated[
        int, typer.Option(help="With --from-regions: use at most this many references.", min=1, max=200)
    ] = 20
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --from-regions: show what would be used, but store nothing.")
    ] = False
    preview: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png", help="With --from-regions: save a picture of the references.", show_default=False
        ),
    ] = None


def add_concept(
    *,
    name: Name,
    photos: Photos,
    described: ConceptDescription,
    negatives: Negatives = None,
    tagged: TaggedChoice,
    replace: Replace = False,
    models: Annotated[o.ModelChoice, Without("heads", "allow_body", "quantise")],
    seed: o.Seed = 0,
    json: o.Json = False,
) -> None:
    """Enrol a concept, or add photos to it.

    A person, a pet or a thing is recognised from then on. If the name is already enrolled, the photos are added.

    Example: myvlm add-concept rex ./rex_photos --category dog

    Example: myvlm add-concept rex ./new_photos

    Example: myvlm add-concept "Anna Berg" --from-regions ~/Pictures --dry-run
    """
    _check(name, tagged)
    missing = [warn_of_missing(paths) for paths in (photos, negatives or ())]
    if _is_empty(photos, name, json=json):
        return
    session = models.open_session()
    warn_of_slow_faces(session, people=described.kind in (None, Kind.PERSON))
    wanted = _Wanted(name, described, photos, negatives or [], seed, replace)
    if tagged.from_regions:
        _enrol_tagged(session, wanted, tagged, json=json)
    else:
        tell_enrolment(session, _enrol(session, wanted), json=json)
    raise typer.Exit(SOME_FAILED if any(missing) else OK)


@dataclass(frozen=True)
class _Wanted:
    """What to enrol: a name, what the user says about it, its photos, and photos of other things."""

    name: str
    described: ConceptDescription
    photos: list[Path]
    negatives: list[Path]
    seed: int
    replace: bool


def _enrol(session: "Session", wanted: _Wanted) -> "Enrolment":
    from engine.concepts.enrol import enrol

    return enrol(
        session,
        wanted.name,
        wanted.photos,
        kind=wanted.described.kind,
        category=wanted.described.category,
        negatives=wanted.negatives,
        seed=wanted.seed,
        replace=wanted.replace,
    )


def _check(name: str, tagged: TaggedChoice) -> None:
    """Refuse a name that cannot be stored, and options that need --from-regions."""
    from engine.store.names import check_name

    check_name(name)
    if (tagged.preview is not None or tagged.dry_run) and not tagged.from_regions:
        raise UsageError("--dry-run and --preview need --from-regions", hint="Add --from-regions, or leave them out.")


def _is_empty(photos: list[Path], name: str, *, json: bool) -> bool:
    """Whether there is no photo at all, so that nothing is enrolled; if so, say it."""
    from engine.photos.discovery import iter_photos

    if next(iter_photos(photos), None) is not None:
        return False
    out.say(f"{NO_PHOTOS} Nothing was enrolled.")
    if json:
        out.json_document({"name": name, "references": [], "photos": []})
    return True


def _enrol_tagged(session: "Session", wanted: _Wanted, tagged: TaggedChoice, *, json: bool) -> None:
    """Enrol a concept from regions tagged with its name, or with --dry-run only show which would be used."""
    from engine.concepts.enrol_tagged import Wanted, choose_references, enrol_tagged

    _check_preview(tagged.preview)
    search = _search(wanted)
    kind, category = wanted.described.kind, wanted.described.category
    request = Wanted(wanted.name, kind, category, tagged.most, wanted.seed, wanted.replace)
    chosen = choose_references(session, search, request, keep=not tagged.dry_run)
    if tagged.preview is not None:
        _draw_preview(chosen, tagged.preview)
    enrolment = None if tagged.dry_run else enrol_tagged(session, chosen, request, negatives=wanted.negatives)
    counts = _count(search, chosen)
    if not json:
        _tell_search(search, counts)
    if enrolment is not None:
        more: Document = {"dry_run": False, "search": _describe_search(search, counts)}
        tell_enrolment(session, enrolment, json=json, more=more)
    elif json:
        photos = [describe_finding(f) for f in chosen.findings]
        document: Document = {"name": wanted.name, "kind": str(chosen.guess.kind), "photos": photos}
        out.json_document({**document, "dry_run": True, "search": _describe_search(search, counts)})
    else:
        tell_findings(chosen.findings)


def _search(wanted: _Wanted) -> "Search":
    """Search the photos for regions tagged with the name."""
    from engine.concepts.tagged_photos import search_regions

    with out.progress("searching", None, "files") as bar:
        search = search_regions(wanted.name, wanted.photos, bar.advance)
    for path, reason in search.unreadable:
        out.detail(f"{path_text(path)}: {reason}")
    return search


def _check_preview(preview: Path | None) -> None:
    if preview is not None and (preview.suffix.lower() != ".png" or preview.exists()):
        problem = "already exists" if preview.exists() else "does not end in .png"
        raise UsageError(f"--preview {path_text(preview)} {problem}", hint="Give the name of a new PNG file.")


def _draw_preview(chosen: "Chosen", preview: Path) -> None:
    from engine.captioning.contact_sheet import draw_crops

    draw_crops(chosen.crops, [v.reference.path.name for v in chosen.views], preview)
    out.say(f"Preview: {path_text(preview)}")


@dataclass(frozen=True)
class _Counts:
    """How many tagged photos are used, were reference photos before, cannot be used, and are not needed."""

    used: int
    known: int
    not_used: int
    not_needed: int


def _count(search: "Search", chosen: "Chosen") -> _Counts:
    used = sum(f.used and not f.known for f in chosen.findings)
    known = sum(f.known for f in chosen.findings)
    return _Counts(used, known, len(chosen.findings) - used - known, chosen.left)


def _describe_search(search: "Search", counts: _Counts) -> Document:
    return {
        "photos": search.photos,
        "photos_with_regions": search.tagged_photos,
        "tagged": len(search.found),
        "used": counts.used,
        "known": counts.known,
        "not_used": counts.not_used,
        "not_needed": counts.not_needed,
        "names": dict(search.names),
        "unreadable": [{"file": path_text(p), "reason": reason} for p, reason in search.unreadable],
    }


def _tell_search(search: "Search", counts: _Counts) -> None:
    known = f"{counts.known} used before, " if counts.known else ""
    out.text(
        f"{search.photos} photos searched, {search.tagged_photos} with named regions, {len(search.found)} with this"
        f" name: {counts.used} used, {known}{counts.not_used} not usable, {counts.not_needed} not needed"
    )
    if search.unreadable:
        out.say(f"{len(search.unreadable)} sidecars or photos could not be read (-v lists them)")
    names = ", ".join(f"{name} ({count})" for name, count in search.names[:20])
    out.say(f"Names in these photos: {names}")
