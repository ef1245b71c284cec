"""Measure recognition on a user's own photos, ROOT/CONCEPT/*.jpg: half of the concepts are enrolled.

There are two rounds: every second folder is enrolled in the first, the other folders in the second. The first four
photos of an enrolled folder are references, its other photos are tests; the photos of all other folders are strangers'.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from engine.benchmarks.cases import TRAINING_PHOTOS
from engine.benchmarks.experiments import Measurement
from engine.benchmarks.figures import Table, make_row, measured_cell, text_cell
from engine.benchmarks.library_figures import EnrolledTruth, LibraryTruth, pool, rate_per_1000
from engine.benchmarks.recognition_library import with_paper_heads
from engine.benchmarks.recognition_measure import measure_recognition, read_outcome, truth_document
from engine.benchmarks.recognition_table import HEADS, with_suggestions
from engine.benchmarks.workers import Notify
from engine.concepts.enrol import enrol
from engine.core.boxes import Box
from engine.core.class_words import ANIMALS, PEOPLE, kind_of_word
from engine.core.errors import NoUsablePhotoError, UsageError
from engine.core.paths import STORYBOOK
from engine.core.types import Concept, Kind
from engine.photos.discovery import FoundFile, iter_photos
from engine.recognition.calibrate import calibrate
from engine.recognition.scan import scan
from engine.session import Session, SessionOptions


@dataclass(frozen=True)
class _Folder:
    """A concept's photos in order of their names, with their content hashes."""

    name: str
    photos: tuple[tuple[Path, str], ...]

    @property
    def has_tests(self) -> bool:
        return len(self.photos) > TRAINING_PHOTOS


def measure_folder(root: Path, choices: SessionOptions, notify: Notify) -> Measurement:
    """Measure both rounds.

    Returns "rounds", measurements like those of drawn libraries; "left_out", what could not be used and why;
    "recogniser"; "drawn", whether the recogniser knows drawings only.

    Raises:
        UsageError: the folder is none, or has fewer than two concepts with more than four photos.
        WeightsMissingError: the recogniser's weights are not on this disk.
    """
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder", hint="It holds one folder of photos a concept.")
    left_out: list[str] = []
    with TemporaryDirectory(prefix="myvlm-recognition-") as name:
        scanner = Session(choices, Path(name) / "home")
        folders = _scan(scanner, root, left_out)
        usable = [f for f in folders if f.has_tests]
        if len(usable) < 2:
            why = f"{len(usable)} concepts have more than {TRAINING_PHOTOS} photos, and two are needed"
            raise UsageError(f"{root}: {why}", hint="Layout: ROOT/<concept>/*.jpg.")
        rounds = []
        for turn in (0, 1):
            session = Session(choices, Path(name) / f"home-{turn}")
            session.recogniser, session.cache = scanner.recogniser, scanner.cache
            rounds.append(_measure_round(session, root, folders, usable[turn::2], left_out))
            notify(f"{root.name}: round {turn + 1} of 2 measured")
        config = scanner.recogniser_config
        source = Path(config.encoder.removeprefix("local-dir:"))
        drawn = source.is_relative_to(STORYBOOK)
        name = config.name if source.is_absolute() else f"{config.name} ({config.encoder})"
        return {"recogniser": name, "drawn": drawn, "rounds": rounds, "left_out": left_out}


def _scan(session: Session, root: Path, left_out: list[str]) -> list[_Folder]:
    """Scan the photos of all folders; a copy of another photo is left out."""
    contents: set[str] = set()
    folders = []
    for folder in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")):
        photos = []
        for result in scan(session, sorted(p for p in iter_photos([folder]) if p.parent == folder)):
            if result.content_hash is None:
                left_out.append(f"{folder.name}/{result.path.name}: {result.reason}".replace(f"{result.path}: ", ""))
            elif result.content_hash in contents:
                left_out.append(f"{folder.name}/{result.path.name}: the same photo is there twice")
            else:
                contents.add(result.content_hash)
                photos.append((result.path, result.content_hash))
        folders.append(_Folder(folder.name, tuple(photos)))
    return folders


def _measure_round(
    session: Session, root: Path, folders: Sequence[_Folder], enrolled: Sequence[_Folder], left_out: list[str]
) -> Measurement:
    """Enrol some folders in a session with an empty store, and measure both sorts of heads on the other photos."""
    concepts = [_enrol(session, folder, left_out) for folder in enrolled]
    index = {f.name: i for i, f in enumerate(enrolled)}
    tested = [(f, p) for f in folders for p in f.photos[TRAINING_PHOTOS if f.name in index else 0 :]]
    kinds = [str(c.kind) if c is not None else "" for c in concepts]
    truth = LibraryTruth(
        tuple(EnrolledTruth(f.name, kind) for f, kind in zip(enrolled, kinds, strict=True)),
        tuple(frozenset({index[f.name]} if f.name in index else ()) for f, _ in tested),
    )
    everything = [FoundFile(p, "photo") for f in folders for p, _ in f.photos]
    calibrate(session, everything, root.absolute())
    contents = [content for _, (_, content) in tested]
    boxes: list[dict[int, Box]] = [{} for _ in tested]  # a user's photos have no true boxes
    sessions = {"open-set": session, "paper": with_paper_heads(session)}
    heads = {k: measure_recognition(s, concepts, truth, contents, boxes, root.absolute()) for k, s in sessions.items()}
    return {"seed": root.name, "truth": truth_document(truth), "heads": heads}


def _enrol(session: Session, folder: _Folder, left_out: list[str]) -> Concept | None:
    kind, category = _kind_of(folder.name)
    references = [p for p, _ in folder.photos[:TRAINING_PHOTOS]]
    try:
        return enrol(session, folder.name, references, kind=kind, category=category).concept
    except NoUsablePhotoError as err:
        left_out.append(f"{folder.name}: not enrolled, and counts as missed: {err}")
        return None


def _kind_of(name: str) -> tuple[Kind | None, str | None]:
    """Return kind and class word where the folder's name ends with a word for a person or an animal."""
    last = name.rstrip("0123456789_- ").replace("-", "_").replace(" ", "_").rpartition("_")[2].casefold()
    return (kind_of_word(last), last) if last in PEOPLE | ANIMALS else (None, None)


def folder_tables(measurement: Measurement) -> list[Table]:
    """Build the table of recall and false names, for the open-set heads and the paper's."""
    rounds = measurement["rounds"]
    pooled = {h: pool([read_outcome(r, h) for r in rounds]) for h in HEADS}
    recall = [measured_cell(pooled[h].overall_recall) for h in HEADS]
    false = [measured_cell(rate_per_1000(sum(pooled[h].wrong), len(pooled[h].wrong)), percent=False) for h in HEADS]
    counts = [str(sum(pooled[h].wrong)) for h in HEADS]
    review, with_review = with_suggestions(rounds)
    apart = sum(len(r["heads"]["open-set"]["apart"]) for r in rounds)
    concepts = sum(len(r["truth"]["concepts"]) for r in rounds)
    strangers = sum(not p for r in rounds for p in r["truth"]["present"])
    rows = [
        (text_cell("recall"), *recall),
        (text_cell("false names"), *map(text_cell, counts)),
        (text_cell("false names per 1,000 photos"), *false),
        (text_cell("photos with a maybe, per 1,000"), measured_cell(review, percent=False), text_cell("has no maybes")),
        (text_cell("recall, names and maybes"), measured_cell(with_review), text_cell("has no maybes")),
        make_row(("concepts that cannot be told from others", f"{apart} of {concepts}", "not known"), ()),
    ]
    calibrated = all(r["heads"]["open-set"]["calibrated"] for r in rounds)
    notes = [
        f"{concepts} concepts, 4 references each, in two rounds; {strangers} photos of others, who are not enrolled.",
        f"Thresholds: {'calibrated on all photos' if calibrated else 'the usual ones, for want of photos'}.",
    ]
    if measurement["drawn"]:
        notes.insert(0, "The storybook's encoder has seen drawings only: of photos these figures say little.")
    notes += [f"Left out: {n}." for n in measurement["left_out"]]
    title = f"Recognition on the photos of {rounds[0]['seed']}, recogniser {measurement['recogniser']}"
    return [Table("photos", title, ("figure", "open-set", "paper's heads"), tuple(rows), tuple(notes))]
