"""Enrol concepts from drawn reference photos, and look at all other photos: the rounds of the benchmark on photos.

Photos are scanned once for each recogniser. Each round has an empty store, and runs the same enrolment, calibration and
recognition as the commands do; the features and the views of reference crops are shared.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from engine.benchmarks.experiments import Measurement
from engine.benchmarks.photo_data import (
    PhotoData,
    PhotoFolder,
    PhotoRequest,
    ScannedPhoto,
    find_look_alikes,
    read_folders,
    scan_photos,
)
from engine.benchmarks.photo_figures import Round, RoundConcept, ShownPhoto, ThresholdSort
from engine.benchmarks.recognition_library import with_paper_heads
from engine.benchmarks.recognition_measure import measure_recognition
from engine.benchmarks.shared_extractor import SharedExtractor
from engine.benchmarks.workers import Notify
from engine.concepts.enrol import enrol
from engine.core.boxes import Box
from engine.core.errors import NameRefusedError, NoUsablePhotoError, UsageError
from engine.core.types import Concept
from engine.photos.discovery import FoundFile
from engine.recognition.calibrate import FEWEST, calibrate
from engine.session import Session, SessionOptions


@dataclass(frozen=True)
class PhotoMeasurement:
    """All rounds of one recogniser.

    pairs: rounds in which one or both of two look-alikes were enrolled, and only their photos were shown. photos: the
    number of different photos; left_out: what could not be used, and why; refused: why concepts could not be enrolled,
    by name, the first time; more_pairs: how many further look-alikes there are by name.
    """

    recogniser: str
    drawn_only: bool
    rounds: tuple[Round, ...]
    pairs: tuple[Round, ...]
    photos: int
    left_out: tuple[str, ...]
    refused: Mapping[str, str]
    more_pairs: int = 0

    @property
    def is_calibrated(self) -> bool:
        """Whether there were photos enough to calibrate thresholds."""
        return any(r.thresholds is ThresholdSort.CALIBRATED for r in self.rounds)


def measure_photos(choices: SessionOptions, request: PhotoRequest, notify: Notify) -> PhotoMeasurement:
    """Measure the recogniser that is chosen.

    Raises:
        UsageError: a folder is missing, or there are too few concepts with photos enough.
        WeightsMissingError: the recogniser's weights are not on this disk.
    """
    folders = read_folders(request)
    with TemporaryDirectory(prefix="myvlm-recognition-") as name:
        scanner = Session(choices, Path(name) / "home")
        scanner.extractor = SharedExtractor(scanner.recogniser_config, scanner.cache, lambda: scanner.recogniser)
        config = scanner.recogniser_config
        data = scan_photos(scanner, request, folders)
        groups = group_concepts(data, request)
        notify(f"{config.name}: {len(data.photos)} photos scanned")
        bench = _Bench(scanner, data, request, Path(name), list(data.left_out), {})
        rounds = [r for count, seed, group in _plan(request, groups) for r in bench.measure(group, count, seed, notify)]
        pairs, more = find_look_alikes(request, data.folders)
        showings = [r for a, b in pairs for r in bench.measure_pair(a, b, notify)]
        left_out, photos = tuple(dict.fromkeys(bench.left_out)), len(data.photos)
        facts = (tuple(rounds), tuple(showings), photos, left_out, bench.refused, more)
        return PhotoMeasurement(config.name, config.drawn_only, *facts)


def group_concepts(data: PhotoData, request: PhotoRequest) -> list[list[PhotoFolder]]:
    """Return the concepts that are enrolled together: every second one, then the others, so that each has strangers.

    All are enrolled at once where the user chose them, or where there is only one and there are strangers' photos.

    Raises:
        UsageError: there are too few concepts with photos enough.
    """
    least = min(request.references)
    usable = [f for f in data.folders if len(f.photos) > least and (not request.only or f.name in request.only)]
    together = bool(request.only) or (len(usable) == 1 and bool(data.strangers))
    groups = [usable] if together else [usable[0::2], usable[1::2]]
    if not all(groups):
        needed = "one is" if len(groups) == 1 else "two are"
        why = f"{len(usable)} concepts have more than {least} photos, and {needed} needed"
        raise UsageError(f"{request.root}: {why}", hint="Layout: ROOT/<concept>/*.jpg.")
    return groups


def _plan(
    request: PhotoRequest, groups: Sequence[Sequence[PhotoFolder]]
) -> Iterator[tuple[int, int, Sequence[PhotoFolder]]]:
    """List number of references, seed and concepts of each round."""
    for count in request.references:
        for seed in request.seeds:
            for group in groups:
                chosen = [f for f in group if len(f.photos) > count]
                if chosen:
                    yield count, seed, chosen


@dataclass(frozen=True)
class _Shown:
    """A photo to show: its folder's name, and the position of the concept in it, None for a stranger's."""

    photo: ScannedPhoto
    folder: str
    concept: int | None


@dataclass(frozen=True)
class _Bench:
    """A recogniser that has scanned the photos. left_out, refused: grow; see `PhotoMeasurement`."""

    scanner: Session
    data: PhotoData
    request: PhotoRequest
    folder: Path
    left_out: list[str]
    refused: dict[str, str]

    def measure(self, group: Sequence[PhotoFolder], count: int, seed: int, notify: Notify) -> list[Round]:
        """Enrol some concepts, and show their other photos and those of everybody else."""
        index = {f.name: i for i, f in enumerate(group)}
        own = [_Shown(p, f.name, index[f.name]) for f in group for p in f.draw(count, seed)[1]]
        others = [_Shown(p, f.name, None) for f in self.data.folders if f.name not in index for p in f.photos]
        strangers = [_Shown(p, p.label.partition("/")[0], None) for p in self.data.strangers]
        shown, words = [*own, *others, *strangers], frozenset(f.word for f in group)
        with self._session() as session:
            concepts = [self._enrol(session, f, count, seed) for f in group]
            looks = self._look(session, words, concepts, shown)
            paper = _measure(with_paper_heads(session), concepts, shown, None)
        looks.append((ThresholdSort.PAPER, _outcomes(paper, shown, words)))
        notify(f"{self.scanner.recogniser_config.name}: {len(group)} concepts, references {count}, seed {seed}")
        return [self._round(group, concepts, count, seed, sort, photos) for sort, photos in looks]

    def measure_pair(self, a: PhotoFolder, b: PhotoFolder, notify: Notify) -> list[Round]:
        """Enrol the first, the other and both of two look-alikes for each seed, and show the photos of both."""
        count = self.request.usual_count
        small = [f"{f.name}: look-alikes need more than {count} photos" for f in (a, b) if len(f.photos) <= count]
        if small:
            self.left_out.extend(small)
            return []
        rounds = [r for seed in self.request.seeds for r in self._pair_rounds(a, b, count, seed)]
        notify(f"{self.scanner.recogniser_config.name}: look-alikes {a.name} and {b.name}")
        return sorted(rounds, key=lambda r: len(r.concepts))

    def _pair_rounds(self, a: PhotoFolder, b: PhotoFolder, count: int, seed: int) -> Iterator[Round]:
        words = frozenset({a.word, b.word})
        for groups in (((a,), (a, b)), ((b,),)):
            with self._session() as session:
                concepts: list[Concept | None] = []
                for group in groups:
                    concepts.append(self._enrol(session, group[-1], count, seed))
                    shown = _photos_of_pair((a, b), group, count, seed)
                    for sort, photos in self._look(session, words, concepts, shown):
                        yield self._round(group, concepts, count, seed, sort, photos)

    @contextmanager
    def _session(self) -> Iterator[Session]:
        """Open a session on an empty store, with the models and the features of the scan."""
        with TemporaryDirectory(dir=self.folder) as home:
            session = Session(self.scanner.choices, Path(home))
            session.recogniser, session.cache = self.scanner.recogniser, self.scanner.cache
            session.extractor = self.scanner.extractor
            try:
                yield session
            finally:
                session.store.close()

    def _enrol(self, session: Session, folder: PhotoFolder, count: int, seed: int) -> Concept | None:
        references = [p.path for p in folder.draw(count, seed)[0]]
        kind, category = folder.given_kind, folder.given_category
        try:
            return enrol(session, folder.name, references, kind=kind, category=category).concept
        except (NoUsablePhotoError, NameRefusedError, UsageError) as err:
            self.refused.setdefault(folder.name, str(err))
            return None

    def _look(
        self, session: Session, words: frozenset[str], concepts: Sequence[Concept | None], shown: Sequence[_Shown]
    ) -> list[tuple[ThresholdSort, tuple[ShownPhoto, ...]]]:
        """Look at photos before the thresholds are calibrated, and after it where there are photos enough.

        The order matters: a calibration of the same heads would be taken for any folder.
        """
        plain = _measure(session, concepts, shown, None)
        looks = [(ThresholdSort.PRIOR, _outcomes(plain, shown, words))]
        root = self.request.root.absolute()
        files = [FoundFile(p.path, "photo") for p in self.data.photos]
        if len(files) >= FEWEST and any(concepts) and calibrate(session, files, root):
            fitted = _measure(session, concepts, shown, root)
            if fitted["calibrated"]:
                looks.append((ThresholdSort.CALIBRATED, _outcomes(fitted, shown, words)))
        return looks

    def _round(
        self,
        group: Sequence[PhotoFolder],
        concepts: Sequence[Concept | None],
        count: int,
        seed: int,
        sort: ThresholdSort,
        photos: tuple[ShownPhoto, ...],
    ) -> Round:
        kinds = [str(c.kind) if c is not None else "" for c in concepts]
        named = tuple(RoundConcept(f.name, f.kind or k or "unknown", k) for f, k in zip(group, kinds, strict=True))
        return Round(self.scanner.recogniser_config.name, count, seed, sort, named, photos)


def _photos_of_pair(
    pair: tuple[PhotoFolder, PhotoFolder], group: Sequence[PhotoFolder], count: int, seed: int
) -> list[_Shown]:
    """List the photos of two look-alikes without the references of those that are enrolled."""
    return [
        _Shown(p, f.name, group.index(f) if f in group else None)
        for f in pair
        for p in (f.draw(count, seed)[1] if f in group else f.photos)
    ]


def _measure(
    session: Session, concepts: Sequence[Concept | None], shown: Sequence[_Shown], root: Path | None
) -> Measurement:
    contents = [s.photo.content_hash for s in shown]
    boxes: list[dict[int, Box]] = [{} for _ in shown]  # a user's photos have no true boxes
    return measure_recognition(session, concepts, contents, boxes, root)


def _outcomes(measured: Measurement, shown: Sequence[_Shown], words: frozenset[str]) -> tuple[ShownPhoto, ...]:
    """Return what recognition said about each photo. words: the class words of the enrolled concepts."""
    rows = zip(shown, measured["names"], measured["maybes"], measured["margins"], strict=True)
    return tuple(
        ShownPhoto(
            s.photo.label,
            s.folder,
            s.concept,
            frozenset(c for c, _ in names),
            frozenset(c for c, _ in maybes),
            s.concept is None and s.photo.word in words,
            dict(margins),
        )
        for s, names, maybes, margins in rows
    )
