"""`myvlm calibrate`, and the calibration that `myvlm caption` makes for a library it has not seen."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.core.types import Scale
from engine.recognition.confidence import in_words
from myvlm_cli import options as o
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.output import out, path_text
from myvlm_cli.tables import Column, print_table
from myvlm_cli.words import count

if TYPE_CHECKING:
    from pathlib import Path

    from engine.core.types import Concept, Kind
    from engine.photos.discovery import FoundFile
    from engine.recognition.calibrate import CalibrationReport
    from engine.recognition.scan import ScanResult
    from engine.session import Session

_GROWN = 2
"""A library with so many times as many photos as it was calibrated on is calibrated anew."""
Rate = Annotated[
    float | None,
    typer.Option(
        "--false-names-per-1000",
        min=0.01,
        max=1000,
        help="Wrong names to allow in 1,000 photos, for all concepts together. Default: the library's last value,"
        " or 1.",
        show_default=False,
    ),
]


def calibrate(
    paths: o.Paths = None,  # type: ignore[assignment]
    files_from: o.FilesFrom = None,
    null: o.Null = False,
    include: o.Include = None,
    exclude: o.Exclude = None,
    since: o.Since = None,
    until: o.Until = None,
    false_names_per_1000: Rate = None,
    vlm: o.Vlm = None,
    recogniser: o.Recogniser = None,
    allow_body: o.AllowBody = False,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    json: o.Json = False,
) -> None:
    """Set the thresholds on your own photos: how certain a match must be to be named.

    No labels are needed. myvlm caption does this itself for a new folder, and again when concepts change.

    Example: myvlm calibrate ~/Pictures --false-names-per-1000 0.5
    """
    from engine.core.errors import UsageError
    from engine.recognition.calibrate import FEWEST

    photos = o.find_photos(paths, files_from, null=null, selection=o.make_selection(include, exclude, since, until))
    session = o.open_session(vlm, recogniser, device, dtype, allow_body=allow_body, create=False)
    found = list(photos)
    o.tell_tally(photos)
    if not found:
        out.say(o.NO_PHOTOS)
        if json:
            out.json_document(describe_promises((), photos.folder, ()))
        return
    promises, look = _calibrate(session, found, photos.folder, false_names_per_1000)
    if not promises:
        raise UsageError(
            f"{count(len(look.readable), 'different photo')} that can be read: too few to calibrate on. At least"
            f" {FEWEST} are needed.",
            hint="Give the folder of the whole library. Until then the built-in thresholds are used.",
        )
    if json:
        out.json_document(describe_promises(promises, photos.folder, look.failed))
        raise typer.Exit(SOME_FAILED if look.failed else OK)
    rows = []
    for promise in promises:
        for concept in promise.concepts:
            t = promise.thresholds[concept.id]
            raw = (f"{v:.2f}" for v in (t.name, t.maybe))
            rows.append((concept.name, *in_words(Scale.LOG_ODDS, t.name, t.maybe), *raw))
    print_table(_COLUMNS, rows)
    tell(promises)
    out.say("Next: myvlm caption FOLDER, or myvlm review FOLDER for the suggestions")
    raise typer.Exit(SOME_FAILED if look.failed else OK)


_COLUMNS = (
    Column("concept", "concept"),
    Column("named from", "named_from", "right"),
    Column("suggested from", "suggested_from", "right"),
    Column("", "name_threshold"),
    Column("", "maybe_threshold"),
)


def calibrate_unseen(
    session: "Session",
    photos: o.Photos,
    concepts: "Iterable[Concept] | None" = None,
    *,
    kept: bool = True,
    some: bool = False,
) -> None:
    """Calibrate on a library that was not, or that has grown much since, before it is looked at for some concepts (by
    default all). Only whole folders are libraries, not `some` of their photos; `kept` is False when nothing may be
    written.
    """
    from engine.core.types import Kind
    from engine.recognition.calibrate import FEWEST, MOST, calibrated_on, recognisable

    known = recognisable(session)
    wanted = {c.kind is Kind.PERSON for c in (known if concepts is None else concepts) if c in known}
    kinds = [k for k in Kind if (k is Kind.PERSON) in wanted]
    if photos.folder is None or not kinds:
        return
    before = calibrated_on(session, photos.folder, kinds)
    if before >= MOST:
        return
    why_not = "nothing may be written" if not kept else "only some are wanted" if some or not photos.are_folders else ""
    if why_not:
        if not before:
            tell_it = out.say if some else out.detail
            tell_it(f"Not calibrated on these photos, because {why_not}. Earlier or built-in thresholds are used.")
        return
    found = list(photos)
    stills = sum(f.kind == "photo" for f in found)
    if stills < FEWEST:
        out.detail("Too few photos to calibrate on. Thresholds of another library or the built-in ones are used.")
    elif stills >= _GROWN * before:
        tell(_calibrate(session, found, photos.folder, None, kinds)[0])


@dataclass
class _Look:
    """The contents of the photos that could be read, and the paths of the others."""

    readable: set[str] = field(default_factory=set)
    failed: list[str] = field(default_factory=list)

    def add(self, scanned: "ScanResult") -> None:
        if scanned.content_hash is not None:
            self.readable.add(scanned.content_hash)
        elif scanned.status == "failed":
            self.failed.append(path_text(scanned.path))
            out.say(f"failed: {scanned.reason}")


def _calibrate(
    session: "Session",
    found: Sequence["FoundFile"],
    folder: "Path | None",
    rate: float | None,
    kinds: "Collection[Kind] | None" = None,
) -> "tuple[tuple[CalibrationReport, ...], _Look]":
    from engine.core.errors import UsageError
    from engine.core.types import Kind
    from engine.recognition.calibrate import MOST
    from engine.recognition.calibrate import calibrate as settle

    if folder is None:
        raise UsageError("no photos given", hint="Give the folder of the library.")
    o.warn_of_slow_faces(session)
    look = _Look()
    with out.progress("Calibrating", min(MOST, sum(f.kind == "photo" for f in found))) as bar:

        def step(scanned: "ScanResult") -> None:
            bar.advance()
            look.add(scanned)

        return settle(session, found, folder, per_1000=rate, kinds=kinds or tuple(Kind), step=step), look


def tell(promises: "Sequence[CalibrationReport]") -> None:
    """Print the target, what is to be expected, and which concepts look like others."""
    from engine.recognition.calibrate import interval

    if not promises:
        return
    photos = promises[0].photos
    rate = sum(p.per_1000 for p in promises)
    expected = sum(p.expected for p in promises)
    low, high = interval(expected, photos)
    wrong = f"{rate:g} wrong {'name' if rate == 1 else 'names'}"
    about = f"about {_rounded(expected)} ({_rounded(low)} to {_rounded(high)})"
    out.say(f"Checked {count(photos, 'photo')}. Target: {wrong} in 1,000; expected: {about}")
    if expected > rate:
        out.warn(
            "Others in these photos look much like your concepts, so more wrong names are expected than you allow."
            " A lower --false-names-per-1000 of myvlm calibrate is stricter; myvlm reject corrects single photos."
        )
    for promise in promises:
        for concept in promise.alike:
            if promise.kind == "bodies" and concept.kind != "person":
                continue
            where = "in other light and from other sides" if promise.kind == "people" else "in other places"
            out.warn(
                f"{concept.name} looks much like others in these photos and will seldom be named. Add photos of"
                f" {concept.name} {where}, or decide what myvlm review lists."
            )


def _rounded(rate: float) -> str:
    """An expected number for people: whole from 2 on, else with one decimal."""
    return f"{rate:,.0f}" if rate >= _WHOLE else f"{rate:.1f}".removesuffix(".0")


_WHOLE = 1.95


def describe_promises(
    promises: "Sequence[CalibrationReport]", folder: "Path | None", failed: Sequence[str]
) -> dict[str, Any]:
    """What was calibrated, as plain data."""
    from engine.recognition.calibrate import interval

    return {
        "folder": path_text(folder) if folder else None,
        "photos": promises[0].photos if promises else 0,
        "failed": list(failed),
        "kinds": [
            {
                "kind": p.kind,
                "false_names_per_1000": {
                    "promised": round(p.per_1000, 4),
                    "predicted": round(p.expected, 4),
                    "interval95": [round(v, 4) for v in interval(p.expected, p.photos)],
                },
                "concepts": [
                    {
                        "name": c.name,
                        "separable": p.thresholds[c.id].separable,
                        "name_threshold": round(p.thresholds[c.id].name, 4),
                        "maybe_threshold": round(p.thresholds[c.id].maybe, 4),
                    }
                    for c in p.concepts
                ],
            }
            for p in promises
        ],
    }
