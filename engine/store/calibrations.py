"""Store the thresholds that were calibrated on photo libraries: one set for each folder and recogniser."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from sqlite_utils import Database

from engine.core.database import transaction
from engine.core.errors import ArtefactError
from engine.core.files import sha256_of
from engine.core.tensors import add_tensors, load_tensors
from engine.store.fits import StoredFits

_FOLDER = "calibrations"


@dataclass(frozen=True)
class Thresholds:
    """The thresholds of one concept in log-odds: from `name` it is named, from `suggestion` it is suggested.

    separable: whether the concept can be distinguished from others.
    """

    name: float
    suggestion: float
    separable: bool


@dataclass(frozen=True)
class StoredCalibration:
    """A calibration of one kind of concept on one library.

    root: the library's folder; model: the face pack's or encoder's id; gallery: digest of the heads that it was made
    for; per_1000: allowed false names in 1,000 photos, of which this kind of concept has its share; photos: how many
    photos it was made on; expected: predicted false names in 1,000 photos; thresholds: by concept id; tensors: those
    of the scorer and its cohort (`strangers`); made: time, ISO 8601.
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
    """Read and write the calibrations of a store."""

    def __init__(self, db: Database, folder: Path, *, keeps_fits: bool = True) -> None:
        self._db, self._folder, self._keeps_fits = db, folder, keeps_fits

    @property
    def fits(self) -> StoredFits:
        """What was fitted without a calibration."""
        return StoredFits(self._folder, keeps=self._keeps_fits)

    def reading_only(self) -> "Calibrations":
        """Return the same for a run that writes nothing, not even what it fits."""
        return Calibrations(self._db, self._folder, keeps_fits=False)

    def save(self, calibration: StoredCalibration) -> None:
        """Store a calibration in place of those of its library and of the library's subfolders.

        Nothing is stored when one of its concepts was forgotten in the meantime.
        """
        c = calibration
        stem = self._folder / _FOLDER / sha256_of(repr((os.fsencode(c.root), c.model)).encode())[:12]
        thresholds = {k: [t.name, t.suggestion, t.separable] for k, t in sorted(c.thresholds.items())}
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
        for _, replaced in old:
            if replaced and replaced != file:
                (self._folder / replaced).unlink(missing_ok=True)

    def pick(self, model: str, gallery: str, library: Path | None) -> StoredCalibration | None:
        """Return the calibration for photos in a folder, or None.

        The nearest folder above them comes first, then calibrations for exactly these heads (others have no thresholds
        for newer concepts), then the one made on most photos. Calibrations whose file cannot be read are skipped.
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
        """Return on how many photos a library, or a folder above it, was calibrated for these heads; else 0."""
        query = "select root, photos, file from calibrations where model = ? and gallery = ?"
        counts = [
            int(row["photos"])
            for row in self._db.query(query, [model, gallery])
            if (self._folder / row["file"]).is_file() and library.is_relative_to(Path(os.fsdecode(row["root"])))
        ]
        return max(counts, default=0)

    def last_rate(self, library: Path) -> float | None:
        """Return the false-name rate for which a library was last calibrated, with any heads; None if it never was."""
        rows = list(self._db.query("select root, per_1000 from calibrations order by made"))
        rates = [(Path(os.fsdecode(r["root"])), float(r["per_1000"])) for r in rows]
        above = [(len(root.parts), n, rate) for n, (root, rate) in enumerate(rates) if library.is_relative_to(root)]
        return max(above)[2] if above else None

    def forget(self, identifies: Callable[[Path], bool] = lambda _: False) -> None:
        """Delete the features and thresholds of all calibrations, and what was fitted without them.

        The requested false-name rates of the libraries stay, except where `identifies` says that a library's path
        identifies a forgotten concept.
        """
        with transaction(self._db.conn, self._folder / "store.db") as db:
            roots = [root for (root,) in db.execute("select distinct root from calibrations")]
            identifying = [(root,) for root in roots if identifies(Path(os.fsdecode(root)))]
            db.executemany("delete from calibrations where root = ?", identifying)
            db.execute("update calibrations set gallery = '', thresholds = '{}', file = ''")
        self.fits.clear()
        for path in (self._folder / _FOLDER).glob("*.safetensors"):
            path.unlink(missing_ok=True)


def _stored(row: dict, tensors: Mapping[str, np.ndarray]) -> StoredCalibration:
    thresholds = {k: Thresholds(*v) for k, v in json.loads(row["thresholds"]).items()}
    return StoredCalibration(
        root=Path(os.fsdecode(row["root"])),
        model=row["model"],
        gallery=row["gallery"],
        per_1000=row["per_1000"],
        photos=row["photos"],
        expected=row["expected"],
        thresholds=thresholds,
        tensors=tensors,
        made=row["made"],
    )
