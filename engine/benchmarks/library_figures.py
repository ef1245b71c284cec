"""Compare recognition in a library with its truth: false names, recall, mix-ups, sets of names, boxes."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from engine.benchmarks.library_cases import CONCEPT_COUNTS, Library, Shot
from engine.benchmarks.statistics import NOT_ESTIMATED, Estimate, Z, f1, mean, proportion
from engine.core.boxes import Box, iou
from engine.core.types import Kind
from engine.storybook.photos import DrawnPhoto

NamedConcepts = Mapping[int, float | None]
"""Concepts (indices) named in a photo, with the IoU of each region with the true box; None without a true box."""


@dataclass(frozen=True)
class NamedRegion:
    """A name that recognition gave in a photo, with its region."""

    name: str
    box: Box


@dataclass(frozen=True)
class EnrolledTruth:
    """An enrolled concept.

    kind: "person", "pet" or "thing"; likeness, resembles: as in `library_cases.EnrolledIndividual`.
    """

    name: str
    kind: str
    likeness: str = ""
    resembles: int | None = None

    @property
    def group(self) -> str:
        """The group of concepts that are about equally hard: siblings, look-alikes of a kind, or all others."""
        if not self.likeness:
            return "nobody alike"
        return "siblings" if self.likeness == "sibling" else f"{self.likeness.replace('_', '-')} {self.kind}s"


@dataclass(frozen=True)
class LibraryTruth:
    """The enrolled concepts, and which of them (indices) each photo shows, in the library's order."""

    concepts: tuple[EnrolledTruth, ...]
    present: tuple[frozenset[int], ...]


@dataclass(frozen=True)
class LibraryOutcome:
    """The results of recognition, observation by observation, so that libraries can be pooled.

    wrong: number of false names in each photo; recalled: by concept, whether each of its photos got its name; mixed: by
    concept with a look-alike, whether each of its photos without the look-alike got the look-alike's name; sets: F1 of
    each photo's names, by the number of concepts that it shows; overlaps: IoU of correctly named regions with the true
    boxes.
    """

    wrong: tuple[int, ...]
    recalled: Mapping[int, tuple[bool, ...]]
    mixed: Mapping[int, tuple[bool, ...]]
    sets: Mapping[int, tuple[float, ...]]
    overlaps: tuple[float, ...]

    @property
    def recall(self) -> dict[int, Estimate]:
        """Recall of each concept that some photo shows."""
        return {c: proportion(hits) for c, hits in self.recalled.items() if hits}

    @property
    def overall_recall(self) -> Estimate:
        """Recall over all concepts and photos."""
        return proportion(list(chain.from_iterable(self.recalled.values())))

    @property
    def worst(self) -> int | None:
        """The concept with the lowest recall, the first of equals; None when no photo shows any."""
        return min(self.recall, key=lambda c: (self.recall[c].value or 0.0, c), default=None)

    @property
    def wrong_per_1000(self) -> float:
        """False names in 1,000 photos."""
        return 1000 * sum(self.wrong) / max(1, len(self.wrong))


@dataclass(frozen=True)
class LibraryFigures:
    """Estimates for one library.

    wrong: number of false names; false_names: share of photos with a false name; recall: by concept and, under "all",
    together; mixed_up: by concept, the share of its photos in which its absent look-alike was named; sets: F1 of the
    names, by the number of concepts in the photo; overlap: IoU of correctly named regions with the truth.
    """

    photos: int
    wrong: int
    false_names: Estimate
    recall: Mapping[str, Estimate]
    mixed_up: Mapping[str, Estimate]
    sets: Mapping[int, Estimate]
    overlap: Estimate

    @property
    def worst(self) -> float:
        """The lowest recall of a concept."""
        return min(f.value for name, f in self.recall.items() if name != "all" and f.value is not None)

    @property
    def wrong_per_1000(self) -> float:
        """False names in 1,000 photos."""
        return 1000 * self.wrong / max(1, self.photos)


def measure_library(
    library: Library, drawn: Mapping[int, DrawnPhoto], named: Mapping[int, Sequence[NamedRegion]]
) -> LibraryFigures:
    """Measure one library. drawn: each photo's boxes; named: names in each photo, both by the photo's number."""
    truth, indices = truth_of_library(library), {e.name: i for i, e in enumerate(library.enrolled)}
    overlaps = []
    for shot in library.shots:
        boxes = true_boxes(library, shot, drawn[shot.number]) if shot.number in named else {}
        regions = ((indices[n.name], n.box) for n in named.get(shot.number, ()))
        overlaps.append({c: overlap_of(box, boxes.get(c)) for c, box in regions})
    outcome = compare_with_truth(truth, overlaps)
    name_of = [c.name for c in truth.concepts]
    recall = {name: proportion(outcome.recalled[c]) for c, name in enumerate(name_of)}
    return LibraryFigures(
        photos=len(library.shots),
        wrong=sum(outcome.wrong),
        false_names=proportion([n > 0 for n in outcome.wrong]),
        recall={**recall, "all": outcome.overall_recall},
        mixed_up={name_of[c]: proportion(hits) for c, hits in outcome.mixed.items()},
        sets={n: mean(scores) for n, scores in outcome.sets.items()},
        overlap=mean(outcome.overlaps),
    )


def truth_of_library(library: Library) -> LibraryTruth:
    """Return the truth of a drawn library."""
    concepts = tuple(EnrolledTruth(e.name, str(e.kind), e.likeness, e.resembles) for e in library.enrolled)
    return LibraryTruth(concepts, tuple(frozenset(i for i, _ in s.present) for s in library.shots))


def true_boxes(library: Library, shot: Shot, drawn: DrawnPhoto) -> dict[int, Box]:
    """Return the box of each enrolled concept of a photo: of a person the face, else the whole animal or thing."""
    boxes = {}
    for concept, character in shot.present:
        is_person = library.enrolled[concept].kind is Kind.PERSON
        box = drawn.faces[character] if is_person else drawn.boxes[character]
        if box is not None:
            boxes[concept] = box
    return boxes


def overlap_of(box: Box, true: Box | None) -> float | None:
    """Compute the IoU with the true box, None without one."""
    return None if true is None else iou(box, true)


def compare_with_truth(truth: LibraryTruth, named: Sequence[NamedConcepts]) -> LibraryOutcome:
    """Compare the names in each photo, in the library's order, with the truth."""
    photos = list(zip(truth.present, named, strict=True))
    lookalikes = {c: who.resembles for c, who in enumerate(truth.concepts) if who.resembles is not None}
    return LibraryOutcome(
        wrong=tuple(len(names.keys() - present) for present, names in photos),
        recalled={
            c: tuple(c in names for present, names in photos if c in present) for c in range(len(truth.concepts))
        },
        mixed={
            c: tuple(other in names for present, names in photos if c in present and other not in present)
            for c, other in lookalikes.items()
        },
        sets={n: tuple(f1(names, present) for present, names in photos if len(present) == n) for n in CONCEPT_COUNTS},
        overlaps=tuple(v for present, names in photos for c, v in names.items() if c in present and v is not None),
    )


def pool(outcomes: Iterable[LibraryOutcome]) -> LibraryOutcome:
    """Pool several libraries; concepts with the same index are taken together."""
    libraries = list(outcomes)
    return LibraryOutcome(
        tuple(n for o in libraries for n in o.wrong),
        _join([o.recalled for o in libraries]),
        _join([o.mixed for o in libraries]),
        _join([o.sets for o in libraries]),
        tuple(v for o in libraries for v in o.overlaps),
    )


_Value = TypeVar("_Value")


def _join(parts: Sequence[Mapping[int, tuple[_Value, ...]]]) -> dict[int, tuple[_Value, ...]]:
    return {k: tuple(v for p in parts for v in p.get(k, ())) for k in sorted({k for p in parts for k in p})}


def rate_per_1000(count: int, photos: int) -> Estimate:
    """Estimate the number of events per 1,000 photos.

    The interval is Byar's approximation of the exact Poisson interval (Breslow and Day 1987, §2.3).
    """
    if not photos:
        return NOT_ESTIMATED

    def limit(k: int, z: float) -> float:
        return k * (1 - 1 / (9 * k) + z / (3 * math.sqrt(k))) ** 3 if k else 0.0

    low, high = max(0.0, limit(count, -Z)), limit(count + 1, Z)
    return Estimate(round(1000 * count / photos, 3), photos, *(round(1000 * v / photos, 3) for v in (low, high)))
