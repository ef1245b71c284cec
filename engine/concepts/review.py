"""Find suggestions: photos that may show a concept, for the user to decide about. No VLM runs here."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, takewhile
from pathlib import Path

import numpy as np

from engine.core.boxes import Box
from engine.core.errors import ConceptError, PhotoError, UsageError
from engine.core.types import Concept, Kind, Match, RecognitionOptions, Status
from engine.photos.decode import load_photo
from engine.photos.discovery import FoundFile
from engine.recognition.bodies import SOURCE, load_bodies
from engine.recognition.explain.nearest import KnownPhotos
from engine.recognition.explain.runner_up import RunnerUp, find_runner_up, row_of
from engine.recognition.recognise import (
    Gallery,
    check_recognisable,
    known_scenes,
    load_gallery,
    load_head,
    look_up,
    score_scene,
)
from engine.recognition.scan import ScanRequest, ScanResult, scan
from engine.session import Session
from engine.store.concepts import ConceptStore
from engine.store.heads import ConceptHead
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
    heads = _HeadReader(session.store, session.recogniser_config, session.recognition, session.extractor)
    explainer = _Explainer(heads, enrolled)
    request = ScanRequest(faces=enrolled.needs_faces, regions=enrolled.needs_regions)
    scanned_photos = scan(session, photos, request)
    suggestions, unreadable = _collect(scanned_photos, session.extractor, explainer, step)
    suggestions.sort(key=lambda s: s.match.threshold - s.match.score)
    return Review(tuple(suggestions), tuple(unreadable), concepts, left_out)


def _collect(
    scanned_photos: Iterable[ScanResult], extractor: CachedExtractor, explainer: "_Explainer", step: Callable[[], None]
) -> tuple[list[Suggestion], list[tuple[Path, str]]]:
    """Return the suggestions of scanned photos, each content once, and the photos that could not be read, with why."""
    suggestions: list[Suggestion] = []
    unreadable: list[tuple[Path, str]] = []
    seen: set[str] = set()
    for scanned in scanned_photos:
        step()
        if scanned.status is Status.FAILED:
            unreadable.append((scanned.path, scanned.reason or "cannot be read"))
        elif scanned.content_hash is not None and scanned.content_hash not in seen:
            seen.add(scanned.content_hash)
            try:
                matches = _look_up(extractor, explainer.enrolled, scanned.path, scanned.content_hash)
            except PhotoError as err:
                unreadable.append((scanned.path, str(err)))
            else:
                suggestions += explainer.explain(scanned.path, scanned.content_hash, matches) if matches else ()
    return suggestions, unreadable


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
    return found.maybes


class _Explainer:
    """Add to each suggestion the most similar photos and the runner-up; each concept's head is read once."""

    def __init__(self, heads: "_HeadReader", enrolled: Gallery) -> None:
        self.enrolled = enrolled
        self._heads = heads
        self._known: dict[tuple[str, bool], KnownPhotos] = {}

    def explain(self, path: Path, content_hash: str, matches: Sequence[Match]) -> Iterator[Suggestion]:
        """The maybes of one photo, people first."""
        for judge, scene in known_scenes(self._heads.extractor, content_hash, self.enrolled):
            columns = {c.id: i for i, c in enumerate(judge.concepts)}
            bodies = judge is self.enrolled.bodies
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
                yield Suggestion(path, content_hash, match, float(judge.maybes[column]), nearest, rival)

    def _nearest(self, concept: Concept, feature: np.ndarray, *, bodies: bool) -> tuple[Example, ...]:
        """The examples most like a region's feature (D,), as far as it is known which these are, then references."""
        if (concept.id, bodies) not in self._known:
            self._known[concept.id, bodies] = self._heads.read(concept, bodies=bodies)
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


@dataclass(frozen=True)
class _HeadReader:
    """Reads the photos that concepts' heads were made of."""

    store: ConceptStore
    config: RecogniserConfig
    options: RecognitionOptions
    extractor: CachedExtractor

    def read(self, concept: Concept, *, bodies: bool) -> KnownPhotos:
        """Return the photos behind a concept's head; with `bodies` those behind a person's body head."""
        head = load_head(self.store, self.config, concept)
        if bodies and concept.kind is Kind.PERSON:
            return KnownPhotos.of_body(concept, head, self._bodies[concept.id])
        return KnownPhotos.of(self.store, self.extractor, concept, head)

    @cached_property
    def _bodies(self) -> dict[str, ConceptHead]:
        return {c.id: head for c, head in load_bodies(self.store, self.config, self.options).items()}
