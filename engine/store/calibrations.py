"""Thresholds that were calibrated on a library: one set a folder and recogniser, for the heads of one moment."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from sqlite_utils import Database

from engine.errors import ArtefactError
from engine.files import sha256_of
from engine.store.database import transaction
from engine.store.tensors import add_tensors, load_tensors

_FOLDER = "calibrations"


@dataclass(frozen=True)
class Thresholds:
    """Of one concept: log-odds from which on it is named, and may be named; whether it can be told from others."""

    name: float
    maybe: float
    separable: bool


@dataclass(frozen=True)
class StoredCalibration:
    """A calibration. root: the library's folder; model: the face pack's or encoder's id; gallery: digest of the heads;
    per_1000: false names promised in 1,000 photos, of which this kind of concept may make its share; photos: how many
    it was made on; expected: false names predicted in 1,000 photos; tensors: the scorer's, and its `strangers`.
    """

    root: Path
    model: str
    gallery: str
    per_1000: float
    photos: int
    expected: float
    thresholds: Mapping[str, Thresholds]
    tensors: Mapping[str, np.ndarray]
    made: str = ""


class Calibrations:
    """The calibrations of a store."""

    def __init__(self, db: Database, folder: Path) -> None:
        self._db, self._folder = db, folder

    def save(self, found: StoredCalibration) -> None:
        """Keep a calibration instead of the one that this library had."""
        c = found
        stem = self._folder / _FOLDER / sha256_of(repr((os.fsencode(c.root), c.model)).encode())[:12]
        thresholds = {k: [t.name, t.maybe, t.separable] for k, t in sorted(c.thresholds.items())}
        with transaction(self._db.conn, self._folder / "store.db") as db:
            path = add_tensors(stem, dict(c.tensors), {"model": c.model})
            file = path.relative_to(self._folder).as_posix()
            made = datetime.now(UTC).isoformat(timespec="seconds")
            row = [os.fsencode(c.root), c.model, c.gallery, c.per_1000, c.photos, c.expected, made]
            db.execute(
                "insert or replace into calibrations values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [*row, json.dumps(thresholds), file],
            )
        for old in path.parent.glob(f"{stem.name}-*.safetensors"):
            if old != path:
                old.unlink(missing_ok=True)

    def pick(self, model: str, gallery: str, library: Path | None) -> StoredCalibration | None:
        """The calibration for photos under a folder, for these heads: that of the nearest folder above them, else the
        one made on most photos, else None.
        """
        rows = list(self._db.query("select * from calibrations where model = ? and gallery = ?", [model, gallery]))
        roots = {row["file"]: Path(os.fsdecode(row["root"])) for row in rows}

        def fitness(row: dict) -> tuple[int, int, str]:
            root = roots[row["file"]]
            above = library is not None and library.is_relative_to(root)
            return (len(root.parts) if above else 0, row["photos"], row["file"])

        for row in sorted(rows, key=fitness, reverse=True):
            try:
                return _stored(row, load_tensors(self._folder / row["file"]))
            except ArtefactError:
                continue
        return None

    def has(self, model: str, gallery: str, library: Path) -> bool:
        """Whether a library, or one that it is a part of, was calibrated for these heads."""
        rows = self._db.query("select root from calibrations where model = ? and gallery = ?", [model, gallery])
        return any(library.is_relative_to(Path(os.fsdecode(row["root"]))) for row in rows)

    def promised(self, library: Path) -> float | None:
        """What was promised for a library before, whatever the heads were then."""
        rows = list(self._db.query("select root, per_1000 from calibrations order by made"))
        own = [(Path(os.fsdecode(r["root"])), float(r["per_1000"])) for r in rows]
        above = [(len(root.parts), n, rate) for n, (root, rate) in enumerate(own) if library.is_relative_to(root)]
        return max(above)[2] if above else None

    def forget(self) -> None:
        """Leave nothing of anybody's features and thresholds; what was promised for which library stays."""
        with transaction(self._db.conn, self._folder / "store.db") as db:
            db.execute("update calibrations set gallery = '', thresholds = '{}', file = ''")
        for path in (self._folder / _FOLDER).glob("*.safetensors"):
            path.unlink(missing_ok=True)


def _stored(row: dict, tensors: Mapping[str, np.ndarray]) -> StoredCalibration:
    thresholds = {k: Thresholds(*v) for k, v in json.loads(row["thresholds"]).items()}
    facts = [row[k] for k in ("model", "gallery", "per_1000", "photos", "expected")]
    return StoredCalibration(Path(os.fsdecode(row["root"])), *facts, thresholds, tensors, row["made"])


def common_folder(paths: Iterable[Path]) -> Path | None:
    """The folder that holds all of some photos and folders, absolute; None without any."""
    folders = [p if p.is_dir() else p.parent for p in (p.absolute() for p in paths)]
    if not folders:
        return None
    try:
        return Path(os.path.commonpath(folders))
    except ValueError:  # on different drives
        return folders[0]
