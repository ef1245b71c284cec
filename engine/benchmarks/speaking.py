"""Run `myvlm evaluate --speaking`: names as text, embeddings and both, on drawn concepts and scenes.

The measurements of each VLM and seed are stored beside the tables, so that an interrupted run continues.
"""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from engine.benchmarks.drawn_cases import draw_cases, draw_crowd_photos
from engine.benchmarks.experiments import Measurement, MeasurementStore
from engine.benchmarks.figures import Table
from engine.benchmarks.output import is_document, prepare_folder, refuse_foreign_file
from engine.benchmarks.render import as_json, render_table
from engine.benchmarks.results import case_document
from engine.benchmarks.speaking_measure import learn, measure_speaking
from engine.benchmarks.speaking_tables import speaking_tables
from engine.benchmarks.workers import Notify, one_thread
from engine.core.files import sha256_of, write_atomically
from engine.session import Session, SessionOptions

MARK = "Written by `myvlm evaluate --speaking`"
_METHOD = 1
"""Version of the measurement: with another one, everything is measured again."""
_STEM = "speaking"
_CROWD_SHARE = 2
"""Photos of each number of concepts, as a multiple of the validation photos per concept and split."""


@dataclass(frozen=True)
class SpeakingSettings:
    """Settings of a run. concepts: for each seed; photos: validation photos per concept and split."""

    seeds: tuple[int, ...] = (0, 1, 2)
    concepts: int = 12
    photos: int = 3
    vlms: tuple[str, ...] = ("storybook",)
    steps: int | None = None
    out: Path = Path("evaluation")
    device: str = "auto"
    dtype: str = "auto"


def evaluate_speaking(settings: SpeakingSettings, notify: Notify) -> tuple[dict[str, Any], list[Table]]:
    """Measure, and write speaking.md and speaking.json into a folder; returns the document and its tables.

    Raises:
        UsageError: a VLM is unknown, or the folder holds a file under one of these names that this function did not
            write.
        WeightsMissingError: a VLM's weights are not on this disk.
    """
    prepare_folder(settings.out, hint="Give a folder for the tables.")
    md, document_file = settings.out / f"{_STEM}.md", settings.out / f"{_STEM}.json"
    command = "myvlm evaluate --speaking"
    refuse_foreign_file(md, lambda data: MARK.encode() in data, command=command)
    refuse_foreign_file(document_file, partial(is_document, protocol=_STEM), command=command)
    with one_thread():
        measured = {name: [_measure(settings, name, seed, notify) for seed in settings.seeds] for name in settings.vlms}
    tables = speaking_tables(measured)
    document: dict[str, Any] = {"format": 1, "protocol": _STEM, "vlms": list(settings.vlms)}
    document |= {"seeds": list(settings.seeds), "concepts": settings.concepts, "photos": settings.photos}
    document |= {"steps": settings.steps, "tables": [t.document() for t in tables]}
    write_atomically(document_file, as_json(document))
    write_atomically(md, _page(settings, tables).encode())
    notify(f"written: {md}")
    return document, tables


def _measure(settings: SpeakingSettings, name: str, seed: int, notify: Notify) -> Measurement:
    """Measure one VLM with one seed's drawings, unless that is on the disk."""
    with TemporaryDirectory(prefix="myvlm-speaking-") as folder:
        home = Path(folder)
        session = Session(SessionOptions(name, "storybook", settings.device, settings.dtype), home / "home")
        subjects, cases = draw_cases(home, seed, settings.concepts, settings.photos)
        crowds = draw_crowd_photos(home / "crowds", subjects, seed, settings.photos * _CROWD_SHARE)
        facts = (_METHOD, session.vlm_id, session.vlm_revision, session.vlm_config, settings.steps, settings.photos)
        drawn = json.dumps([case_document(c) for c in cases])
        digest = sha256_of(repr((facts, drawn)).encode())[:16]

        def measure() -> Measurement:
            learned = learn(session.vlm, cases, [s.who for s in subjects], seed, settings.steps)
            notify(f"{name}, seed {seed}: {len(learned)} concepts learned")
            return measure_speaking(session.vlm, learned, crowds, seed)

        measured = MeasurementStore(settings.out / f"{_STEM}-parts").get(f"{name}-seed{seed}", digest, measure)
    notify(f"{name}, seed {seed}: measured")
    return measured


def _page(settings: SpeakingSettings, tables: list[Table]) -> str:
    seeds = ", ".join(map(str, settings.seeds))
    head = (
        f"# Names as text, embeddings, and both\n\n{MARK}; do not edit.\n\nSeeds {seeds}; {settings.concepts} drawn"
        f" concepts a seed, learned from 4 photos each; {settings.photos} validation photos for each concept and split,"
        " drawn scenes that no model has seen. The concepts are given: recognition takes no part. Each figure comes"
        " with n and its 95 % interval (photos as independent).\n"
    )
    return f"{head}\n" + "\n".join(render_table(t) for t in tables)
