"""Thresholds that were calibrated on a library: one set a folder and recogniser, for the heads of one moment."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from sqlite_utils import Database

from engine.core.database import transaction
from engine.core.errors import ArtefactError
from engine.core.files import sha256_of
from engine.core.tensors import add_tensors, load_tensors

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
        """Keep a calibration instead of those that this library and parts of it had. Nothing is kept where a concept
        was forgotten meanwhile.
        """
        c = found
        stem = self._folder / _FOLDER / sha256_of(repr((os.fsencode(c.root), c.model)).encode())[:12]
        thresholds = {k: [t.name, t.maybe, t.separable] for k, t in sorted(c.thresholds.items())}
        with transaction(self._db.conn, self._folder / "store.db") as db:
            if not set(c.thresholds) <= {row[0] for row in db.execute("select id from concepts")}:
                return
            rows = db.execute("select root, file from calibrations where model = ?", [c.model]).fetchall()
            old = [(root, file) for root, file in rows if Path(os.fsdecode(root)).is_relative_to(c.root)]
            path = add_tensors(stem, dict(c.tensors), {"model": c.model})
            file = path.relative_to(self._folder).as_posix()
            made = datetime.now(UTC).isoformat(timespec="seconds")
            db.executemany("delete from calibrations where root = ? and model = ?", [(r, c.model) for r, _ in old])
            row = [os.fsencode(c.root), c.model, c.gallery, c.per_1000, c.photos, c.expected, made]
            db.execute(
                "insert into calibrations values (?, ?, ?, ?, ?, ?, ?, ?, ?)", [*row, json.dumps(thresholds), file]
            )
        for _, gone in old:
            if gone and gone != file:
                (self._folder / gone).unlink(missing_ok=True)

    def pick(self, model: str, gallery: str, library: Path | None) -> StoredCalibration | None:
        """The calibration for photos under a folder: that of the nearest folder above them, else the one made on most
        photos, else None; one for these very heads before one for heads of before, which knows no thresholds of newer
        concepts.
        """
        rows = list(self._db.query("select * from calibrations where model = ? and file != ''", [model]))

        def fitness(row: dict) -> tuple[int, bool, int, str]:
            root = Path(os.fsdecode(row["root"]))
            above = library is not None and library.is_relative_to(root)
            return (len(root.parts) if above else 0, row["gallery"] == gallery, row["photos"], row["file"])

        for row in sorted(rows, key=fitness, reverse=True):
            try:
                return _stored(row, load_tensors(self._folder / row["file"]))
            except ArtefactError:
                continue
        return None

    def photos(self, model: str, gallery: str, library: Path) -> int:
        """On how many photos a library, or one that it is a part of, was calibrated for these heads; 0: it was not."""
        query = "select root, photos, file from calibrations where model = ? and gallery = ?"
        own = [r for r in self._db.query(query, [model, gallery]) if (self._folder / r["file"]).is_file()]
        return max((r["photos"] for r in own if library.is_relative_to(Path(os.fsdecode(r["root"])))), default=0)

    def promised(self, library: Path) -> float | None:
        """What was promised for a library before, whatever the heads were then."""
        rows = list(self._db.query("select root, per_1000 from calibrations order by made"))
        own = [(Path(os.fsdecode(r["root"])), float(r["per_1000"])) for r in rows]
        above = [(len(root.parts), n, rate) for n, (root, rate) in enumerate(own) if library.is_relative_to(root)]
        return max(above)[2] if above else None

    def forget(self, giveaway: Callable[[Path], bool] = lambda _: False) -> None:
        """Leave nothing of anybody's features and thresholds; what was promised for which library stays, but for
        libraries whose path gives somebody away.
        """
        with transaction(self._db.conn, self._folder / "store.db") as db:
            roots = [root for (root,) in db.execute("select distinct root from calibrations")]
            told = [(root,) for root in roots if giveaway(Path(os.fsdecode(root)))]
            db.executemany("delete from calibrations where root = ?", told)
            db.execute("update calibrations set gallery = '', thresholds = '{}', file = ''")
        for path in (self._folder / _FOLDER).glob("*.safetensors"):
            path.unlink(missing_ok=True)


def _stored(row: dict, tensors: Mapping[str, np.ndarray]) -> StoredCalibration:
    thresholds = {k: Thresholds(*v) for k, v in json.loads(row["thresholds"]).items()}
    facts = [row[k] for k in ("model", "gallery", "per_1000", "photos", "expected")]
    return StoredCalibration(Path(os.fsdecode(row["root"])), *facts, thresholds, tensors, row["made"])


def common_folder(paths: Iterable[Path]) -> Path | None:
    """The folder that holds all of some photos and folders, by its real path; None without any."""
    folders = [p if p.is_dir() else p.parent for p in (Path(os.path.realpath(p)) for p in paths)]
    if not folders:
        return None
    try:
        return Path(os.path.commonpath(folders))
    except ValueError:  # on different drives
        return folders[0]
