"""What recognition did in a library, against its truth: false names, recall, mix-ups, sets, boxes."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from engine.benchmarks.library_cases import CROWDS, Library, Shot
from engine.benchmarks.statistics import Figure, Z, mean, proportion
from engine.core.boxes import Box, iou
from engine.core.types import Kind
from engine.storybook.photos import DrawnPhoto

Said = Mapping[int, float | None]
"""Which concepts (places in the list) were named in a photo, each with its region's IoU with the truth; None where the
name is wrong or nobody knows the true box."""


@dataclass(frozen=True)
class Named:
    """A name that recognition gave in a photo, with the region that it is for."""

    name: str
    box: Box


@dataclass(frozen=True)
class Individual:
    """An enrolled concept. kind: "person", "pet" or "thing"; likeness, resembles: as in `library_cases.Enrolled`."""

    name: str
    kind: str
    likeness: str = ""
    resembles: int | None = None

    @property
    def group(self) -> str:
        """Those that are about equally hard: siblings, look-alikes of a kind, and all that resemble nobody."""
        if not self.likeness:
            return "nobody alike"
        return "siblings" if self.likeness == "sibling" else f"{self.likeness.replace('_', '-')} {self.kind}s"


@dataclass(frozen=True)
class LibraryTruth:
    """Who is enrolled, and which of them (places in that list) each photo shows, in the library's order."""

    concepts: tuple[Individual, ...]
    present: tuple[frozenset[int], ...]


@dataclass(frozen=True)
class LibraryOutcome:
    """What came of photos, observation by observation, so that libraries can be pooled. wrong: false names of each
    photo; found: by concept, whether each of its photos got its name; mixed: by concept that has a look-alike, whether
    each of its photos without that got the look-alike's name; sets: F1 of each photo's names, by how many it shows;
    overlaps: IoU of right names' regions with the truth.
    """

    wrong: tuple[int, ...]
    found: Mapping[int, tuple[bool, ...]]
    mixed: Mapping[int, tuple[bool, ...]]
    sets: Mapping[int, tuple[float, ...]]
    overlaps: tuple[float, ...]

    @property
    def recall(self) -> dict[int, Figure]:
        """Recall of every concept that some photo shows."""
        return {c: proportion(hits) for c, hits in self.found.items() if hits}

    @property
    def worst(self) -> int | None:
        """The concept that is recognised least, the first of equals; None when no photo shows any."""
        return min(self.recall, key=lambda c: (self.recall[c].value or 0.0, c), default=None)

    @property
    def wrong_per_1000(self) -> float:
        """False names in 1,000 photos."""
        return 1000 * sum(self.wrong) / max(1, len(self.wrong))


@dataclass(frozen=True)
class LibraryFigures:
    """false_names: photos with a wrong name (the share of photos; `wrong` counts names); recall: by concept and, under
    "all", together; mixed_up: by concept, the share of its photos in which its absent look-alike was named; sets: F1 of
    the named set by how many are in the photo; overlap: IoU of right names' regions with the truth.
    """

    photos: int
    wrong: int
    false_names: Figure
    recall: Mapping[str, Figure]
    mixed_up: Mapping[str, Figure]
    sets: Mapping[int, Figure]
    overlap: Figure

    @property
    def worst(self) -> float:
        """Recall of the concept that is recognised least."""
        return min(f.value for name, f in self.recall.items() if name != "all" and f.value is not None)

    @property
    def wrong_per_1000(self) -> float:
        """False names in 1,000 photos."""
        return 1000 * self.wrong / max(1, self.photos)


def measure_library(
    library: Library, drawn: Mapping[int, DrawnPhoto], named: Mapping[int, Sequence[Named]]
) -> LibraryFigures:
    """Figures of one library. drawn: each photo's boxes, by number; named: what was named in it (absent: nothing)."""
    truth, places = truth_of_library(library), {e.name: i for i, e in enumerate(library.enrolled)}
    said = []
    for shot in library.shots:
        true = true_boxes(library, shot, drawn[shot.number]) if shot.number in named else {}
        own = ((places[n.name], n.box) for n in named.get(shot.number, ()))
        said.append({c: overlap_of(box, true.get(c)) for c, box in own})
    found = outcome_of(truth, said)
    name_of = [c.name for c in truth.concepts]
    recall = {name: proportion(found.found[c]) for c, name in enumerate(name_of)}
    return LibraryFigures(
        photos=len(library.shots),
        wrong=sum(found.wrong),
        false_names=proportion([n > 0 for n in found.wrong]),
        recall={**recall, "all": proportion(list(chain.from_iterable(found.found.values())))},
        mixed_up={name_of[c]: proportion(hits) for c, hits in found.mixed.items()},
        sets={n: mean(own) for n, own in found.sets.items()},
        overlap=mean(found.overlaps),
    )


def truth_of_library(library: Library) -> LibraryTruth:
    """A drawn library's truth."""
    concepts = tuple(Individual(e.name, str(e.kind), e.likeness, e.resembles) for e in library.enrolled)
    return LibraryTruth(concepts, tuple(frozenset(i for i, _ in s.present) for s in library.shots))


def true_boxes(library: Library, shot: Shot, drawn: DrawnPhoto) -> dict[int, Box]:
    """Where each enrolled concept of a photo is: a person's face, the whole of an animal or thing."""
    found = {}
    for place, slot in shot.present:
        box = drawn.faces[slot] if library.enrolled[place].kind is Kind.PERSON else drawn.boxes[slot]
        if box is not None:
            found[place] = box
    return found


def overlap_of(box: Box, true: Box | None) -> float | None:
    """IoU with the truth, None without one."""
    return None if true is None else iou(box, true)


def outcome_of(truth: LibraryTruth, said: Sequence[Said]) -> LibraryOutcome:
    """Compare what was named in each photo, in the library's order, with the truth."""
    both = list(zip(truth.present, said, strict=True))
    alike = {c: who.resembles for c, who in enumerate(truth.concepts) if who.resembles is not None}
    return LibraryOutcome(
        wrong=tuple(len(own.keys() - present) for present, own in both),
        found={c: tuple(c in own for present, own in both if c in present) for c in range(len(truth.concepts))},
        mixed={
            c: tuple(o in own for present, own in both if c in present and o not in present) for c, o in alike.items()
        },
        sets={n: tuple(f1(own, present) for present, own in both if len(present) == n) for n in CROWDS},
        overlaps=tuple(v for present, own in both for c, v in own.items() if c in present and v is not None),
    )


def pool(outcomes: Iterable[LibraryOutcome]) -> LibraryOutcome:
    """Several libraries as one; concepts at the same place of their lists are taken together."""
    every = list(outcomes)

    def joined(parts: list[Mapping[int, tuple]]) -> dict[int, tuple]:
        return {k: tuple(v for p in parts for v in p.get(k, ())) for k in sorted({k for p in parts for k in p})}

    return LibraryOutcome(
        tuple(n for o in every for n in o.wrong),
        joined([o.found for o in every]),
        joined([o.mixed for o in every]),
        joined([o.sets for o in every]),
        tuple(v for o in every for v in o.overlaps),
    )


def f1(said: Iterable[object], present: Iterable[object]) -> float:
    """2·|both| / (|said| + |present|), 1.0 when both are empty."""
    a, b = set(said), set(present)
    return 2 * len(a & b) / (len(a) + len(b)) if a or b else 1.0


def rate_per_1000(count: int, photos: int) -> Figure:
    """Events in 1,000 photos with Byar's approximation of the exact Poisson interval (Breslow and Day 1987, §2.3)."""
    if not photos:
        return Figure(None, 0, None, None)

    def limit(k: int, z: float) -> float:
        return k * (1 - 1 / (9 * k) + z / (3 * math.sqrt(k))) ** 3 if k else 0.0

    low, high = max(0.0, limit(count, -Z)), limit(count + 1, Z)
    return Figure(round(1000 * count / photos, 3), photos, *(round(1000 * v / photos, 3) for v in (low, high)))
