"""Run `myvlm evaluate --unnamed`: groups of faces and animals that have no name; no VLM is loaded.

The measurement of each drawn library is stored beside the tables, so that an interrupted run continues.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from engine.benchmarks.experiments import Measurement, MeasurementStore
from engine.benchmarks.figures import Table
from engine.benchmarks.output import is_document, prepare_folder, refuse_foreign_file
from engine.benchmarks.photo_data import PhotoRequest, read_folders, scan_photos
from engine.benchmarks.photo_evaluation import choose_recognisers
from engine.benchmarks.render import as_json, render_table
from engine.benchmarks.unnamed_measure import measure_drawn, measure_photos
from engine.benchmarks.unnamed_tables import unnamed_tables
from engine.benchmarks.workers import Notify, one_thread
from engine.core.files import sha256_of, write_atomically
from engine.core.types import Kind
from engine.session import Session, SessionOptions
from engine.vlms.registry import NO_VLM

MARK = "Written by `myvlm evaluate --unnamed`"
_METHOD = 1
"""Version of the measurement: with another one, everything is measured again."""
_STEM = "unnamed"


@dataclass(frozen=True)
class UnnamedSettings:
    """Settings of a run. seeds, photos: of the drawn libraries. data: real photos, None for drawings alone."""

    seeds: tuple[int, ...] = (0, 1, 2)
    photos: int = 800
    data: PhotoRequest | None = None
    recognisers: tuple[str, ...] = ()
    out: Path = Path("evaluation")
    device: str = "auto"
    dtype: str = "auto"


def evaluate_unnamed(settings: UnnamedSettings, notify: Notify) -> tuple[dict[str, Any], list[Table]]:
    """Measure, and write unnamed.md and unnamed.json into a folder; returns the document and its tables.

    Raises:
        UsageError: a recogniser is unknown, a folder is missing, or the folder for the files holds one under these
            names that this function did not write.
        WeightsMissingError: a recogniser's weights are not on this disk.
    """
    prepare_folder(settings.out, hint="Give a folder for the tables.")
    md, document_file = settings.out / f"{_STEM}.md", settings.out / f"{_STEM}.json"
    refuse_foreign_file(md, lambda data: MARK.encode() in data, command="myvlm evaluate --unnamed")
    is_ours = partial(is_document, protocol=_STEM)
    refuse_foreign_file(document_file, is_ours, command="myvlm evaluate --unnamed")
    drawn = [_drawn(settings, seed, notify) for seed in settings.seeds]
    tables = unnamed_tables("Drawn libraries", drawn)
    folders = [f.name for f in read_folders(settings.data)] if settings.data else []
    for name, measured in _real(settings, notify).items():
        tables += unnamed_tables(f"Photos, {name}", [measured], folders)
    document: dict[str, Any] = {"format": 1, "protocol": _STEM, "seeds": list(settings.seeds)}
    document |= {"photos": settings.photos, "data": settings.data.root.name if settings.data else None}
    document |= {"tables": [t.document() for t in tables]}
    write_atomically(document_file, as_json(document))
    write_atomically(md, _page(settings, tables).encode())
    notify(f"written: {md}")
    return document, tables


def _drawn(settings: UnnamedSettings, seed: int, notify: Notify) -> Measurement:
    """Measure one drawn library, unless that is on the disk."""
    choices = SessionOptions("storybook", "storybook", settings.device, settings.dtype)
    config = Session(choices).recogniser_config
    thresholds = [config.group_thresholds(kind) for kind in (Kind.PERSON, Kind.PET)]
    facts = (_METHOD, seed, settings.photos, config.regions_id, config.found_faces_id, thresholds)
    store = MeasurementStore(settings.out / f"{_STEM}-parts")
    with one_thread():
        digest = sha256_of(repr(facts).encode())[:16]
        measured = store.get(f"drawn-seed{seed}", digest, lambda: measure_drawn(seed, settings.photos, choices))
    notify(f"drawn library {seed}: measured")
    return measured


def _real(settings: UnnamedSettings, notify: Notify) -> dict[str, Measurement]:
    """Measure the user's photos with each recogniser, by its name."""
    measured = {}
    for config in choose_recognisers(settings.recognisers) if settings.data else ():
        with TemporaryDirectory(prefix="myvlm-unnamed-") as home:
            session = Session(SessionOptions(NO_VLM, config.name, settings.device, settings.dtype), Path(home))
            data = scan_photos(session, settings.data, read_folders(settings.data)) if settings.data else None
            if data is not None:
                measured[config.name] = measure_photos(session, data)
            session.store.close()
        notify(f"photos, {config.name}: measured")
    return measured


def _photos(data: PhotoRequest | None) -> str:
    if data is None:
        return ""
    strangers = f"; strangers from {', '.join(f'`{p.name}`' for p in data.strangers)}" if data.strangers else ""
    return f"\nPhotos: folders of `{data.root.name}`, one individual each{strangers}.\n"


def _page(settings: UnnamedSettings, tables: list[Table]) -> str:
    seeds = ", ".join(map(str, settings.seeds))
    head = (
        f"# Groups of those without a name, as measured\n\n{MARK}; do not edit.\n\nDrawn libraries: seeds {seeds},"
        f" {settings.photos} photos each, nobody enrolled; recogniser `storybook`. All methods get the same sightings"
        " and thresholds. Each figure comes with n and its 95 % interval (Wilson's for shares, normal for means;"
        " observations as independent; – where there is one observation, or all are alike).\n"
        f"{_photos(settings.data)}"
    )
    return f"{head}\n" + "\n".join(render_table(t) for t in tables)
