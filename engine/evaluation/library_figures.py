"""What recognition did in a drawn library, against its truth: false names, recall, mix-ups, sets, boxes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.boxes import Box, iou
from engine.evaluation.library_cases import CROWDS, Library, Shot
from engine.evaluation.statistics import Figure, mean, proportion
from engine.storybook.photos import DrawnPhoto
from engine.types import Kind


@dataclass(frozen=True)
class Named:
    """A name that recognition gave in a photo, with the region that it is for."""

    name: str
    box: Box


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
    said = {s.number: {n.name for n in named.get(s.number, ())} for s in library.shots}
    truth = {s.number: {library.enrolled[i].name for i, _ in s.present} for s in library.shots}
    wrong = {k: len(said[k] - truth[k]) for k in said}
    recall = {
        e.name: proportion([e.name in said[k] for k, own in truth.items() if e.name in own]) for e in library.enrolled
    }
    recall["all"] = proportion([name in said[k] for k, own in truth.items() for name in sorted(own)])
    f1 = {k: _f1(said[k], truth[k]) for k in said}
    return LibraryFigures(
        photos=len(library.shots),
        wrong=sum(wrong.values()),
        false_names=proportion([n > 0 for n in wrong.values()]),
        recall=recall,
        mixed_up=_mixed_up(library, said, truth),
        sets={n: mean([f1[k] for k, own in truth.items() if len(own) == n]) for n in CROWDS},
        overlap=mean([v for s in library.shots for v in _overlaps(library, s, drawn, named.get(s.number, ()))]),
    )


def _mixed_up(library: Library, said: Mapping[int, set[str]], truth: Mapping[int, set[str]]) -> dict[str, Figure]:
    found = {}
    for e in library.enrolled:
        if e.resembles is not None:
            other = library.enrolled[e.resembles].name
            found[e.name] = proportion(
                [other in said[k] for k, own in truth.items() if e.name in own and other not in own]
            )
    return found


def _overlaps(library: Library, shot: Shot, drawn: Mapping[int, DrawnPhoto], named: Sequence[Named]) -> list[float]:
    found = []
    for place, slot in shot.present:
        e = library.enrolled[place]
        photo = drawn[shot.number]
        true = photo.faces[slot] if e.kind is Kind.PERSON else photo.boxes[slot]
        found += [iou(n.box, true) for n in named if n.name == e.name and true is not None]
    return found


def _f1(said: set[str], present: set[str]) -> float:
    """2·|both| / (|said| + |present|), 1.0 when both are empty."""
    return 2 * len(said & present) / (len(said) + len(present)) if said or present else 1.0
