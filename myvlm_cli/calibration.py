"""Calibrate on a library: for `myvlm calibrate`, and before other commands look at a library for the first time."""

import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.core.errors import UsageError
from engine.core.types import Kind, Status
from myvlm_cli.given import Photos
from myvlm_cli.output import out, path_text
from myvlm_cli.sessions import warn_of_slow_faces
from myvlm_cli.words import count

if TYPE_CHECKING:
    from pathlib import Path

    from engine.core.types import Concept
    from engine.photos.discovery import FoundFile
    from engine.recognition.calibrate import CalibrationReport
    from engine.recognition.enrolled import EnrolledHeads
    from engine.recognition.scan import ScanResult
    from engine.session import Session

ANY_NUMBER = range(sys.maxsize)
_GROWN = 2
"""A library is calibrated again when it has this many times as many photos as it was calibrated on."""
_WHOLE = 1.95
"""Expected numbers from this value on are printed without decimals."""


@dataclass
class ScannedPhotos:
    """The content hashes of the photos that could be read, and the paths of the others."""

    contents: set[str] = field(default_factory=set)
    failed: list[str] = field(default_factory=list)

    def add(self, scanned: "ScanResult") -> None:
        """Count one photo; say if it could not be read."""
        if scanned.content_hash is not None:
            self.contents.add(scanned.content_hash)
        elif scanned.status is Status.FAILED:
            self.failed.append(path_text(scanned.path))
            out.say(f"failed: {scanned.reason}")


def calibrate_unseen(
    session: "Session",
    photos: Photos,
    concepts: "Iterable[Concept] | None" = None,
    *,
    enrolled: "EnrolledHeads | None" = None,
    kept: bool = True,
    some: bool = False,
) -> range | None:
    """Calibrate on a library if there is no calibration of it, or if it has grown much since.

    Returns with how many photos the next run with the same concepts and calibrations would say the same and calibrate
    nothing; None if this one calibrated.

    concepts: those that will be looked for; None for all. kept: False if nothing may be written. some: only some of the
    photos are wanted; then nothing is calibrated, because only whole folders are libraries.
    """
    from engine.recognition.calibrate import MOST, calibrated_on
    from engine.recognition.enrolled import read_enrolled

    if photos.folder is None:
        return ANY_NUMBER
    enrolled = enrolled or read_enrolled(session.store, session.recogniser_config, session.recognition)
    kinds = _kinds_of(enrolled, concepts)
    if not kinds:
        return ANY_NUMBER
    calibrated = calibrated_on(session, photos.folder, kinds, enrolled=enrolled)
    if calibrated >= MOST:
        return ANY_NUMBER
    why_not = "nothing may be written" if not kept else "only some are wanted" if some or not photos.are_folders else ""
    if not why_not:
        return _calibrate_grown(session, photos, int(calibrated), kinds, enrolled)
    if not calibrated:
        tell = out.say if some else out.detail
        tell(f"Not calibrated on these photos, because {why_not}. Earlier or built-in thresholds are used.")
    return ANY_NUMBER


def _kinds_of(enrolled: "EnrolledHeads", concepts: "Iterable[Concept] | None") -> list[Kind]:
    """Return the kinds of the concepts, as far as they can be recognised; pets and things go together."""
    known = enrolled.recognisable
    groups = {c.kind is Kind.PERSON for c in (known if concepts is None else concepts) if c in known}
    return [k for k in Kind if (k is Kind.PERSON) in groups]


def _calibrate_grown(
    session: "Session", photos: Photos, calibrated: int, kinds: Collection[Kind], enrolled: "EnrolledHeads"
) -> range | None:
    """Calibrate if there are enough photos, and enough more than the number of photos `calibrated` before.

    Returns the same as `calibrate_unseen`.
    """
    from engine.recognition.calibrate import FEWEST, sample

    stills, grown = sum(f.kind == "photo" for f in photos), max(FEWEST, _GROWN * calibrated)
    if stills < FEWEST:
        out.detail("Too few photos to calibrate on. Thresholds of another library or the built-in ones are used.")
        return range(FEWEST)
    if stills < grown:
        return range(FEWEST, grown)
    files = sample(photos, stills)
    reports, scanned = calibrate_library(session, files, photos.folder, None, kinds, enrolled=enrolled)
    tell_reports(reports)
    return None if reports or scanned.failed else range(stills, stills + 1)  # too few are different


def calibrate_library(
    session: "Session",
    files: "Sequence[FoundFile]",
    folder: "Path | None",
    rate: float | None,
    kinds: Collection[Kind] = tuple(Kind),
    *,
    enrolled: "EnrolledHeads | None" = None,
) -> "tuple[tuple[CalibrationReport, ...], ScannedPhotos]":
    """Calibrate on photos, and return a report for each kind of concept; none if there are too few photos.

    rate: wrong names to accept per 1,000 photos; None for the rate of before.

    Raises:
        UsageError: there is no folder.
    """
    from engine.recognition.calibrate import MOST
    from engine.recognition.calibrate import calibrate as fit_thresholds

    if folder is None:
        raise UsageError("no photos given", hint="Give the folder of the library.")
    warn_of_slow_faces(session)
    photos = ScannedPhotos()
    with out.progress("calibrating", min(MOST, sum(f.kind == "photo" for f in files))) as bar:

        def step(scanned: "ScanResult") -> None:
            bar.advance()
            photos.add(scanned)

        return fit_thresholds(session, files, folder, per_1000=rate, kinds=kinds, step=step, enrolled=enrolled), photos


def tell_reports(reports: "Sequence[CalibrationReport]") -> None:
    """Print the target, the expected number of wrong names, and which concepts look like others."""
    from engine.recognition.thresholds import interval

    if not reports:
        return
    photos = reports[0].photos
    rate = sum(r.per_1000 for r in reports)
    expected = sum(r.expected for r in reports)
    low, high = interval(expected, photos)
    wrong = f"{rate:g} wrong {'name' if rate == 1 else 'names'}"
    about = f"about {_rounded(expected)} ({_rounded(low)} to {_rounded(high)})"
    out.say(f"Checked {count(photos, 'photo')}. Target: {wrong} in 1,000; expected: {about}")
    if expected > rate:
        out.warn(
            "Others in these photos look much like your concepts, so more wrong names are expected than you accept."
            " A lower --false-names-per-1000 of myvlm calibrate is stricter; myvlm reject corrects single photos."
        )
    for report in reports:
        _warn_of_lookalikes(report)


def _warn_of_lookalikes(report: "CalibrationReport") -> None:
    """Name the concepts that others in the library look like, so that they are seldom named."""
    for concept in report.alike:
        if report.kind == "bodies" and concept.kind is not Kind.PERSON:
            continue
        where = "in other light and from other sides" if report.kind == "people" else "in other places"
        out.warn(
            f"{concept.name} looks much like others in these photos and will seldom be named. Add photos of"
            f" {concept.name} {where}, or decide about the suggestions that myvlm review lists."
        )


def _rounded(rate: float) -> str:
    """Return an expected number for people: without decimals from 2 on, otherwise with one."""
    return f"{rate:,.0f}" if rate >= _WHOLE else f"{rate:.1f}".removesuffix(".0")
