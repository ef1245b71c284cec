"""`myvlm runs` and `myvlm undo`: list what was written to sidecars, and undo it."""

import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from myvlm_cli import options as o
from myvlm_cli.completion import complete_run
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.output import Document, out, path_text
from myvlm_cli.prompt import confirm
from myvlm_cli.tables import Column, print_table
from myvlm_cli.words import count

if TYPE_CHECKING:
    from engine.sidecars.journal import Journal, Run
    from engine.sidecars.undo import Undone

Keep = Annotated[
    int | None,
    typer.Option(
        "--keep",
        min=0,
        help="Forget all but the newest N runs. Forgotten runs cannot be undone; sidecars stay as they are.",
        show_default=False,
    ),
]


def runs(*, keep: Keep = None, yes: o.Yes = False, json: o.Json = False) -> None:
    """List the runs that wrote sidecars, the newest first.

    Example: myvlm runs
    """
    from engine.core.paths import home
    from engine.sidecars.journal import Journal

    journal = Journal(home())
    if keep is not None:
        _forget_older(journal, keep, yes=yes)
    listed = journal.runs()
    if json:
        out.json_document({"runs": [r.__dict__ | {"folder": _folder(r) or None} for r in listed]})
        return
    print_table(_COLUMNS, [_cells(r) for r in listed])
    if listed:
        out.say("Next: myvlm undo RUN --dry-run shows what undoing a run would change.")
    else:
        out.say("No runs yet. Start with: myvlm caption FOLDER")


_COLUMNS = (
    Column("run"),
    Column("command"),
    Column("started", optional=True),
    Column("photos", "right"),
    Column("files", "right"),
    Column("state"),
    Column("folder"),
)


def _cells(run: "Run") -> tuple[str, ...]:
    state = "undone" if run.undone else "" if run.finished else "not finished"
    return (run.id, run.command, _moment(run), str(run.photos), str(run.files), state, _folder(run))


def _moment(run: "Run") -> str:
    """Return when a run started, to the minute, in the time zone of its machine."""
    return run.started[:16].replace("T", " ")


def _folder(run: "Run") -> str:
    return path_text(run.folder) if run.folder else ""


def _forget_older(journal: "Journal", keep: int, *, yes: bool) -> None:
    """Forget all but the newest runs, once the user confirms it."""
    from engine.core.paths import home
    from engine.sidecars.lock import run_lock

    listed = journal.runs()
    older = listed[keep:]
    if not older:
        out.say(f"Nothing to forget: there {'is' if len(listed) == 1 else 'are'} {count(len(listed), 'run')}.")
        return
    files = count(sum(r.files for r in older), "file")
    which = "" if len(older) == len(listed) else " oldest"
    confirm(
        f"Forget the{which} {count(len(older), 'run')}? They wrote {files}, which can then no longer be undone.",
        yes=yes,
    )
    with run_lock(home(), "runs --keep"):
        out.say(f"Forgot {count(journal.prune(keep), 'run')}. Sidecars stay as they are.")


RunId = Annotated[
    str | None,
    typer.Argument(
        help="The run's id or its first characters, as listed by myvlm runs. Default: the last run that is not undone.",
        autocompletion=complete_run,
        show_default=False,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would happen, but write nothing.")]


def undo(*, run: RunId = None, yes: o.Yes = False, dry_run: DryRun = False, output: o.OutputChoice) -> None:
    """Undo a run: restore the sidecars that it wrote, byte for byte.

    If a file was edited since, only myvlm's fields are removed. A second undo in a row asks before it undoes an earlier
    run.

    Example: myvlm undo
    """
    from engine.core.paths import home
    from engine.sidecars.journal import Journal
    from engine.sidecars.undo import undo as undo_run

    journal = Journal(home())
    wanted = journal.find_run(run)
    about = f"{wanted.id} ({wanted.command}, {_moment(wanted)}): {_extent(wanted)}"
    if run is None and journal.runs()[0].undone and not dry_run:
        confirm(f"The last run is already undone. Undo the one before it, too? That is {about}.", yes=yes)
    out.say(f"{'Would undo' if dry_run else 'Undoing'} {about}")
    counts: Counter[str] = Counter()
    documents: list[Document] = []
    written: dict[Path, list[Path]] = {}
    for done in undo_run(home(), wanted.id, dry=dry_run)[1]:
        counts[done.outcome] += 1
        written.setdefault(done.photo, []).append(done.path)
        documents.append(_report(done, output))
    if output.json:
        out.json_document({"run": wanted.id, "files": documents, "summary": dict(counts)})
    _index(written)
    _tell_undone(wanted, counts, dry=dry_run)
    raise typer.Exit(SOME_FAILED if counts["failed"] or counts["later"] else OK)


def _index(written: Mapping[Path, list[Path]]) -> None:
    """Let `myvlm search` know what the sidecars say now."""
    from engine.core.paths import home
    from engine.library.update import index_undone

    problem = index_undone(home(), written)
    if problem:
        out.warn(f"myvlm search does not know what was undone: {problem}")


def _report(done: "Undone", output: o.OutputChoice) -> Document:
    """Print what became of one file, and return it as JSON."""
    document: Document = {"file": path_text(done.path), "status": str(done.outcome), "reason": done.reason}
    if output.jsonl:
        out.json_line(document)
    if done.reason and done.outcome != "cleaned":
        out.say(f"{done.outcome}: {path_text(done.path)}: {done.reason}")
    else:
        out.detail(f"{done.outcome}: {path_text(done.path)}")
    return document


def _extent(run: "Run") -> str:
    where = f" in {_folder(run)}" if run.folder else ""
    return f"{count(run.files, 'file')} for {count(run.photos, 'photo')}{where}"


_OUTCOMES = {
    "restored": "restored as before",
    "deleted": "deleted, because the run had created them",
    "cleaned": "edited since: only myvlm's fields removed",
    "unchanged": "already as before",
    "kept": "kept, because another program changed them",
    "later": "written by a later run, which has to be undone first",
    "failed": "failed",
}


def _tell_undone(run: "Run", counts: Mapping[str, int], *, dry: bool) -> None:
    """Print how many files had each outcome, and the command to run next."""
    for outcome, words in _OUTCOMES.items():
        if counts[outcome]:
            out.say(f"  {counts[outcome]:,} {words}")
    if not sum(counts.values()):
        out.say("  no files")
    if dry:
        out.say(f"Nothing was written. To undo the run: myvlm undo {run.id}")
    elif counts["failed"] or counts["later"]:
        out.say(f"The run is not completely undone. Solve the problems above, then run: myvlm undo {run.id}")
    elif run.command == "caption" and run.folder:
        out.say(f"Undone. To write them again: myvlm caption {shlex.quote(_folder(run))}")
    else:
        out.say("Undone. To list the other runs: myvlm runs")
