"""Describe the cases of the paper's protocol: a concept's few training photos, and photos to test it with."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.core.boxes import Box
from engine.core.errors import UsageError
from engine.core.files import read_bytes, sha256_of
from engine.core.types import Kind
from engine.photos.photo_file import LARGEST_FILE

CONCEPT = "<concept>"
"""Placeholder for the concept in captions; an identifier, a name or a class word replaces it."""
TRAINING_PHOTOS = 4


@dataclass(frozen=True)
class Truth:
    """What a validation photo shows. Fields after `references` are set for drawn photos only.

    references: ground-truth captions with `<concept>` in them; empty for strangers. place: the phrase of the place;
    held: the objects in it; others: (category, colour) of each other character; frame: box of the concept, face: box of
    its face, both xyxy pixels; questions: (question, answer) pairs about `<concept>`.
    """

    id: str
    split: str
    references: tuple[str, ...] = ()
    place: str | None = None
    held: tuple[str, ...] = ()
    others: tuple[tuple[str, str], ...] = ()
    frame: tuple[float, float, float, float] | None = None
    face: tuple[float, float, float, float] | None = None
    questions: tuple[tuple[str, str], ...] = ()

    def document(self) -> dict[str, Any]:
        """Return the truth as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Item:
    """A photo to test with, and its ground truth."""

    path: Path
    truth: Truth


@dataclass(frozen=True)
class Case:
    """One concept of one seed: photos to learn from, and photos to test with.

    kind: None lets the recogniser decide; captions: by the training photo's file name, each with `<concept>`; keywords:
    the three words of the keyword baseline (paper §5); context: (sort, word) of what the training photos show beside
    the concept, the sort being `place`, `object` or `companion`.

    Raises:
        UsageError: a photo to test with is one of the training photos, by path or by content.
    """

    name: str
    kind: Kind | None
    category: str
    keywords: tuple[str, ...]
    training: tuple[Path, ...]
    captions: Mapping[str, tuple[str, ...]]
    validation: tuple[Item, ...]
    strangers: tuple[Item, ...] = ()
    context: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        check_split(self.name, self.training, [i.path for i in (*self.validation, *self.strangers)])


def hash_contents(case: Case) -> frozenset[str]:
    """Return the SHA-256 of each photo that shows the case's concept, so that copies under other names are found."""
    return frozenset(
        sha256_of(read_bytes(p, LARGEST_FILE)) for p in (*case.training, *(i.path for i in case.validation))
    )


def check_split(name: str, training: Sequence[Path], validation: Sequence[Path]) -> None:
    """Check that no photo to test with is a training photo.

    Raises:
        UsageError: one is, under the same path or as a copy.
    """
    paths = {p.resolve() for p in training}
    contents = {sha256_of(read_bytes(p, LARGEST_FILE)) for p in training}
    for path in validation:
        if path.resolve() in paths or sha256_of(read_bytes(path, LARGEST_FILE)) in contents:
            raise UsageError(
                f"{path} would be both learned from and tested with, for {name!r}",
                hint="Take copies of a photo out of the folder.",
            )


def to_box(corners: Sequence[float]) -> Box:
    """Make a box of its corners x0, y0, x1, y1."""
    return Box(*corners)


def read_truth(document: dict[str, Any]) -> Truth:
    """Read a truth from plain data."""
    values = dict(document)
    for key in ("references", "held"):
        values[key] = tuple(document[key])
    for key in ("others", "questions"):
        values[key] = tuple(tuple(pair) for pair in document[key])
    for key in ("frame", "face"):
        values[key] = tuple(document[key]) if document[key] else None
    return Truth(**values)
