"""Recognition on a user's own photos, ROOT/CONCEPT/*.jpg: half of the concepts are enrolled, the others are strangers.

Two rounds are measured: every second folder is enrolled in one, the rest in the other. Of an enrolled folder the first
four photos are references, and the others are looked for; the photos of all other folders show nobody.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from engine.benchmarks.cases import TRAINING_PHOTOS
from engine.benchmarks.experiments import Part
from engine.benchmarks.figures import Table, measured, row, said
from engine.benchmarks.library_figures import Individual, LibraryTruth, pool, rate_per_1000
from engine.benchmarks.recognition_library import Tell, with_paper_heads
from engine.benchmarks.recognition_measure import measure_said, outcome_of_part, truth_document
from engine.benchmarks.recognition_table import HEADS, with_maybes
from engine.benchmarks.statistics import proportion
from engine.concepts.enrol import enrol
from engine.core.class_words import ANIMALS, PEOPLE, kind_of_word
from engine.core.errors import NoUsablePhotoError, UsageError
from engine.core.paths import STORYBOOK
from engine.core.types import Kind
from engine.photos.discovery import FoundFile, iter_photos
from engine.recognition.calibrate import calibrate
from engine.recognition.scan import scan
from engine.session import Session, SessionOptions


@dataclass(frozen=True)
class _Folder:
    """A concept's photos, with their content hashes, by name."""

    name: str
    photos: tuple[tuple[Path, str], ...]

    @property
    def has_tests(self) -> bool:
        return len(self.photos) > TRAINING_PHOTOS


def measure_folder(root: Path, choices: SessionOptions, tell: Tell) -> Part:
    """Measure both rounds; "rounds" are parts as those of drawn libraries, "left_out" says what could not be used.

    Raises:
        UsageError: the folder is none, or has fewer than two concepts with more than four photos.
        WeightsMissingError: of the recogniser.
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
            tell(f"{root.name}: round {turn + 1} of 2 measured")
        config = scanner.recogniser_config
        source = Path(config.encoder.removeprefix("local-dir:"))
        drawn = source.is_relative_to(STORYBOOK)
        name = config.name if source.is_absolute() else f"{config.name} ({config.encoder})"
        return {"recogniser": name, "drawn": drawn, "rounds": rounds, "left_out": left_out}


def _scan(session: Session, root: Path, left_out: list[str]) -> list[_Folder]:
    """All folders' photos, each content once."""
    seen: set[str] = set()
    folders = []
    for folder in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")):
        own = []
        for result in scan(session, sorted(p for p in iter_photos([folder]) if p.parent == folder)):
            if result.content_hash is None:
                left_out.append(f"{folder.name}/{result.path.name}: {result.reason}".replace(f"{result.path}: ", ""))
            elif result.content_hash in seen:
                left_out.append(f"{folder.name}/{result.path.name}: the same photo is there twice")
            else:
                seen.add(result.content_hash)
                own.append((result.path, result.content_hash))
        folders.append(_Folder(folder.name, tuple(own)))
    return folders


def _measure_round(
    session: Session, root: Path, folders: Sequence[_Folder], enrolled: Sequence[_Folder], left_out: list[str]
) -> Part:
    concepts = []
    for folder in enrolled:
        kind, category = _kind_of(folder.name)
        references = [p for p, _ in folder.photos[:TRAINING_PHOTOS]]
        try:
            concepts.append(enrol(session, folder.name, references, kind=kind, category=category).concept)
        except NoUsablePhotoError as err:
            left_out.append(f"{folder.name}: not enrolled, and counts as missed: {err}")
            concepts.append(None)
    place = {f.name: i for i, f in enumerate(enrolled)}
    tested = [(f, p) for f in folders for p in f.photos[TRAINING_PHOTOS if f.name in place else 0 :]]
    kinds = [str(c.kind) if c is not None else "" for c in concepts]
    truth = LibraryTruth(
        tuple(Individual(f.name, kind) for f, kind in zip(enrolled, kinds, strict=True)),
        tuple(frozenset({place[f.name]} if f.name in place else ()) for f, _ in tested),
    )
    everything = [FoundFile(p, "photo") for f in folders for p, _ in f.photos]
    calibrate(session, everything, root.absolute())
    contents, boxes = [content for _, (_, content) in tested], [{} for _ in tested]
    sessions = {"open-set": session, "paper": with_paper_heads(session)}
    heads = {k: measure_said(s, concepts, truth, contents, boxes, root.absolute()) for k, s in sessions.items()}
    return {"seed": root.name, "truth": truth_document(truth), "heads": heads}


def _kind_of(name: str) -> tuple[Kind | None, str | None]:
    """Kind and class word, where the folder's name ends with a word for a person or an animal; else by the photos."""
    last = name.rstrip("0123456789_- ").replace("-", "_").replace(" ", "_").rpartition("_")[2].casefold()
    return (kind_of_word(last), last) if last in PEOPLE | ANIMALS else (None, None)


def folder_tables(part: Part) -> list[Table]:
    """Recall and false names, the paper's heads beside them."""
    rounds = part["rounds"]
    pooled = {h: pool([outcome_of_part(r, h) for r in rounds]) for h in HEADS}
    recall = [measured(proportion(list(chain.from_iterable(pooled[h].found.values())))) for h in HEADS]
    false = [measured(rate_per_1000(sum(pooled[h].wrong), len(pooled[h].wrong)), percent=False) for h in HEADS]
    counts = [str(sum(pooled[h].wrong)) for h in HEADS]
    review, with_review = with_maybes(rounds)
    apart = sum(len(r["heads"]["open-set"]["apart"]) for r in rounds)
    concepts = sum(len(r["truth"]["concepts"]) for r in rounds)
    strangers = sum(not p for r in rounds for p in r["truth"]["present"])
    rows = [
        (said("recall"), *recall),
        (said("false names"), *map(said, counts)),
        (said("false names per 1,000 photos"), *false),
        (said("photos with a maybe, per 1,000"), measured(review, percent=False), said("has no maybes")),
        (said("recall, names and maybes"), measured(with_review), said("has no maybes")),
        row(("concepts that cannot be told from others", f"{apart} of {concepts}", "not known"), ()),
    ]
    calibrated = all(r["heads"]["open-set"]["calibrated"] for r in rounds)
    notes = [
        f"{concepts} concepts, 4 references each, in two rounds; {strangers} photos of others, who are not enrolled.",
        f"Thresholds: {'calibrated on all photos' if calibrated else 'the usual ones, for want of photos'}.",
    ]
    if part["drawn"]:
        notes.insert(0, "The storybook's encoder has seen drawings only: of photos these figures say little.")
    notes += [f"Left out: {n}." for n in part["left_out"]]
    title = f"Recognition on the photos of {rounds[0]['seed']}, recogniser {part['recogniser']}"
    return [Table("photos", title, ("figure", "open-set", "paper's heads"), tuple(rows), tuple(notes))]
