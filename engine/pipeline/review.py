"""What may show a concept and is for the user to decide: maybes with what speaks for them. No VLM runs here."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from engine.boxes import Box
from engine.errors import PhotoError, UsageError
from engine.photos.decode import load_photo
from engine.photos.discovery import Found
from engine.pipeline.bodies import SOURCE
from engine.pipeline.calibrating import recognisable
from engine.pipeline.judges import Judge, photos_of, views_of
from engine.pipeline.recognition import Enrolled, known_scenes, load_enrolled, load_head, look_up, score_scene
from engine.pipeline.rulings import nearest_region
from engine.pipeline.scan import ScanRequest, scan
from engine.pipeline.session import Session
from engine.pipeline.taught import Taught, key_of
from engine.types import Concept, Decision, Match, Reference, Status

EXAMPLES = 3
"""Photos of the concept that a maybe is shown beside."""


@dataclass(frozen=True)
class Example:
    """A photo that certainly shows a concept: a reference, or one that the user confirmed. likeness: cosine (-1..1) of
    the maybe's region to the nearest view of it; None where it is not known which views are of it.
    """

    path: Path
    content_hash: str
    box: Box | None  # pixels of the upright photo
    likeness: float | None = None
    confirmed: bool = False


@dataclass(frozen=True)
class RunnerUp:
    """The other concept that a region is most like, and its score (log-odds)."""

    name: str
    score: float


@dataclass(frozen=True)
class Maybe:
    """A concept that may be in a photo. match: its region (pixels of the upright photo), score and the threshold from
    which it would be named (log-odds); maybe_from: the lowest score of a maybe; nearest: what it is to be compared
    with, the most alike first.
    """

    path: Path
    content_hash: str
    match: Match
    maybe_from: float
    nearest: tuple[Example, ...] = ()
    runner_up: RunnerUp | None = None


@dataclass(frozen=True)
class Review:
    """The maybes of some photos, the most promising first, and the photos that could not be read, with why."""

    maybes: tuple[Maybe, ...] = ()
    unreadable: tuple[tuple[Path, str], ...] = ()


def find_maybes(
    session: Session,
    photos: Iterable[Path | Found],
    names: tuple[str, ...] | None = None,
    library: Path | None = None,
    *,
    step: Callable[[], None] = lambda: None,
) -> Review:
    """The maybes of some concepts (None: all) in photos, with the calibration of the folder `library`. Features that
    are not cached are computed; a picture that is there several times is told once; `step` hears of each file.

    First come those nearest under the score from which they would be named.

    Raises:
        UsageError: the heads are the paper's.
        ConceptError: a name is unknown, or its concept has no head for the recogniser in use.
        EngineError: missing weights, a full disk.
    """
    if session.choices.heads == "paper":
        raise UsageError("the paper's heads know no maybe: they name or they do not", hint="Leave out --heads paper.")
    enrolled = load_enrolled(session, recognisable(session) if names is None else session.concepts(names), library)
    if enrolled.people is None and enrolled.things is None:
        return Review()
    maybes: list[Maybe] = []
    unreadable: list[tuple[Path, str]] = []
    seen: set[str] = set()
    explainer = _Explainer(session, enrolled)
    request = ScanRequest(faces=enrolled.needs_faces, regions=enrolled.needs_regions)
    for scanned in scan(session, photos, request):
        step()
        if scanned.status is Status.FAILED:
            unreadable.append((scanned.path, scanned.reason or "cannot be read"))
        elif scanned.content_hash is not None and scanned.content_hash not in seen:
            seen.add(scanned.content_hash)
            try:
                found = _look_up(session, enrolled, scanned.path, scanned.content_hash)
            except PhotoError as err:
                unreadable.append((scanned.path, str(err)))
            else:
                maybes += explainer.explain(scanned.path, scanned.content_hash, found) if found else ()
    maybes.sort(key=lambda m: m.match.threshold - m.match.score)
    return Review(tuple(maybes), tuple(unreadable))


def _look_up(session: Session, enrolled: Enrolled, path: Path, content_hash: str) -> tuple[Match, ...]:
    """The maybes of a photo that was scanned."""
    found = look_up(session, content_hash, enrolled)
    if found is None:  # what was confirmed without a box can be placed only in a photo of known size
        facts = load_photo(path).facts
        whole = Box(0.0, 0.0, float(facts.width), float(facts.height))
        found = look_up(session, content_hash, enrolled, whole)
    if found is None:
        raise PhotoError(f"{path}: what was found in it is not in the cache any more", hint="Run the command again.")
    return found.maybes


_Views: TypeAlias = tuple[Reference | Decision, np.ndarray]


class _Explainer:
    """Tells of maybes what speaks for and against them; what heads know is loaded once a concept."""

    def __init__(self, session: Session, enrolled: Enrolled) -> None:
        self._session, self._enrolled = session, enrolled
        self._views: dict[str, list[_Views]] = {}

    def explain(self, path: Path, content_hash: str, matches: Sequence[Match]) -> Iterator[Maybe]:
        """The maybes of one photo, people first."""
        for judge, scene in known_scenes(self._session, content_hash, self._enrolled):
            columns = {c.id: i for i, c in enumerate(judge.concepts)}
            bodies = judge is self._enrolled.bodies
            own = [m for m in matches if m.concept_id in columns and (m.source == SOURCE) == bodies]
            if scene is None or not own:
                continue
            scores, boxes = score_scene(judge, scene), [r.box for r in scene.regions]
            for match in own:
                row, column = nearest_region(boxes, match.box), columns[match.concept_id]
                concept = judge.concepts[column]
                nearest = _unranked(concept) if bodies else self._nearest(concept, scene.features[row])
                rival = _runner_up(judge, column, scores[row])
                yield Maybe(path, content_hash, match, float(judge.maybes[column]), nearest, rival)

    def _nearest(self, concept: Concept, feature: np.ndarray) -> tuple[Example, ...]:
        """The examples with the views most like a region's feature (D,), then references whose views are not known."""
        if concept.id not in self._views:
            self._views[concept.id] = _views_by_photo(self._session, concept)
        known = self._views[concept.id]
        likeness = [float((views @ feature).max()) for _, views in known]
        nearest = sorted(range(len(known)), key=lambda i: -likeness[i])[:EXAMPLES]
        found = [(known[i][0], likeness[i]) for i in nearest]
        examples = [Example(o.path, o.content_hash, o.box, n, isinstance(o, Decision)) for o, n in found]
        owners = {owner for owner, _ in known}
        examples += [Example(r.path, r.content_hash, r.box) for r in concept.references if r not in owners]
        return tuple(examples[:EXAMPLES])


def _unranked(concept: Concept) -> tuple[Example, ...]:
    """References as they are: faces say nothing of how like a body is."""
    return tuple(Example(r.path, r.content_hash, r.box) for r in concept.references[:EXAMPLES])


def _views_by_photo(session: Session, concept: Concept) -> list[_Views]:
    """The views (V, D) of each photo that a concept's head knows: its references, and what the user confirmed. None of
    the references when it cannot be known whether the head is of these: it may be of those of before when there is one
    for another recogniser too, and merging can leave out the views of a photo.
    """
    head = load_head(session, concept)
    views, photos = views_of(head), photos_of(head, session.recogniser_config.augmentations)
    sole = sum(h["kind"] != SOURCE for h in session.store.facts(concept)["heads"]) == 1
    found: list[_Views] = []
    if sole and set(photos.tolist()) == set(range(len(concept.references))):
        found += [(r, views[photos == i]) for i, r in enumerate(concept.references)]
    decisions = {key_of(d): d for d in session.store.decisions.of(concept.id)}
    confirmed = sorted(Taught.beside(head).confirmed.items())
    return found + [(decisions[key], rows) for key, rows in confirmed if key in decisions]


def _runner_up(judge: Judge, column: int, scores: np.ndarray) -> RunnerUp | None:
    """Of the concepts whose scores are on the same scale."""
    rivals: Sequence[Concept] = judge.concepts[: len(judge.scorer.gallery.concepts)] if judge.scorer else ()
    others = [i for i in range(len(rivals)) if i != column]
    if not others:
        return None
    best = max(others, key=lambda i: float(scores[i]))
    return RunnerUp(rivals[best].name, float(scores[best]))
