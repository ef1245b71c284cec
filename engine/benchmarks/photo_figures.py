"""Count what recognition said about a user's photos: recall, wrong names, mix-ups. Pure functions of the outcomes."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from engine.benchmarks.curves import Curve, make_curve
from engine.benchmarks.statistics import Estimate, repeated_proportion


class ThresholdSort(StrEnum):
    """What thresholds are from; the values are those of the tables and of the JSON document."""

    PRIOR = "not calibrated"
    CALIBRATED = "calibrated"
    PAPER = "paper's heads"


@dataclass(frozen=True)
class RoundConcept:
    """A concept that was to be enrolled in a round.

    kind: "person", "pet" or "thing"; enrolled_as: the kind that it was enrolled as, "" if it could not be enrolled.
    """

    name: str
    kind: str
    enrolled_as: str


@dataclass(frozen=True)
class ShownPhoto:
    """A photo and what recognition said about it; concepts are given by their positions in the round.

    photo: folder and file name; folder: the folder's name; concept: the enrolled concept that it shows, None for a
    stranger's photo; names, maybes: the concepts that were named and suggested; alike: whether it is a stranger's and
    shows something of the category of an enrolled concept; margins: how far the scores of the concepts that are named,
    or would be at lower thresholds, are above their name thresholds, in log-odds.
    """

    photo: str
    folder: str
    concept: int | None
    names: frozenset[int]
    maybes: frozenset[int] = frozenset()
    alike: bool = False
    margins: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Round:
    """Some concepts, enrolled with so many reference photos each that a seed drew, and the photos that were shown."""

    recogniser: str
    references: int
    seed: int
    thresholds: ThresholdSort
    concepts: tuple[RoundConcept, ...]
    photos: tuple[ShownPhoto, ...]

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of its concepts."""
        return frozenset(c.kind for c in self.concepts)

    def is_kind(self, concept: int | None, kind: str | None) -> bool:
        """Return whether a concept is of a kind; every concept is of kind None."""
        return concept is not None and kind in (None, self.concepts[concept].kind)

    def named(self, photo: ShownPhoto) -> list[str]:
        """Return the names that a photo got, sorted."""
        return sorted(self.concepts[c].name for c in photo.names)


@dataclass(frozen=True)
class PhotoFigures:
    """Estimates over some rounds.

    recall: the share of test photos of enrolled concepts that got the name; recall_with_maybes: a name or a maybe;
    mix_ups: the share that got another enrolled concept's name; wrong_names, wrong_maybes: the shares of strangers'
    photos that got any name, and any maybe. names, looks: the wrong names in strangers' photos, and how often these
    were looked at.
    """

    recall: Estimate
    recall_with_maybes: Estimate
    mix_ups: Estimate
    wrong_names: Estimate
    wrong_maybes: Estimate
    names: int
    looks: int


def count_figures(rounds: Sequence[Round], *, kind: str | None = None, alike: bool = False) -> PhotoFigures:
    """Estimate the figures of some rounds.

    kind: only of concepts of this kind, and only rounds that have some. alike: of strangers' photos, only those of an
    enrolled concept's category.
    """
    chosen = [r for r in rounds if kind is None or kind in r.kinds]
    tests = [(r, p) for r, p in _photos(chosen) if r.is_kind(p.concept, kind)]
    strangers = [(r, p) for r, p in _photos(chosen) if p.concept is None and (p.alike or not alike)]
    wrong = [[c for c in p.names if r.is_kind(c, kind)] for r, p in strangers]
    maybes = (any(r.is_kind(c, kind) for c in p.maybes) for r, p in strangers)
    return PhotoFigures(
        recall=_share(tests, lambda p: p.concept in p.names),
        recall_with_maybes=_share(tests, lambda p: p.concept in p.names | p.maybes),
        mix_ups=_share(tests, lambda p: bool(p.names - {p.concept})),
        wrong_names=repeated_proportion((p.photo, bool(w)) for (_, p), w in zip(strangers, wrong, strict=True)),
        wrong_maybes=repeated_proportion((p.photo, m) for (_, p), m in zip(strangers, maybes, strict=True)),
        names=sum(map(len, wrong)),
        looks=len(strangers),
    )


def _photos(rounds: Iterable[Round]) -> Iterator[tuple[Round, ShownPhoto]]:
    return ((r, p) for r in rounds for p in r.photos)


def _share(photos: Sequence[tuple[Round, ShownPhoto]], hit: Callable[[ShownPhoto], bool]) -> Estimate:
    return repeated_proportion((p.photo, hit(p)) for _, p in photos)


@dataclass(frozen=True)
class ConceptFigures:
    """A concept's recall over some rounds, and how many photos of others got its name, in so many looks."""

    name: str
    kind: str
    recall: Estimate
    recall_with_maybes: Estimate
    names: int
    looks: int


def count_by_concept(rounds: Sequence[Round]) -> list[ConceptFigures]:
    """Estimate the figures of each concept, in order of their names."""
    found = []
    kinds = {c.name: c.kind for r in rounds for c in r.concepts}
    for name in sorted(kinds):
        at = [(r, p, i) for r, p in _photos(rounds) for i, c in enumerate(r.concepts) if c.name == name]
        own = [(p.photo, i in p.names, i in p.maybes) for _, p, i in at if p.concept == i]
        others = [i in p.names for _, p, i in at if p.concept != i]
        recall = repeated_proportion((photo, named) for photo, named, _ in own)
        with_maybes = repeated_proportion((photo, named or maybe) for photo, named, maybe in own)
        found.append(ConceptFigures(name, kinds[name], recall, with_maybes, sum(others), len(others)))
    return found


@dataclass(frozen=True)
class PairFigures:
    """Two look-alikes: what photos of one folder got while one or both were enrolled.

    enrolled: the names of the enrolled ones; right, right_maybe: None where the photos' own concept is not enrolled.
    wrong, wrong_maybe: shares of photos with the other's name, and with it as a maybe.
    """

    enrolled: tuple[str, ...]
    folder: str
    right: Estimate | None
    right_maybe: Estimate | None
    wrong: Estimate | None
    wrong_maybe: Estimate | None


def count_pairs(rounds: Sequence[Round]) -> list[PairFigures]:
    """Estimate what each folder's photos got under each enrolment of one or two look-alikes, in the rounds' order."""
    groups: dict[tuple[tuple[str, ...], str], list[tuple[Round, ShownPhoto]]] = {}
    for r, p in _photos(rounds):
        groups.setdefault((tuple(c.name for c in r.concepts), p.folder), []).append((r, p))
    return [_pair(enrolled, folder, photos) for (enrolled, folder), photos in groups.items()]


def _pair(enrolled: tuple[str, ...], folder: str, photos: Sequence[tuple[Round, ShownPhoto]]) -> PairFigures:
    own, other = folder in enrolled, bool(set(enrolled) - {folder})
    return PairFigures(
        enrolled,
        folder,
        _share(photos, lambda p: p.concept in p.names) if own else None,
        _share(photos, lambda p: p.concept in p.maybes) if own else None,
        _share(photos, lambda p: bool(p.names - {p.concept})) if other else None,
        _share(photos, lambda p: bool(p.maybes - {p.concept})) if other else None,
    )


@dataclass(frozen=True)
class WrongName:
    """A photo that got a wrong name in so many rounds; shows: the enrolled concept in it, "" for a stranger's photo."""

    photo: str
    named: str
    shows: str
    rounds: int


def list_wrong_names(rounds: Sequence[Round]) -> list[WrongName]:
    """List the photos that got a wrong name, the most frequent first."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for r, p in _photos(rounds):
        shows = "" if p.concept is None else r.concepts[p.concept].name
        counts.update((p.photo, name, shows) for name in r.named(p) if name != shows)
    return [WrongName(*key, n) for key, n in sorted(counts.items(), key=lambda one: (-one[1], one[0]))]


def photo_curve(rounds: Sequence[Round]) -> Curve:
    """Compute recall against wrong names in 100 strangers' photos as all thresholds are lowered together."""
    tests = [p for _, p in _photos(rounds) if p.concept is not None]
    strangers = [p for _, p in _photos(rounds) if p.concept is None]
    margins = [(p.margins[p.concept], True) for p in tests if p.concept is not None and p.concept in p.margins]
    margins += [(m, False) for p in strangers for m in p.margins.values()]
    return make_curve(margins, right=len(tests), photos=len(strangers), per=100)
