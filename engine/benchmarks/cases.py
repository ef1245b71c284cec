"""What the paper's protocol works on: a concept's few training photos, and photos that nothing of it has seen."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.core.boxes import Box
from engine.core.errors import UsageError
from engine.core.files import read_bytes, sha256_of
from engine.core.types import Kind
from engine.photos.photo_file import LARGEST_FILE

CONCEPT = "<concept>"
"""Stands for the concept's name in captions, until an identifier or a class word takes its place."""
TRAINING_PHOTOS = 4


@dataclass(frozen=True)
class Truth:
    """What a validation photo shows. Everything after `references` is known of drawn photos only.

    references: ground-truth captions with `<concept>` in them; empty for strangers. place: the phrase of the
    place; held: the objects in it; others: (category, colour) of everybody else; frame: where the concept is,
    face: where its face is, both xyxy pixels; questions: (question, answer) pairs about `<concept>`.
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
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Item:
    """A photo to test with, and what it shows."""

    path: Path
    truth: Truth


@dataclass(frozen=True)
class Case:
    """One concept of one seed: what it is learned from, and what it is tested with.

    kind None leaves it to the recogniser; captions: by training photo's file name, each with `<concept>`;
    keywords: the three words of the simple baseline (paper §5); context: words that the training photos'
    captions hold beside the concept, by sort (`place`, `object`, `companion`).

    Raises:
        UsageError: a validation photo is one of the training photos, by path or by content.
    """

    name: str
    kind: Kind | None
    category: str
    keywords: tuple[str, ...]
    training: tuple[Path, ...]
    captions: dict[str, tuple[str, ...]]
    validation: tuple[Item, ...]
    strangers: tuple[Item, ...] = ()
    context: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        check_split(self.name, self.training, [i.path for i in (*self.validation, *self.strangers)])


def contents_of(case: Case) -> frozenset[str]:
    """Content hashes of a case's own photos: what shows the concept, under whatever name it lies elsewhere."""
    return frozenset(
        sha256_of(read_bytes(p, LARGEST_FILE)) for p in (*case.training, *(i.path for i in case.validation))
    )


def check_split(name: str, training: Sequence[Path], validation: Sequence[Path]) -> None:
    """Make sure that no validation photo is among the training photos.

    Raises:
        UsageError: one is, under this path or as a copy.
    """
    paths = {p.resolve() for p in training}
    contents = {sha256_of(read_bytes(p, LARGEST_FILE)) for p in training}
    for path in validation:
        if path.resolve() in paths or sha256_of(read_bytes(path, LARGEST_FILE)) in contents:
            raise UsageError(
                f"{path} would be both learned from and tested with, for {name!r}",
                hint="Take copies of a photo out of the folder.",
            )


def box_of(corners: Sequence[float]) -> Box:
    """A box from its corners."""
    return Box(*corners)


def truth_of(document: dict[str, Any]) -> Truth:
    """A truth from plain data."""
    pairs = {k: tuple(tuple(v) for v in document[k]) for k in ("others", "questions")}
    corners = {k: tuple(document[k]) if document[k] else None for k in ("frame", "face")}
    texts = {k: tuple(document[k]) for k in ("references", "held")}
    return Truth(document["id"], document["split"], place=document["place"], **texts, **pairs, **corners)  # type: ignore[arg-type]
