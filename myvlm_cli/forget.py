"""`myvlm forget`."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.errors import UsageError
from myvlm_cli import options as o
from myvlm_cli.errors import SOME_FAILED
from myvlm_cli.given import find_missing
from myvlm_cli.output import Document, out, path_text
from myvlm_cli.prompt import confirm
from myvlm_cli.sessions import open_session
from myvlm_cli.sidecar_choice import SidecarChoice
from myvlm_cli.words import count

if TYPE_CHECKING:
    from engine.concepts.forget import Forgotten, Scrub
    from engine.session import Session


@dataclass(frozen=True)
class ScrubChoice:
    """Whether to remove the concept's name from sidecars, too, and from which."""

    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PATHS]...",
            help="With --scrub-sidecars: more photos or folders to check. Folders that runs on this machine wrote to"
            " are always checked.",
            show_default=False,
        ),
    ] = None
    scrub_sidecars: Annotated[
        bool,
        typer.Option(
            "--scrub-sidecars", help="Also remove the name from what myvlm wrote to sidecars. This cannot be undone."
        ),
    ] = False
    sidecar_dir: Annotated[
        Path | None,
        typer.Option(
            "--sidecar-dir",
            metavar="FOLDER",
            help="With PATHS: the folder in which caption --sidecar-dir kept their sidecars.",
            show_default=False,
        ),
    ] = None
    anyway: Annotated[
        bool,
        typer.Option(
            "--anyway",
            help="With --scrub-sidecars: delete the concept even if some sidecars cannot be scrubbed, for example on a"
            " lost disk. Those keep the name.",
        ),
    ] = False

    @property
    def scrub(self) -> "Scrub | None":
        """The engine's request; None to leave sidecars alone."""
        from engine.concepts.forget import Scrub

        folder = SidecarChoice(sidecar_dir=self.sidecar_dir).naming.folder
        return Scrub(tuple(self.paths or ()), folder, self.anyway) if self.scrub_sidecars else None


def forget(*, name: o.Name, choice: ScrubChoice, yes: o.Yes = False, json: o.Json = False) -> None:
    """Delete a concept: its references, head, embeddings and undo history. Photos and text by people stay.

    With --scrub-sidecars, the concept is deleted after all its sidecars are scrubbed; if interrupted, run the command
    again to continue.

    Example: myvlm forget rex --scrub-sidecars --yes
    """
    from engine.concepts.forget import ForgetOutcome
    from engine.concepts.forget import forget as forget_concept

    _check(choice)
    session = open_session(create=False)
    _ask(session, name, choice, yes=yes)
    with out.progress("scrubbing", None, "sidecars") as bar:
        forgotten = forget_concept(session, name, choice.scrub, bar.advance)
    if json:
        out.json_document(_describe(forgotten))
    else:
        _tell(forgotten)
    if any(s.outcome is ForgetOutcome.FAILED for s in forgotten.sidecars):
        raise typer.Exit(SOME_FAILED)


def _check(choice: ScrubChoice) -> None:
    """Refuse options that need others, and paths of which none exists."""
    if (choice.paths or choice.sidecar_dir or choice.anyway) and not choice.scrub_sidecars:
        raise UsageError(
            "PATHS, --sidecar-dir and --anyway need --scrub-sidecars",
            hint="Add --scrub-sidecars, or leave them out.",
        )
    if choice.sidecar_dir and not choice.paths:
        raise UsageError("--sidecar-dir needs PATHS", hint="Give the photos whose sidecars are kept there.")
    if not choice.anyway:  # with --anyway, paths may be missing because their disk is lost
        find_missing(choice.paths or ())


def _ask(session: "Session", name: str, choice: ScrubChoice, *, yes: bool) -> None:
    """Ask for confirmation. With paths, the name need not be in the store: only sidecars may hold it."""
    concept = session.store.find(name) if choice.paths else session.store.get(name)
    references = count(len(concept.references) if concept else 0, "reference")
    also = " and remove the name from sidecars" if choice.scrub_sidecars else ""
    confirm(f"Delete {name} with its {references}{also}?", yes=yes)


def _describe(forgotten: "Forgotten") -> Document:
    sidecars = [
        {"file": path_text(s.path), "status": str(s.outcome), "human_words_kept": s.human, "reason": s.reason or None}
        for s in forgotten.sidecars
    ]
    return {
        "forgotten": forgotten.name,
        "complete": forgotten.complete,
        "known": forgotten.known,
        "references": forgotten.references,
        "journal_entries": forgotten.journal_entries,
        "cache_entries": forgotten.cache_entries,
        "sidecars_looked_at": forgotten.looked_at,
        "sidecars": sidecars,
    }


def _tell(forgotten: "Forgotten") -> None:
    name = forgotten.name
    if forgotten.known and forgotten.complete:
        out.text(f"{name} is forgotten")
    _tell_sidecars(forgotten)
    if forgotten.journal_entries:
        out.say(f"{count(forgotten.journal_entries, 'earlier change')} can now be undone only in part")
    if not forgotten.complete:
        what = f"{name} is not forgotten yet" if forgotten.known else "the name may still be there"
        out.warn(f"{what}: fix the problem and run the same command again, or add --anyway")


def _tell_sidecars(forgotten: "Forgotten") -> None:
    name = forgotten.name
    for s in forgotten.sidecars:
        if s.outcome == "failed":
            out.warn(f"{path_text(s.path)}: {s.reason}; it may still hold the name")
        else:
            out.detail(f"{s.outcome}: {path_text(s.path)}")
    by_people = [s for s in forgotten.sidecars if s.human]
    if by_people:
        sidecars = count(len(by_people), "sidecar")
        out.say(f"{name} stays in {sidecars}, in text that myvlm did not write (-v lists them)")
    for s in by_people:
        out.detail(f"{path_text(s.path)}: text that myvlm did not write names {name}")
    if forgotten.looked_at:
        counts = Counter(s.outcome for s in forgotten.sidecars)
        outcomes = ", ".join(f"{n} {outcome}" for outcome, n in sorted(counts.items())) or "none held the name"
        out.say(f"{count(forgotten.looked_at, 'sidecar')} checked: {outcomes}")
