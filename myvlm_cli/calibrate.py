"""`myvlm calibrate`, and the calibration that `myvlm caption` makes for a library it has not seen."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from myvlm_cli import options as o
from myvlm_cli.output import out, path_text

if TYPE_CHECKING:
    from pathlib import Path

    from engine.photos.discovery import Found
    from engine.pipeline.calibrating import Promise
    from engine.pipeline.session import Session

Rate = Annotated[
    float | None,
    typer.Option(
        "--false-names-per-1000",
        min=0.01,
        max=1000,
        help="How many wrong names in 1,000 photos to allow, all concepts together. Default: what this library had"
        " before, else 1.",
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
    """Choose, from your own photos, from when on somebody is named, so that wrong names are as rare as promised.

    Nothing has to be labelled. Done by itself before the first caption of a folder, and again when concepts change.

    Example: myvlm calibrate ~/Pictures --false-names-per-1000 0.5
    """
    from engine.errors import UsageError
    from engine.pipeline.calibrating import FEWEST

    photos = o.find_photos(paths, files_from, null=null, selection=o.make_selection(include, exclude, since, until))
    session = o.open_session(vlm, recogniser, device, dtype, allow_body=allow_body)
    found = list(photos)
    promises = _calibrate(session, found, photos.folder, false_names_per_1000)
    if not promises:
        stills = sum(f.kind == "photo" for f in found)
        raise UsageError(
            f"{stills} photos are too few to calibrate on: a rate of one in a thousand needs at least {FEWEST}",
            hint="Name the folder of the whole library. Until then the usual thresholds are used.",
        )
    if json:
        out.json_document(describe_promises(promises, photos.folder))
        return
    for promise in promises:
        for concept in promise.concepts:
            t = promise.thresholds[concept.id]
            out.text(f"{concept.name}: named from {t.name:.2f}, perhaps from {t.maybe:.2f}")
    tell(promises)


def calibrate_unseen(session: "Session", photos: o.Photos, *, kept: bool, some: bool = False) -> None:
    """Calibrate on a library that was not, before it is captioned; `kept` is False when nothing may be written, `some`
    when only some of its photos are wanted, and looking at up to 2,000 first would not be.
    """
    from engine.pipeline.calibrating import FEWEST, is_calibrated, recognisable

    if photos.folder is None or not recognisable(session) or is_calibrated(session, photos.folder):
        return
    if not kept:
        out.detail("not calibrated on these photos, because nothing may be written: the usual thresholds are used")
        return
    if some:
        out.say("not calibrated on these photos, because of --limit: the usual thresholds are used (myvlm calibrate)")
        return
    found = list(photos)
    if sum(f.kind == "photo" for f in found) < FEWEST:
        out.detail("too few photos to calibrate on: the thresholds of another library or the usual ones are used")
        return
    tell(_calibrate(session, found, photos.folder, None))


def _calibrate(
    session: "Session", found: Sequence["Found"], folder: "Path | None", rate: float | None
) -> "tuple[Promise, ...]":
    from engine.errors import UsageError
    from engine.pipeline.calibrating import MOST
    from engine.pipeline.calibrating import calibrate as settle

    if folder is None:
        raise UsageError("no photos given", hint="Name the folder of the library.")
    o.warn_of_slow_faces(session)
    with out.progress("calibrating", min(MOST, sum(f.kind == "photo" for f in found))) as bar:
        return settle(session, found, folder, per_1000=rate, step=bar.advance)


def tell(promises: "Sequence[Promise]") -> None:
    """Say what was promised, and who cannot be told from others."""
    if not promises:
        return
    photos = promises[0].photos
    rate = sum(p.per_1000 for p in promises)
    expected = sum(p.expected for p in promises)
    low, high = (sum(p.interval[i] for p in promises) for i in (0, 1))
    out.say(
        f"Calibrated on {photos} photos: at most {rate:g} false names in 1,000 photos; {expected:.2f} predicted"
        f" (95 % of such libraries: {low:.1f} to {high:.1f})"
    )
    for promise in promises:
        for concept in promise.alike:
            if promise.kind == "bodies" and concept.kind != "person":
                continue
            where = "in other light and from other sides" if promise.kind == "people" else "in other places"
            out.warn(
                f"{concept.name} can hardly be told from others in these photos and will seldom be named: add photos of"
                f" {concept.name} {where}, or decide what myvlm review lists"
            )


def describe_promises(promises: "Sequence[Promise]", folder: "Path | None") -> dict[str, Any]:
    """What was calibrated, as plain data."""
    return {
        "folder": path_text(folder) if folder else None,
        "photos": promises[0].photos if promises else 0,
        "kinds": [
            {
                "kind": p.kind,
                "false_names_per_1000": {
                    "promised": round(p.per_1000, 4),
                    "predicted": round(p.expected, 4),
                    "interval95": [round(v, 4) for v in p.interval],
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
