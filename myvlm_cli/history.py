"""`myvlm runs`, `myvlm undo` and `myvlm status`: what was written, how to undo it, and what needs captioning."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from myvlm_cli import options as o
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.output import out, path_text
from myvlm_cli.tables import Column, print_table
from myvlm_cli.words import count

if TYPE_CHECKING:
    from pathlib import Path

    from engine.captioning.status import PhotoStatus
    from engine.sidecars.journal import Journal, Run

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def complete_run(incomplete: str) -> list[str]:
    """Ids of runs that start like this."""
    from engine.core.paths import home
    from engine.sidecars.journal import Journal

    return [r.id for r in Journal(home()).runs() if r.id.startswith(incomplete)]


def runs(
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep",
            min=0,
            help="Forget all but the newest N runs. Forgotten runs cannot be undone; sidecars stay as they are.",
            show_default=False,
        ),
    ] = None,
    yes: Yes = False,
    json: o.Json = False,
) -> None:
    """List the runs that wrote sidecars. The newest comes first.

    Example: myvlm runs
    """
    from engine.core.paths import home
    from engine.sidecars.journal import Journal

    journal = Journal(home())
    if keep is not None:
        _forget_older(journal, keep, yes=yes)
    found = journal.runs()
    if json:
        out.json_document({"runs": [r.__dict__ | {"folder": _folder(r) or None} for r in found]})
        return
    print_table(_RUNS, [_cells(r) for r in found])
    if found:
        out.say("Next: myvlm undo RUN --dry-run shows what undoing a run would change.")
    else:
        out.say("No runs yet. Start with: myvlm caption FOLDER")


_RUNS = (
    Column("run", "run"),
    Column("command", "command"),
    Column("started", "started", optional=True),
    Column("photos", "photos", "right"),
    Column("files", "files", "right"),
    Column("state", "state"),
    Column("folder", "folder"),
)


def _cells(run: "Run") -> tuple[str, ...]:
    state = "undone" if run.undone else "" if run.finished else "not finished"
    return (run.id, run.command, _moment(run), str(run.photos), str(run.files), state, _folder(run))


def _moment(run: "Run") -> str:
    """When a run started, to the minute, in the time of its machine."""
    return run.started[:16].replace("T", " ")


def _folder(run: "Run") -> str:
    return path_text(run.folder) if run.folder else ""


def _forget_older(journal: "Journal", keep: int, *, yes: bool) -> None:
    """Forget all but the newest runs, after a yes."""
    from engine.core.paths import home
    from engine.sidecars.lock import run_lock

    known = journal.runs()
    gone = known[keep:]
    if not gone:
        out.say(f"Nothing to forget: there {'is' if len(known) == 1 else 'are'} {count(len(known), 'run')}.")
        return
    files = count(sum(r.files for r in gone), "file")
    older = "" if len(gone) == len(known) else " oldest"
    what = f"Forget the{older} {count(len(gone), 'run')}? They wrote {files}, which then cannot be undone any more."
    o.confirm(what, yes=yes)
    with run_lock(home(), "runs --keep"):
        out.say(f"Forgot {count(journal.prune(keep), 'run')}. Sidecars stay as they are.")


def undo(
    run: Annotated[
        str | None,
        typer.Argument(
            help="The run's id or its beginning, as myvlm runs lists it. Default: the last run that is not undone.",
            autocompletion=complete_run,
            show_default=False,
        ),
    ] = None,
    yes: Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would happen; write nothing.")] = False,
    json: o.Json = False,
    jsonl: o.JsonLines = False,
) -> None:
    """Undo a run: restore the sidecars it wrote, byte for byte.

    If a file was edited since, only myvlm's fields are removed. A second undo in a row asks before it goes one run
    further back.

    Example: myvlm undo
    """
    from engine.core.paths import home
    from engine.sidecars.journal import Journal
    from engine.sidecars.undo import undo as undo_run

    journal = Journal(home())
    wanted = journal.find_run(run)
    about = f"{wanted.id} ({wanted.command}, {_moment(wanted)}): {_extent(wanted)}"
    if run is None and journal.runs()[0].undone and not dry_run:
        o.confirm(f"The last run is undone already. Undo the one before it, too? That is {about}.", yes=yes)
    out.say(f"{'Would undo' if dry_run else 'Undoing'} {about}")
    counts: Counter[str] = Counter()
    documents = []
    for done in undo_run(home(), wanted.id, dry=dry_run)[1]:
        counts[done.outcome] += 1
        document = {"file": path_text(done.path), "status": str(done.outcome), "reason": done.reason}
        if json:
            documents.append(document)
        elif jsonl:
            out.json_line(document)
        if done.reason and done.outcome != "cleaned":
            out.say(f"{document['status']}: {document['file']}: {done.reason}")
        else:
            out.detail(f"{document['status']}: {document['file']}")
    if json:
        out.json_document({"run": wanted.id, "files": documents, "summary": dict(counts)})
    _tell_undone(wanted, counts, dry=dry_run)
    raise typer.Exit(SOME_FAILED if counts["failed"] or counts["later"] else OK)


def _extent(run: "Run") -> str:
    where = f" in {_folder(run)}" if run.folder else ""
    return f"{count(run.files, 'file')} for {count(run.photos, 'photo')}{where}"


_UNDONE = {
    "restored": "restored as before",
    "deleted": "deleted, because the run had created them",
    "cleaned": "edited since: only myvlm's fields removed",
    "unchanged": "as before already",
    "kept": "kept, because another program changed them",
    "later": "written by a later run, which has to be undone first",
    "failed": "failed",
}


def _tell_undone(run: "Run", counts: Mapping[str, int], *, dry: bool) -> None:
    for outcome, words in _UNDONE.items():
        if counts[outcome]:
            out.say(f"  {counts[outcome]:,} {words}")
    if not sum(counts.values()):
        out.say("  no files")
    if dry:
        out.say(f"Nothing was written. To undo it: myvlm undo {run.id}")
    elif counts["failed"] or counts["later"]:
        out.say(f"Not all of it is undone. When the reasons are gone, run: myvlm undo {run.id}")
    elif run.command == "caption" and run.folder:
        out.say(f"Undone. To write them again: myvlm caption {shlex.quote(_folder(run))}")
    else:
        out.say("Undone. See what is left: myvlm runs")


def status(
    paths: o.Paths = None,  # type: ignore[assignment]
    concepts: o.Concepts = None,
    no_concepts: Annotated[bool, typer.Option("--no-concepts", help="As captioned with --no-concepts.")] = False,
    files_from: o.FilesFrom = None,
    null: o.Null = False,
    include: o.Include = None,
    exclude: o.Exclude = None,
    since: o.Since = None,
    until: o.Until = None,
    everything: Annotated[bool, typer.Option("--all", help="List every photo, also those that are current.")] = False,
    sidecar_naming: o.SidecarNaming = "auto",
    sidecar_dir: o.SidecarDir = None,
    vlm: o.Vlm = None,
    recogniser: o.Recogniser = None,
    heads: o.Heads = "open-set",
    allow_body: o.AllowBody = False,
    json: o.Json = False,
    jsonl: o.JsonLines = False,
) -> None:
    """Show which photos need captioning. It also shows which sidecars were edited, damaged or lost since.

    Photos are grouped by state (new, current, stale, dropped by another program, edited by a human, failed) and reason.

    Example: myvlm status ~/Pictures
    """
    from engine.captioning.status import read_status

    photos = o.find_photos(paths, files_from, null=null, selection=o.make_selection(include, exclude, since, until))
    names = () if no_concepts else o.split_names(concepts)
    session = o.open_session(
        vlm, recogniser, "auto", "auto", heads=heads, allow_body=allow_body, create=False, names=names
    )
    naming = o.make_naming(sidecar_naming, sidecar_dir)
    standings = []
    with out.progress("checking", None) as bar:
        photos.count_onto(bar)
        for standing in read_status(session, photos, names=names, naming=naming, library=photos.folder):
            bar.advance()
            standings.append(standing)
            if jsonl:
                out.json_line(_describe(standing))
            for note in standing.notes:
                out.warn(f"{path_text(standing.path)}: {note}")
    counts = Counter(str(s.state) for s in standings)
    if json:
        out.json_document({"photos": [_describe(s) for s in standings], "summary": dict(counts)})
    elif not jsonl:
        _list_by_state([s for s in standings if everything or s.state != "current"])
    o.tell_tally(photos)
    _tell_what_next(counts, [p for p in photos.given if p not in photos.missing])
    raise typer.Exit(SOME_FAILED if counts["failed"] else OK)


def _list_by_state(standings: "Sequence[PhotoStatus]") -> None:
    """Photos under headings of their state and reason; photos that failed each have a reason of their own."""
    from engine.captioning.status import SidecarState

    order = list(SidecarState)

    def heading(standing: "PhotoStatus") -> tuple[int, str]:
        return order.index(standing.state), "" if standing.state == "failed" else standing.reason

    for (place, reason), group in groupby(sorted(standings, key=heading), key=heading):
        own = list(group)
        out.text(f"{order[place]} ({len(own):,}){f': {reason}' if reason else ''}")
        for standing in own:
            path = path_text(standing.path)
            why = standing.reason.removeprefix(f"{path}: ") if standing.state == "failed" else ""
            out.text(f"  {path}{f': {why}' if why else ''}")


def _tell_what_next(counts: Mapping[str, int], given: "Sequence[Path]") -> None:
    if not counts:
        out.say("No photos found.")
        return
    out.say(", ".join(f"{n:,} {state}" for state, n in sorted(counts.items())))
    if any(counts[state] for state in ("new", "stale", "dropped")):
        where = " ".join(shlex.quote(path_text(p)) for p in given) if len(given) <= _FEW else "and the same paths"
        out.say(f"Next: myvlm caption {where}")
    elif counts["failed"]:
        out.say("Next: fix or exclude the photos that failed. Everything else is up to date.")
    else:
        out.say("Everything is up to date.")


_FEW = 3
"""So many paths are repeated in the command to run next."""


def _describe(standing: "PhotoStatus") -> dict[str, Any]:
    return {
        "file": path_text(standing.path),
        "status": str(standing.state),
        "reason": standing.reason,
        "caption": standing.caption,
        "sidecar": path_text(standing.sidecar) if standing.sidecar else None,
        "run": standing.run or None,
        "notes": list(standing.notes),
    }
