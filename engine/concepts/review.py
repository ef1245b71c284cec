"""Find suggestions: photos that may show a concept, for the user to decide about. No VLM runs here."""

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
from engine.recognition.enrolled import EnrolledHeads, HeadGroup, check_recognisable, load_head
from engine.recognition.explain.nearest import KnownPhotos
from engine.recognition.explain.runner_up import RunnerUp, find_runner_up, row_of
from engine.recognition.gallery import Gallery, load_gallery
from engine.recognition.recognise import look_up
from engine.recognition.scan import ScanRequest, ScanResult, scan
from engine.recognition.scenes import cached_scenes, score_scene
from engine.session import Session
from engine.store.concepts import ConceptStore
from engine.vision.cached_extractor import CachedExtractor
from engine.vision.config import RecogniserConfig

EXAMPLES = 3
"""Number of photos of the concept shown with a suggestion."""


@dataclass(frozen=True)
class Example:
    """A photo that certainly shows a concept: a reference, or one that the user confirmed.

    likeness: cosine (-1..1) between the suggested region and the photo's most similar view; None if the photo could
    not be ranked by similarity.
    """

    path: Path
    content_hash: str
    box: Box | None  # pixels of the upright photo
    likeness: float | None = None
    confirmed: bool = False


@dataclass(frozen=True)
class Suggestion:
    """A concept that may be in a photo.

    match: its region (pixels of the upright photo), score, and the threshold from which it would be named (log-odds);
    suggested_from: the lowest score of a suggestion (log-odds); nearest: photos to compare it with, most similar first;
    separable: whether the concept can be told from others in these photos, or is seldom named at all.
    """

    path: Path
    content_hash: str
    match: Match
    suggested_from: float
    nearest: tuple[Example, ...] = ()
    runner_up: RunnerUp | None = None
    separable: bool = True


@dataclass(frozen=True)
class NotLookedFor:
    """A concept that cannot be searched for with the recogniser in use, and the reason."""

    concept: Concept
    error: ConceptError


@dataclass(frozen=True)
class Review:
    """The suggestions of photos.

    suggestions: those nearest to the threshold for a name first; unreadable: (path, reason); looked_for:
    the concepts that were searched for; not_looked_for: the concepts that cannot be, if all were requested.
    """

    suggestions: tuple[Suggestion, ...] = ()
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
    """Find suggestions of some concepts in photos; those nearest to the threshold for a name come first.

    names: None for all concepts. library: the folder whose calibration to use. step: called for each file. Features
    that are not cached are computed. Photos with the same content are reported once.

    Raises:
        UsageError: the heads are the paper's.
        ConceptError: a name is unknown, or its concept has no head for the recogniser in use.
        EngineError: missing weights, a full disk.
    """
    if session.choices.heads == "paper":
        raise UsageError("the paper's heads give no suggestions", hint="Leave out --heads paper.")
    concepts, left_out = _pick(session.store, session.recogniser_config, names)
    if not concepts:
        return Review(not_looked_for=left_out)
    gallery = load_gallery(session.store, session.recogniser_config, session.recognition, concepts, library)
    explainer = _Explainer(_HeadReader(session.store, session.extractor, gallery.enrolled), gallery)
    request = ScanRequest(faces=gallery.needs_faces, regions=gallery.needs_regions)
    scanned_photos = scan(session, photos, request)
    suggestions, unreadable = _collect(scanned_photos, session.extractor, explainer, step)
    suggestions.sort(key=lambda s: s.match.threshold - s.match.score)
    return Review(tuple(suggestions), tuple(unreadable), concepts, left_out)


def _collect(
    scanned_photos: Iterable[ScanResult], extractor: CachedExtractor, explainer: "_Explainer", step: Callable[[], None]
) -> tuple[list[Suggestion], list[tuple[Path, str]]]:
    """Return the suggestions of scanned photos, each content once, and (path, reason) of unreadable photos."""
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
                matches = _look_up(extractor, explainer.gallery, scanned.path, scanned.content_hash)
            except PhotoError as err:
                unreadable.append((scanned.path, str(err)))
            else:
                suggestions += explainer.explain(scanned.path, scanned.content_hash, matches) if matches else ()
    return suggestions, unreadable


def _pick(
    store: ConceptStore, config: RecogniserConfig, names: tuple[str, ...] | None
) -> tuple[tuple[Concept, ...], tuple[NotLookedFor, ...]]:
    """Return the concepts to look for, and those that cannot be; requested names must all be recognisable."""
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


def _look_up(extractor: CachedExtractor, gallery: Gallery, path: Path, content_hash: str) -> tuple[Match, ...]:
    """Return the suggestions of a photo that was scanned."""
    recognition = look_up(extractor, content_hash, gallery)
    if recognition is None:  # a confirmation without a box needs the size of the photo
        facts = load_photo(path).facts
        whole = Box(0.0, 0.0, float(facts.width), float(facts.height))
        recognition = look_up(extractor, content_hash, gallery, whole)
    if recognition is None:
        raise PhotoError(f"{path}: what was found in it is not in the cache any more", hint="Run the command again.")
    return recognition.suggestions


class _Explainer:
    """Add to each suggestion the most similar photos and the runner-up; each concept's head is read once."""

    def __init__(self, heads: "_HeadReader", gallery: Gallery) -> None:
        self.gallery = gallery
        self._heads = heads
        self._photos_by_head: dict[tuple[str, bool], KnownPhotos] = {}

    def explain(self, path: Path, content_hash: str, matches: Sequence[Match]) -> Iterator[Suggestion]:
        """Yield the suggestions of one photo, people first."""
        for group, scene in cached_scenes(self._heads.extractor, content_hash, self.gallery).items():
            classifier, bodies = self.gallery.classifiers[group], group is HeadGroup.BODIES
            columns = {c.id: i for i, c in enumerate(classifier.concepts)}
            group_matches = [m for m in matches if m.concept_id in columns and (m.source == SOURCE) == bodies]
            if scene is None or not group_matches:
                continue
            scores, boxes = score_scene(classifier, scene), [r.box for r in scene.regions]
            for match in group_matches:
                column = columns[match.concept_id]
                row = row_of(match, boxes, scores[:, column])
                assert row is not None  # a suggestion is always of a region
                nearest = self._nearest(classifier.concepts[column], scene.features[row], bodies=bodies)
                rival = find_runner_up(classifier, column, scores[row])
                lowest, separable = classifier.suggestion_thresholds[column], classifier.separable[column]
                yield Suggestion(path, content_hash, match, float(lowest), nearest, rival, bool(separable))

    def _nearest(self, concept: Concept, feature: np.ndarray, *, bodies: bool) -> tuple[Example, ...]:
        """Return the photos most similar to a feature (D,) whose paths are stored, then other references."""
        if (concept.id, bodies) not in self._photos_by_head:
            self._photos_by_head[concept.id, bodies] = self._heads.read(concept, bodies=bodies)
        ranked = self._photos_by_head[concept.id, bodies].ranked(feature)
        examples = []
        for photo in takewhile(lambda f: f.path is not None, islice(ranked, EXAMPLES)):
            assert photo.path is not None
            assert photo.content_hash is not None
            confirmed = photo.of == "confirmed"
            examples.append(Example(photo.path, photo.content_hash, photo.box, photo.cosine, confirmed))
        shown = {e.content_hash for e in examples}
        examples += [Example(r.path, r.content_hash, r.box) for r in concept.references if r.content_hash not in shown]
        return tuple(examples[:EXAMPLES])


@dataclass(frozen=True)
class _HeadReader:
    """Read the photos from which the heads of concepts were made."""

    store: ConceptStore
    extractor: CachedExtractor
    enrolled: EnrolledHeads

    def read(self, concept: Concept, *, bodies: bool) -> KnownPhotos:
        """Return the photos from which a concept's head was made; with `bodies`, those of a person's body head."""
        head = self.enrolled.heads[concept.id]
        if bodies and concept.kind is Kind.PERSON:
            return KnownPhotos.of_body(concept, head, self.enrolled.bodies[concept.id])
        return KnownPhotos.of(self.store, self.extractor, concept, head)
