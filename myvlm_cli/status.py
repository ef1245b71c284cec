"""`myvlm status`: show how the sidecars of photos stand."""

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from myvlm_cli import options as o
from myvlm_cli.caption_choice import CaptionChoice, Speak
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.given import NO_PHOTOS, Photos, tell_tally
from myvlm_cli.output import Document, out, path_text
from myvlm_cli.parameters import Without
from myvlm_cli.sidecar_choice import SidecarChoice

if TYPE_CHECKING:
    from engine.captioning.photo_status import PhotoStatus, StatusRequest
    from engine.session import Session

_FEW = 3
"""At most this many paths are repeated in the command to run next."""


def status(
    *,
    concepts: Annotated[o.ConceptChoice, Without("only")],
    photos: o.PhotoSelection,
    everything: Annotated[
        bool, typer.Option("--all", help="List every photo, including those that are current.")
    ] = False,
    sidecars: Annotated[SidecarChoice, Without("on_existing", "hierarchy", "regions")],
    form: CaptionChoice,
    models: Annotated[o.ModelChoice, Without("device", "dtype")],
    speak: Speak = None,
    verify: o.Verify = False,
    output: o.OutputChoice,
) -> None:
    """Show which photos need captioning, and which sidecars changed since.

    Photos are grouped by state (new, current, stale, dropped by another program, edited by a human, failed) and reason.

    Example: myvlm status ~/Pictures
    """
    files = photos.find()  # refuses missing paths before the engine's modules load
    from engine.captioning.photo_status import StatusRequest

    request = StatusRequest(concepts.names, sidecars.naming, files.folder, form.forms, verify)
    options = ("status", concepts.names, sidecars, form, models, speak, files.folder)
    key = partial(_key, options, models.vlm) if not models.allow_body else str  # whose warning is not kept
    open_session = partial(models.open_session, create=False, names=concepts.names, speak=speak)
    results = _read_status(files, _statuses(files, request, key, open_session), output)
    counts = Counter(str(r.state) for r in results)
    if output.json:
        out.json_document({"photos": [_describe(r) for r in results], "summary": dict(counts)})
    elif output.is_text:
        _list_by_state([r for r in results if everything or r.state != "current"])
    tell_tally(files)
    _tell_next(counts, [p for p in files.given if p not in files.missing])
    raise typer.Exit(SOME_FAILED if counts["failed"] else OK)


def _key(options: Sequence[object], vlm: str | None) -> str:
    """Return the digest of what the statuses depend on beside the files."""
    from engine.captioning.run_key import run_key
    from engine.core.paths import home

    return run_key(home(), options, vlm)


def _statuses(
    photos: Photos, request: "StatusRequest", key: "Callable[[], str]", open_session: "Callable[[], Session]"
) -> "Iterator[PhotoStatus]":
    """Yield the statuses of photos that are known to be unchanged; for the first other one, open the session."""
    from engine.captioning.photo_status import UnchangedStatus
    from engine.core.paths import home

    has_store = (home() / "store.db").is_file()  # where there is none, this command makes none
    unchanged = UnchangedStatus(home(), key() if has_store else "", request)
    files = (f for f in photos if f.kind == "photo")
    file = None
    for file in files:
        known = unchanged.statuses(file)
        if known is None:
            break
        yield from known
    else:
        if file is not None:
            unchanged.finish()
            return
    from engine.captioning.status import check_status

    yield from check_status(open_session(), chain([file] if file else [], files), request, unchanged, key)


def _read_status(photos: Photos, statuses: "Iterator[PhotoStatus]", output: o.OutputChoice) -> "list[PhotoStatus]":
    """Read the sidecars of all photos; print JSON lines and notes as they come."""
    results = []
    with out.progress("checking", None) as bar:
        photos.count_onto(bar)
        for result in statuses:
            bar.advance()
            results.append(result)
            if output.jsonl:
                out.json_line(_describe(result))
            for note in result.notes:
                out.warn(f"{path_text(result.path)}: {note}")
    return results


def _list_by_state(results: "Sequence[PhotoStatus]") -> None:
    """List photos under headings of their state and reason. Photos that failed have one heading, and a reason each."""
    from engine.captioning.photo_status import SidecarState

    states = list(SidecarState)

    def heading(result: "PhotoStatus") -> tuple[int, str]:
        return states.index(result.state), "" if result.state is SidecarState.FAILED else result.reason

    for (place, reason), group in groupby(sorted(results, key=heading), key=heading):
        photos = list(group)
        out.text(f"{states[place]} ({len(photos):,}){f': {reason}' if reason else ''}")
        for photo in photos:
            path = path_text(photo.path)
            why = photo.reason.removeprefix(f"{path}: ") if photo.state is SidecarState.FAILED else ""
            out.text(f"  {path}{f': {why}' if why else ''}")


def _tell_next(counts: Mapping[str, int], given: Sequence[Path]) -> None:
    """Print how many photos are in each state, and the command to run next."""
    if not counts:
        out.say(NO_PHOTOS)
        return
    out.say(", ".join(f"{n:,} {state}" for state, n in sorted(counts.items())))
    if any(counts[state] for state in ("new", "stale", "dropped")):
        where = " ".join(shlex.quote(path_text(p)) for p in given) if len(given) <= _FEW else "and the same paths"
        out.say(f"Next: myvlm caption {where}")
    elif counts["failed"]:
        out.say("Next: fix or exclude the photos that failed. Everything else is up to date.")
    else:
        out.say("Everything is up to date.")


def _describe(result: "PhotoStatus") -> Document:
    return {
        "file": path_text(result.path),
        "status": str(result.state),
        "reason": result.reason,
        "caption": result.caption,
        "sidecar": path_text(result.sidecar) if result.sidecar else None,
        "run": result.run or None,
        "notes": list(result.notes),
    }
