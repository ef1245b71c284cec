"""`myvlm summary`, and the line about the library at the end of each caption run."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.types import Kind
from myvlm_cli import options as o
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.given import NO_PHOTOS, Photos, tell_tally, warn_of_missing
from myvlm_cli.output import Document, out, path_text
from myvlm_cli.parameters import Without
from myvlm_cli.reindex import read_sidecars
from myvlm_cli.sessions import open_session
from myvlm_cli.sidecar_choice import SidecarChoice
from myvlm_cli.tables import Column, print_table
from myvlm_cli.words import count

if TYPE_CHECKING:
    from engine.library.summary import LibrarySummary, NameCount
    from engine.library.update import Changes
    from engine.sidecars.journal import Run

_FEW = 3
"""Names in the line after a caption run, and paths in the command to run next."""
_FAILURES = 5
"""Failures that are listed without -v."""


@dataclass(frozen=True)
class _Report:
    """All figures of a summary.

    unnamed_groups: people and pets without a name in several photos, as myvlm people found them; None if it has not
    looked. edited: photos whose sidecars other programs wrote since the last run.
    """

    photos: int
    summary: "LibrarySummary"
    changes: "Changes"
    unnamed_faces: int
    unnamed_photos: int
    unnamed_groups: "dict[Kind, int | None]"
    run: "Run | None"
    edited: int


def summary(
    *,
    photos: o.PhotoSelection,
    sidecars: Annotated[SidecarChoice, Without("on_existing", "hierarchy", "regions")],
    json: o.Json = False,
) -> None:
    """Show what is known of a library: photos for each name, what waits for you, and what changed.

    It reads sidecars that changed, but decodes no photo and loads no model.

    Example: myvlm summary ~/Pictures
    """
    files = photos.find()
    missing = warn_of_missing(files.given)
    report = _read(files, sidecars)
    if json:
        out.json_document(_describe(report))
    else:
        _print(report)
    tell_tally(files)
    _tell(report, [p for p in files.given if p not in files.missing])
    raise typer.Exit(SOME_FAILED if missing or report.changes.failed else OK)


def _read(files: Photos, sidecars: SidecarChoice) -> _Report:
    """Bring the index up to date with the sidecars of the photos, and read all figures from it."""
    from engine.library.index import LibraryIndex
    from engine.library.stored import read_stored
    from engine.library.summary import count_edited_since, count_unnamed_faces, runs_in, summarise
    from engine.sidecars.journal import Journal
    from engine.unnamed.kept import KeptGroups

    session = open_session(create=False)
    with LibraryIndex(session.folder, create=session.folder.exists()) as index:
        changes = read_sidecars(index, files, sidecars)
        figures = summarise(index, read_stored(session.folder), photos=changes.found)
        faces = session.cache.lengths(session.recogniser_config.found_faces_id, "boxes")
        unnamed = count_unnamed_faces(index, faces, changes.found)
        runs = runs_in(Journal(session.folder).runs(), files.folder)
        edited = count_edited_since(index, runs, changes.found)
    kept = KeptGroups(session.folder)
    groups = {kind: kept.count(kind, files.given) for kind in (Kind.PERSON, Kind.PET)}
    return _Report(len(changes.found), figures, changes, *unnamed, groups, next(iter(runs), None), edited)


_COUNTS = (Column("what"), Column("photos", "right"))
_NAMES = (Column("name"), Column("kind"), Column("photos", "right"))


def _print(report: _Report) -> None:
    """Print the figures that are not zero, and a line for each name."""
    figures = report.summary
    rows = [
        ("photos", report.photos),
        ("with a caption", figures.captions),
        ("with a caption that a person wrote", figures.by_people),
        ("with a name", figures.named),
        ("with faces that have no name", report.unnamed_photos),
        ("without sidecars", report.changes.without),
        ("with sidecars that cannot be read", len(report.changes.failed)),
        ("failed", len(figures.failed)),
    ]
    if report.photos:
        print_table(_COUNTS, [(what, f"{n:,}") for what, n in rows if n])
    if figures.names:
        out.text("")
        print_table(_NAMES, [(n.name, n.kind, f"{n.photos:,}") for n in figures.names])


def _describe(report: _Report) -> Document:
    figures, run = report.summary, report.run
    return {
        "photos": report.photos,
        "captions": figures.captions,
        "captions_by_people": figures.by_people,
        "named": figures.named,
        "names": [{"name": n.name, "kind": n.kind, "photos": n.photos} for n in figures.names],
        "suggestions": figures.suggestions,
        "unnamed_faces": report.unnamed_faces,
        "photos_with_unnamed_faces": report.unnamed_photos,
        "unnamed_groups": report.unnamed_groups[Kind.PERSON],
        "unnamed_pets": report.unnamed_groups[Kind.PET],
        "without_sidecars": report.changes.without,
        "failed": [{"file": path_text(p), "reason": reason} for p, reason in figures.failed],
        "last_run": {"run": run.id, "command": run.command, "started": run.started, "photos": run.photos}
        if run
        else None,
        "edited_since": report.edited,
    }


def _tell(report: _Report, given: Sequence[Path]) -> None:
    """Print what waits for the user, and the command to run next."""
    figures, run = report.summary, report.run
    if not report.photos:
        out.say(NO_PHOTOS)
        return
    failures = figures.failed if out.settings.verbose else figures.failed[:_FAILURES]
    for path, reason in failures:
        text = path_text(path)
        out.say(f"failed: {text}: {reason.removeprefix(f'{text}: ')}")
    if len(failures) < len(figures.failed):
        out.say(f"{len(figures.failed) - len(failures):,} more failed (-v lists them)")
    if report.unnamed_faces:
        out.say(f"{count(report.unnamed_faces, 'face')} without a name in {count(report.unnamed_photos, 'photo')}")
    if people := report.unnamed_groups[Kind.PERSON]:
        out.say(f"{people:,} {'person' if people == 1 else 'people'} without a name in several photos: myvlm people")
    if pets := report.unnamed_groups[Kind.PET]:
        out.say(f"{count(pets, 'animal')} without a name in several photos: myvlm people --pets")
    if run:
        state = ", undone" if run.undone else ""
        what = f"{run.id} ({run.command}{state}) wrote the sidecars of {count(run.photos, 'photo')}"
        since = f"; {count(report.edited, 'photo')} edited since" if report.edited else ""
        out.say(f"Last run: {what}{since}")
    out.say(_next(report, " ".join(shlex.quote(path_text(p)) for p in given) if len(given) <= _FEW else "PATHS"))


def _next(report: _Report, where: str) -> str:
    if report.changes.without:
        return f"Next: myvlm caption {where}"
    if report.summary.suggestions:
        return f"{_waiting(report.summary)}. Next: myvlm review {where}"
    return "Next: myvlm search WORDS"


def _waiting(figures: "LibrarySummary") -> str:
    return f"{count(figures.suggestions, 'suggestion')} {'waits' if figures.suggestions == 1 else 'wait'} for you"


def tell_library(folder: Path | None) -> None:
    """Print one line about the library after a caption run, from the index alone; nothing if it cannot be read.

    folder: the folder that holds all photos of the run.
    """
    if out.settings.quiet or folder is None:
        return
    from engine.core.errors import StoreError
    from engine.core.paths import home
    from engine.library.index import LibraryIndex
    from engine.library.stored import read_stored
    from engine.library.summary import summarise

    try:
        with LibraryIndex(home(), create=False) as index:
            figures = summarise(index, read_stored(home()), folder=folder)
    except StoreError:  # the run said already that it could not be written
        return
    if not figures.is_empty:
        out.say(f"{path_text(folder)}: {'; '.join(_parts(figures))}")


def _parts(figures: "LibrarySummary") -> list[str]:
    """Return the figures that are not zero, in words."""
    parts = [count(figures.captions, "caption")] if figures.captions else []
    if figures.named:
        parts.append(f"names in {count(figures.named, 'photo')} ({_few(figures.names)})")
    if figures.suggestions:
        parts.append(f"{_waiting(figures)} (myvlm review)")
    if figures.failed:
        parts.append(f"{len(figures.failed):,} failed")
    return parts


def _few(names: "Sequence[NameCount]") -> str:
    more = [f"{len(names) - _FEW:,} more"] if len(names) > _FEW else []
    return ", ".join([f"{n.name} {n.photos:,}" for n in names[:_FEW]] + more)
