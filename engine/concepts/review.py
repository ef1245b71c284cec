"""What may show a concept and is for the user to decide: maybes with what speaks for them. No VLM runs here."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path

import numpy as np

from engine.core.boxes import Box
from engine.core.errors import ConceptError, PhotoError, UsageError
from engine.core.types import Concept, Kind, Match, Status
from engine.photos.decode import load_photo
from engine.photos.discovery import FoundFile
from engine.recognition.bodies import SOURCE
from engine.recognition.enrolled import HeadGroup, check_recognisable, load_head
from engine.recognition.explain.nearest import KnownPhotos
from engine.recognition.explain.runner_up import RunnerUp, find_runner_up, row_of
from engine.recognition.gallery import Gallery, load_gallery
from engine.recognition.recognise import look_up
from engine.recognition.scan import ScanRequest, scan
from engine.recognition.scenes import cached_scenes, score_scene
from engine.session import Session
from engine.store.concepts import ConceptStore
from engine.vision.cached_extractor import CachedExtractor
from engine.vision.config import RecogniserConfig

EXAMPLES = 3
"""Photos of the concept that a maybe is shown beside."""


@dataclass(frozen=True)
class Example:
    """A photo that certainly shows a concept: a reference, or one that the user confirmed. likeness: cosine (-1..1) of
    the maybe's region to the nearest view of it; None where it is not known whether it is among the most alike.
    """

    path: Path
    content_hash: str
    box: Box | None  # pixels of the upright photo
    likeness: float | None = None
    confirmed: bool = False


@dataclass(frozen=True)
class Suggestion:
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
class NotLookedFor:
    """A concept that cannot be looked for with the recogniser in use, and why."""

    concept: Concept
    error: ConceptError


@dataclass(frozen=True)
class Review:
    """The maybes of some photos, the most promising first, and the photos that could not be read, with why; the
    concepts that were looked for, and of all that there are those that cannot be.
    """

    maybes: tuple[Suggestion, ...] = ()
    unreadable: tuple[tuple[Path, str], ...] = ()
    looked_for: tuple[Concept, ...] = ()
    not_looked_for: tuple[NotLookedFor, ...] = ()


def find_suggestions(
    session: Session,
    photos: Iterable[Path | FoundFile],
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
    concepts, left_out = _pick(session.store, session.recogniser_config, names)
    if not concepts:
        return Review(not_looked_for=left_out)
    enrolled = load_gallery(session.store, session.recogniser_config, session.recognition, concepts, library)
    maybes: list[Suggestion] = []
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
                found = _look_up(session.extractor, enrolled, scanned.path, scanned.content_hash)
            except PhotoError as err:
                unreadable.append((scanned.path, str(err)))
            else:
                maybes += explainer.explain(scanned.path, scanned.content_hash, found) if found else ()
    maybes.sort(key=lambda m: m.match.threshold - m.match.score)
    return Review(tuple(maybes), tuple(unreadable), concepts, left_out)


def _pick(
    store: ConceptStore, config: RecogniserConfig, names: tuple[str, ...] | None
) -> tuple[tuple[Concept, ...], tuple[NotLookedFor, ...]]:
    """The concepts to look for: all that can be, with those that cannot, or those of some names, which must be."""
    concepts: list[Concept] = []
    left_out: list[NotLookedFor] = []
    for concept in store.select(names):
        try:
            check_recognisable(store, config, concept)
            load_head(store, config, concept)
        except ConceptError as err:
            if names is not None:
                raise
            left_out.append(NotLookedFor(concept, err))
        else:
            concepts.append(concept)
    return tuple(concepts), tuple(left_out)


def _look_up(extractor: CachedExtractor, enrolled: Gallery, path: Path, content_hash: str) -> tuple[Match, ...]:
    """The maybes of a photo that was scanned."""
    found = look_up(extractor, content_hash, enrolled)
    if found is None:  # what was confirmed without a box can be placed only in a photo of known size
        facts = load_photo(path).facts
        whole = Box(0.0, 0.0, float(facts.width), float(facts.height))
        found = look_up(extractor, content_hash, enrolled, whole)
    if found is None:
        raise PhotoError(f"{path}: what was found in it is not in the cache any more", hint="Run the command again.")
    return found.suggestions


class _Explainer:
    """Tells of maybes what speaks for and against them; what heads know is loaded once a concept."""

    def __init__(self, session: Session, enrolled: Gallery) -> None:
        self._session, self._enrolled = session, enrolled
        self._known: dict[tuple[str, bool], KnownPhotos] = {}

    def explain(self, path: Path, content_hash: str, matches: Sequence[Match]) -> Iterator[Suggestion]:
        """The maybes of one photo, people first."""
        for group, scene in cached_scenes(self._session.extractor, content_hash, self._enrolled).items():
            judge, bodies = self._enrolled.classifiers[group], group is HeadGroup.BODIES
            columns = {c.id: i for i, c in enumerate(judge.concepts)}
            own = [m for m in matches if m.concept_id in columns and (m.source == SOURCE) == bodies]
            if scene is None or not own:
                continue
            scores, boxes = score_scene(judge, scene), [r.box for r in scene.regions]
            for match in own:
                column = columns[match.concept_id]
                row = row_of(match, boxes, scores[:, column])
                assert row is not None  # a maybe is always of a region
                nearest = self._nearest(judge.concepts[column], scene.features[row], bodies=bodies)
                rival = find_runner_up(judge, column, scores[row])
                yield Suggestion(path, content_hash, match, float(judge.suggestion_thresholds[column]), nearest, rival)

    def _nearest(self, concept: Concept, feature: np.ndarray, *, bodies: bool) -> tuple[Example, ...]:
        """The examples most like a region's feature (D,), as far as it is known which these are, then references."""
        if (concept.id, bodies) not in self._known:
            self._known[concept.id, bodies] = self._load(concept, bodies=bodies)
        ranked = self._known[concept.id, bodies].ranked(feature)
        examples = []
        for found in takewhile(lambda f: f.path is not None, islice(ranked, EXAMPLES)):
            assert found.path is not None
            assert found.content_hash is not None
            confirmed = found.of == "confirmed"
            examples.append(Example(found.path, found.content_hash, found.box, found.cosine, confirmed))
        told = {e.content_hash for e in examples}
        examples += [Example(r.path, r.content_hash, r.box) for r in concept.references if r.content_hash not in told]
        return tuple(examples[:EXAMPLES])

    def _load(self, concept: Concept, *, bodies: bool) -> KnownPhotos:
        head = self._enrolled.heads[concept.id]
        if bodies and concept.kind is Kind.PERSON:
            return KnownPhotos.of_body(concept, head, self._enrolled.enrolled.bodies[concept.id])
        return KnownPhotos.of(self._session.store, self._session.extractor, concept, head)
