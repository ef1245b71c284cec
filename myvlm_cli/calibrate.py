"""`myvlm calibrate`."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.errors import UsageError
from engine.core.types import Scale
from engine.recognition.confidence import in_words
from myvlm_cli import options as o
from myvlm_cli.calibration import calibrate_library, tell_reports
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.given import NO_PHOTOS, tell_tally
from myvlm_cli.output import Document, out, path_text
from myvlm_cli.parameters import Without
from myvlm_cli.tables import Column, print_table
from myvlm_cli.words import count

if TYPE_CHECKING:
    from pathlib import Path

    from engine.recognition.calibrate import CalibrationReport

Rate = Annotated[
    float | None,
    typer.Option(
        "--false-names-per-1000",
        min=0.01,
        max=1000,
        help="Wrong names to accept per 1,000 photos, for all concepts together. Default: the library's last value,"
        " or 1.",
        show_default=False,
    ),
]


def calibrate(
    *,
    photos: o.PhotoSelection,
    false_names_per_1000: Rate = None,
    models: Annotated[o.ModelChoice, Without("heads", "quantise")],
    json: o.Json = False,
) -> None:
    """Calibrate on your own photos how certain a match must be before its name is written.

    No labels are needed. myvlm caption does this itself for a new folder, and again when concepts change.

    Example: myvlm calibrate ~/Pictures --false-names-per-1000 0.5
    """
    library = photos.find()
    session = models.open_session(create=False)
    files = list(library)
    tell_tally(library)
    if not files:
        out.say(NO_PHOTOS)
        if json:
            out.json_document(describe_reports((), library.folder, ()))
        return
    reports, scanned = calibrate_library(session, files, library.folder, false_names_per_1000)
    if not reports:
        raise _too_few(len(scanned.contents))
    if json:
        out.json_document(describe_reports(reports, library.folder, scanned.failed))
    else:
        print_table(_COLUMNS, [row for report in reports for row in _rows(report)])
        tell_reports(reports)
        out.say("Next: myvlm caption FOLDER, or myvlm review FOLDER for the suggestions")
    raise typer.Exit(SOME_FAILED if scanned.failed else OK)


def _too_few(photos: int) -> UsageError:
    from engine.recognition.calibrate import FEWEST

    return UsageError(
        f"too few photos to calibrate on: {count(photos, 'different photo')} can be read, at least {FEWEST} are needed",
        hint="Give the folder of the whole library. Until then the built-in thresholds are used.",
    )


_COLUMNS = (
    Column("concept"),
    Column("named_from", "right"),
    Column("suggested_from", "right"),
    Column("name_threshold", only="pipe"),
    Column("maybe_threshold", only="pipe"),
)


def _rows(report: "CalibrationReport") -> Iterator[tuple[str, ...]]:
    """List each concept with its thresholds: as confidences for people, and as log-odds for scripts."""
    for concept in report.concepts:
        t = report.thresholds[concept.id]
        confidences = in_words(Scale.LOG_ODDS, t.name, t.suggestion)
        yield (concept.name, *confidences, f"{t.name:.2f}", f"{t.suggestion:.2f}")


def describe_reports(reports: "Sequence[CalibrationReport]", folder: "Path | None", failed: Sequence[str]) -> Document:
    """Return what was calibrated as JSON."""
    return {
        "folder": path_text(folder) if folder else None,
        "photos": reports[0].photos if reports else 0,
        "failed": list(failed),
        "kinds": [_describe_kind(r) for r in reports],
    }


def _describe_kind(report: "CalibrationReport") -> Document:
    from engine.recognition.thresholds import interval

    return {
        "kind": report.kind,
        "false_names_per_1000": {
            "promised": round(report.per_1000, 4),
            "predicted": round(report.expected, 4),
            "interval95": [round(v, 4) for v in interval(report.expected, report.photos)],
        },
        "concepts": [
            {
                "name": c.name,
                "separable": report.thresholds[c.id].separable,
                "name_threshold": round(report.thresholds[c.id].name, 4),
                "maybe_threshold": round(report.thresholds[c.id].suggestion, 4),
            }
            for c in report.concepts
        ],
    }
