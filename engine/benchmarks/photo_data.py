"""Read photos for the benchmark of recognition: ROOT/CONCEPT/*.jpg, and strangers' photos from other folders.

What a folder shows is said by its class word: that of ROOT/concepts.json (see `folder_cases`), of
ROOT/prompts_and_classes.txt (lines `folder,class`, as in the DreamBooth data set), or the last word of its name
without digits.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from engine.benchmarks.folder_cases import last_word, read_facts, without_number
from engine.core.class_words import ANIMALS, PEOPLE, kind_of_word
from engine.core.errors import UsageError
from engine.core.files import LARGEST_DOCUMENT, read_text, sha256_of
from engine.core.types import Kind
from engine.photos.discovery import iter_photos
from engine.recognition.scan import scan
from engine.session import Session

CLASSES = "prompts_and_classes.txt"
MOST_PAIRS = 10
"""Pairs of look-alikes that are found by name, at most: each is enrolled three times for each draw of references."""
_LAYOUT = "Layout: ROOT/<concept>/*.jpg."


@dataclass(frozen=True)
class PhotoRequest:
    """What to measure.

    root: holds a folder of photos for each concept; references: numbers of reference photos, rising; seeds: each draws
    other reference photos; strangers: folders with photos of none of the concepts, searched with their subfolders;
    look_alikes: pairs of folders, None for those whose names differ only by a number; only: the folders to enrol, ()
    for all, half of them at a time; exclude: folders that are not used at all.
    """

    root: Path
    references: tuple[int, ...] = (1, 2, 3, 5)
    seeds: tuple[int, ...] = (0, 1, 2)
    strangers: tuple[Path, ...] = ()
    look_alikes: tuple[tuple[str, str], ...] | None = None
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @property
    def usual_count(self) -> int:
        """The number of references of figures that are measured for one number only: 3, or the nearest to it."""
        return min(self.references, key=lambda n: (abs(n - 3), n))


@dataclass(frozen=True)
class ScannedPhoto:
    """A scanned photo. label: folder and file name; word: class word of what it shows, "" where it is not known."""

    path: Path
    content_hash: str
    label: str
    word: str


@dataclass(frozen=True)
class PhotoFolder:
    """A concept's folder with its class word, and its photos in order of their names.

    kind: that of concepts.json or of a class word that is known; None where only the photos can tell. given_kind,
    given_category: what concepts.json says, which is given to the enrolment; None otherwise.
    """

    path: Path
    word: str
    kind: Kind | None
    given_kind: Kind | None = None
    given_category: str | None = None
    photos: tuple[ScannedPhoto, ...] = ()

    @property
    def name(self) -> str:
        """The concept's name."""
        return self.path.name

    def draw(self, count: int, seed: int) -> tuple[list[ScannedPhoto], list[ScannedPhoto]]:
        """Draw reference photos by a seed; return them and the test photos. More references include fewer ones."""
        own = int(sha256_of(self.name.encode())[:8], 16)
        order = [self.photos[i] for i in np.random.default_rng((seed, own)).permutation(len(self.photos))]
        return order[:count], order[count:]


@dataclass(frozen=True)
class PhotoData:
    """The folders of the concepts and the strangers' photos; left_out: what could not be used, and why."""

    folders: tuple[PhotoFolder, ...]
    strangers: tuple[ScannedPhoto, ...]
    left_out: tuple[str, ...]

    @property
    def photos(self) -> list[ScannedPhoto]:
        """All photos."""
        return [p for f in self.folders for p in f.photos] + list(self.strangers)


def read_folders(request: PhotoRequest) -> tuple[PhotoFolder, ...]:
    """Return the concepts' folders in order of their names, without photos and without those that are excluded.

    Raises:
        UsageError: a folder is missing, or a file that describes the concepts cannot be understood.
    """
    for folder in (request.root, *request.strangers):
        if not folder.is_dir():
            raise UsageError(f"{folder} is not a folder", hint=_LAYOUT)
    paths = sorted(p for p in request.root.iterdir() if p.is_dir() and not p.name.startswith("."))
    _check_names(request, [p.name for p in paths])
    classes, facts = _read_classes(request.root), read_facts(request.root / "concepts.json")
    kept = [p for p in paths if p.name not in request.exclude]
    return tuple(_describe(p, classes.get(p.name), facts.get(p.name, {})) for p in kept)


def _check_names(request: PhotoRequest, names: Sequence[str]) -> None:
    pairs = [name for pair in request.look_alikes or () for name in pair]
    given = {"--only-concepts": request.only, "--exclude-concepts": request.exclude, "--look-alikes": pairs}
    for option, wanted in given.items():
        unknown = [n for n in wanted if n not in names]
        if unknown:
            raise UsageError(
                f"{option}: {request.root} has no folder {unknown[0]!r}", hint=f"Folders: {', '.join(names)}."
            )
    both = sorted(set(request.exclude) & {*request.only, *pairs})
    if both:
        raise UsageError(f"{both[0]!r} is excluded and asked for", hint="Leave out one of them.")


def _read_classes(root: Path) -> dict[str, str]:
    """Read the class of each folder from a file of the DreamBooth data set, where there is one."""
    path = root / CLASSES
    if not path.is_file():
        return {}
    try:
        text = read_text(path, LARGEST_DOCUMENT)
    except (OSError, ValueError) as err:
        raise UsageError(f"{path} cannot be read: {err}", hint="Form: a line `folder,class` for each folder.") from err
    rows = re.findall(r"^([^,'\"\n]+),([^,'\"\n]+)$", text, re.MULTILINE)
    return {name.strip(): word.strip().casefold() for name, word in rows}


def _describe(path: Path, listed: str | None, facts: dict[str, str]) -> PhotoFolder:
    word = (facts.get("category") or listed or last_word(path.name)).casefold()
    kind = Kind(facts["kind"]) if "kind" in facts else None
    by_word = kind_of_word(word) if listed or facts.get("category") or word in PEOPLE | ANIMALS else None
    shown = kind or by_word
    return PhotoFolder(path, str(Kind.PERSON) if shown is Kind.PERSON else word, shown, kind, facts.get("category"))


def scan_photos(session: Session, request: PhotoRequest, folders: Iterable[PhotoFolder]) -> PhotoData:
    """Scan the photos of all folders.

    Of copies in one folder one is used, and none that is in the folders of two concepts. A stranger's photo that is
    also in a concept's folder is not used as a stranger's.
    """
    left_out: list[str] = []
    scanned = [_scan_folder(session, f, left_out) for f in folders]
    owners: dict[str, set[str]] = {}
    for folder in scanned:
        for photo in folder.photos:
            owners.setdefault(photo.content_hash, set()).add(folder.name)
    kept = []
    for folder in scanned:
        shared = [p for p in folder.photos if len(owners[p.content_hash]) > 1]
        left_out += [f"{p.label}: {' and '.join(sorted(owners[p.content_hash]))} have the same photo" for p in shared]
        kept.append(replace(folder, photos=tuple(p for p in folder.photos if p not in shared)))
    strangers = _scan_strangers(session, request.strangers, set(owners), left_out)
    return PhotoData(tuple(kept), tuple(strangers), tuple(left_out))


def _scan_folder(session: Session, folder: PhotoFolder, left_out: list[str]) -> PhotoFolder:
    paths = sorted(p for p in iter_photos([folder.path]) if p.parent == folder.path)
    labels = {p: f"{folder.name}/{p.name}" for p in paths}
    return replace(folder, photos=tuple(_scan(session, labels, set(), left_out, folder.word)))


def _scan_strangers(
    session: Session, folders: Iterable[Path], known: set[str], left_out: list[str]
) -> list[ScannedPhoto]:
    photos = []
    for folder in folders:
        labels = {p: f"{folder.name}/{p.relative_to(folder).as_posix()}" for p in sorted(iter_photos([folder]))}
        photos += _scan(session, labels, known, left_out)
    return photos


def _scan(
    session: Session, labels: dict[Path, str], known: set[str], left_out: list[str], word: str | None = None
) -> list[ScannedPhoto]:
    """Scan photos; those with known contents are left out, and the others become known.

    word: the photos' class word, None for that of the folder that each is in.
    """
    photos = []
    for result in scan(session, labels):
        label = labels[result.path]
        if result.content_hash is None:
            left_out.append(f"{label}: {result.reason}".replace(f"{result.path}: ", ""))
        elif result.content_hash in known:
            left_out.append(f"{label}: the same photo is there twice")
        else:
            known.add(result.content_hash)
            own = last_word(result.path.parent.name) if word is None else word
            photos.append(ScannedPhoto(result.path, result.content_hash, label, own))
    return photos


def find_look_alikes(
    request: PhotoRequest, folders: Sequence[PhotoFolder]
) -> tuple[list[tuple[PhotoFolder, PhotoFolder]], int]:
    """Return the pairs of look-alikes to measure, and how many more there are by their names.

    Without given pairs, folders whose names differ only by a number are look-alikes; of many pairs the first are taken.
    """
    by_name = {f.name: f for f in folders}
    if request.look_alikes is not None:
        return [(by_name[a], by_name[b]) for a, b in request.look_alikes], 0
    chosen = [f for f in folders if not request.only or f.name in request.only]
    pairs = [(a, b) for a, b in combinations(chosen, 2) if without_number(a.name) == without_number(b.name) != ""]
    return pairs[:MOST_PAIRS], len(pairs[MOST_PAIRS:])
