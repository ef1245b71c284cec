"""Run `myvlm evaluate --data ROOT`: recognition on a user's own photos; no VLM is loaded."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from engine.benchmarks.figures import Table
from engine.benchmarks.output import is_document, prepare_folder, refuse_foreign_file
from engine.benchmarks.photo_data import PhotoRequest, read_folders
from engine.benchmarks.photo_figures import ThresholdSort, list_wrong_names
from engine.benchmarks.photo_rounds import PhotoMeasurement, measure_photos
from engine.benchmarks.photo_tables import photo_tables
from engine.benchmarks.render import as_json, render_table
from engine.benchmarks.workers import Notify
from engine.core.errors import EnvironmentFault, WeightsMissingError
from engine.core.files import write_atomically
from engine.session import SessionOptions
from engine.vision.config import RecogniserConfig, find_recogniser, list_recognisers
from engine.vlms.registry import NO_VLM

STEM = "real_photos"
"""Name of the files that are written, without suffix."""
MARK = "Written by `myvlm evaluate --data`"
_PROTOCOL = "photos"


@dataclass(frozen=True)
class PhotoSettings:
    """Settings of a run. recognisers: their names, () for all whose weights are on this disk; out: where files go."""

    request: PhotoRequest
    recognisers: tuple[str, ...] = ()
    out: Path = Path("evaluation")
    device: str = "auto"
    dtype: str = "auto"


def evaluate_photos(settings: PhotoSettings, notify: Notify) -> tuple[dict[str, Any], list[Table]]:
    """Measure, and write real_photos.json, .md and .png into a folder; return the document and its tables.

    Raises:
        UsageError: a recogniser is unknown, a folder is missing, there are too few concepts with photos enough, or the
            folder for the files holds one under these names that this function did not write.
        WeightsMissingError: a recogniser's weights are not on this disk.
    """
    configs = choose_recognisers(settings.recognisers)
    read_folders(settings.request)  # what is wrong with the request is said before anything is written
    _check_folder(settings.out)
    choices = [SessionOptions(NO_VLM, c.name, settings.device, settings.dtype) for c in configs]
    measurements = [measure_photos(c, settings.request, notify) for c in choices]
    tables = photo_tables(measurements, settings.request)
    has_plot = _draw(settings.out / f"{STEM}.png", measurements, notify)
    document = _document(settings.request, configs, measurements, tables)
    write_atomically(settings.out / f"{STEM}.json", as_json(document))
    write_atomically(settings.out / f"{STEM}.md", _page(configs, tables, has_plot=has_plot).encode())
    notify(f"written: {settings.out / f'{STEM}.md'}")
    return document, tables


def choose_recognisers(names: Sequence[str]) -> list[RecogniserConfig]:
    """Return the recognisers with these names or, without names, all on this disk that know photos.

    Where none that knows photos is on this disk, those that know drawings only are returned.

    Raises:
        UsageError: no recogniser has such a name.
        WeightsMissingError: no recogniser's weights are on this disk.
    """
    if names:
        return [find_recogniser(n) for n in names]
    on_disk = [c for c in list_recognisers() if c.encoder_on_disk and c.faces.on_disk]
    if not on_disk:
        raise WeightsMissingError("no recogniser's weights are on this disk", hint="Run: myvlm doctor")
    return [c for c in on_disk if not c.drawn_only] or on_disk


def _check_folder(folder: Path) -> None:
    from engine.benchmarks.plots import is_our_plot

    prepare_folder(folder, hint="Give a folder for the tables and the plot.")
    checks = {"md": lambda data: MARK.encode() in data, "png": is_our_plot}
    checks["json"] = partial(is_document, protocol=_PROTOCOL)
    for suffix, is_ours in checks.items():
        refuse_foreign_file(folder / f"{STEM}.{suffix}", is_ours, command="myvlm evaluate --data")


def _draw(path: Path, measurements: Sequence[PhotoMeasurement], notify: Notify) -> bool:
    """Draw the plot; returns False where matplotlib is not installed."""
    from engine.benchmarks.photo_plot import draw_photos

    try:
        draw_photos(measurements, path)
    except EnvironmentFault as err:
        notify(f"no plot: {err}. {err.hint}")
        return False
    return True


def _document(
    request: PhotoRequest,
    configs: Sequence[RecogniserConfig],
    measurements: Sequence[PhotoMeasurement],
    tables: Sequence[Table],
) -> dict[str, Any]:
    """Return the settings, the tables and the wrong names as plain data."""
    return {
        "format": 1,
        "protocol": _PROTOCOL,
        "data": request.root.name,
        "strangers": [p.name for p in request.strangers],
        "recognisers": [{"name": c.name, "regions": c.regions_id, "faces": c.faces_id} for c in configs],
        "references": list(request.references),
        "seeds": list(request.seeds),
        "only_concepts": list(request.only),
        "exclude_concepts": list(request.exclude),
        "photos": max(m.photos for m in measurements),
        "left_out": list(dict.fromkeys(n for m in measurements for n in m.left_out)),
        "tables": [t.document() for t in tables],
        "wrong_names": [_wrong_names(m, count, sort) for m in measurements for count, sort in _sorts(m)],
    }


def _sorts(measurement: PhotoMeasurement) -> list[tuple[int, ThresholdSort]]:
    sorts = {(r.references, r.thresholds) for r in measurement.rounds if r.thresholds is not ThresholdSort.PAPER}
    return sorted(sorts, key=lambda one: (one[0], list(ThresholdSort).index(one[1])))


def _wrong_names(measurement: PhotoMeasurement, count: int, sort: ThresholdSort) -> dict[str, Any]:
    rounds = [r for r in measurement.rounds if r.references == count and r.thresholds is sort]
    photos = [asdict(w) for w in list_wrong_names(rounds)]
    return {"recogniser": measurement.recogniser, "references": count, "thresholds": str(sort), "photos": photos}


def _page(configs: Sequence[RecogniserConfig], tables: Sequence[Table], *, has_plot: bool) -> str:
    names = ", ".join(f"`{c.name}`" for c in configs)
    head = f"# Recognition in real photos, as measured\n\n{MARK}; do not edit.\n\nRecogniser: {names}. "
    caption = "Recall against wrong names, and recall by the number of references"
    image = f"\n![{caption}]({STEM}.png)\n" if has_plot else ""
    return f"{head}No VLM took part.\n\n" + "\n".join(render_table(t) for t in tables) + image
