"""Calibrate recognition on the user's own library: thresholds for a requested rate of false names.

No labels are needed: nearly all photos of a library show no enrolled concept, and their best scores are what impostors
score (`recognition.thresholds`; docs/recognition.md, Calibration). Features are cached: models see a photo once.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.core.errors import UsageError
from engine.core.types import Concept, Kind, Verdict
from engine.photos.discovery import FoundFile
from engine.recognition.enrolled import EnrolledHeads, HeadGroup, features_kind, groups_of, read_enrolled
from engine.recognition.fits import decided_scores, make_reference_set, scorer_of
from engine.recognition.gallery import Gallery, build_gallery
from engine.recognition.pair_features import find_cohort
from engine.recognition.scan import ScanRequest, ScanResult, scan
from engine.recognition.scenes import Scene, cached_scenes
from engine.recognition.scoring import Scorer
from engine.recognition.thresholds import Calibration, best_in_photos, learn_from_decisions
from engine.recognition.thresholds import calibrate as fit_thresholds
from engine.session import Session
from engine.store.calibrations import StoredCalibration, Thresholds
from engine.store.concepts import ConceptStore
from engine.store.heads import ConceptHead
from engine.vision.cached_extractor import CachedExtractor
from engine.vision.config import RecogniserConfig
from engine.vision.feature_bank import load_bank

PER_1000 = 1.0
"""False names in 1,000 photos that are accepted unless the user gives another rate."""
FEWEST = 100
"""With fewer photos nothing is calibrated: they say nothing about a rate of one in a thousand."""
MOST = 2000
"""Photos of a library that are looked at, evenly spread; more move no threshold by much and cost time."""
_COHORT = 1500
"""Features of the library that are kept as cohort, at most."""
_ENOUGH_COHORT = 500
"""With so many features in the recogniser's bank, regions of the library are not added to the cohort."""

_PASSES = 2


@dataclass(frozen=True)
class CalibrationReport:
    """What was calibrated for one group of heads.

    per_1000: the group's share of the accepted rate. expected: false names in 1,000 photos that the fitted tail
    predicts. alike: the concepts that cannot be told from others in the library: few of their own references reach the
    threshold that the rate needs, and they will hardly be named. thresholds: by concept id.
    """

    kind: HeadGroup
    concepts: tuple[Concept, ...]
    photos: int
    per_1000: float
    expected: float
    alike: tuple[Concept, ...]
    thresholds: dict[str, Thresholds]


def calibrate(
    session: Session,
    photos: Sequence[FoundFile],
    library: Path,
    *,
    per_1000: float | None = None,
    kinds: Collection[Kind] = tuple(Kind),
    step: Callable[[ScanResult], None] = lambda _: None,
    enrolled: EnrolledHeads | None = None,
) -> tuple[CalibrationReport, ...]:
    """Calibrate all enrolled concepts of some kinds on photos under a folder, and store the thresholds for it.

    per_1000: false names to accept in 1,000 photos; None for the rate that was last used for this library. Features
    that are not cached are computed; `step` is called with the result of each photo. enrolled: the concepts, where they
    have been read before. Nothing is stored, and () returned, for fewer than 100 different photos that can be read.

    Raises:
        UsageError: no concept of these kinds has a head for the recogniser, or the heads are the paper's.
        EngineError: missing weights, a full disk.
    """
    if session.choices.heads == "paper":
        raise UsageError("the paper's heads have thresholds of their own", hint="Leave out --heads paper.")
    store = session.store
    enrolled = enrolled or read_enrolled(store, session.recogniser_config, session.recognition)
    requested = [c for c in enrolled.recognisable if c.kind in kinds]
    if not requested:
        raise UsageError("there is no concept to calibrate", hint="Start with: myvlm add-concept NAME PHOTOS")
    gallery = build_gallery(enrolled, requested, calibrations=store.calibrations, decisions=(), library=library)
    request = ScanRequest(faces=gallery.needs_faces, regions=gallery.needs_regions)
    contents = set()
    for scanned in scan(session, sample(photos, sum(f.kind == "photo" for f in photos)), request):
        step(scanned)
        if scanned.content_hash is not None:
            contents.add(scanned.content_hash)
    if len(contents) < FEWEST:
        return ()
    rate = per_1000 or store.calibrations.last_rate(library) or PER_1000
    seen = _look_at(session.extractor, gallery, sorted(contents))
    return tuple(_calibrate_groups(store, enrolled, gallery, seen, library, rate))


def calibrated_on(
    session: Session,
    library: Path,
    kinds: Collection[Kind] = tuple(Kind),
    *,
    enrolled: EnrolledHeads | None = None,
) -> float:
    """Return on how many photos a folder was calibrated for the present heads.

    0 where a group of heads was not calibrated; infinite where there is nothing to calibrate. enrolled: the concepts,
    where they have been read before.
    """
    if session.choices.heads == "paper":
        return math.inf
    enrolled = enrolled or read_enrolled(session.store, session.recogniser_config, session.recognition)
    groups = [*groups_of(enrolled.recognisable, kinds), HeadGroup.BODIES]
    galleries = [heads for group in groups if (heads := enrolled.with_views(group))]
    photos = session.store.calibrations.photos
    counts = (photos(enrolled.model_of(h), enrolled.digest_of(h), library) for h in galleries)
    return min(counts, default=math.inf)


def sample(photos: Iterable[FoundFile], stills: int) -> list[FoundFile]:
    """Return at most 2,000 of the still photos, evenly spread; the others are not held. stills: how many there are."""
    chosen = set(np.linspace(0, max(0, stills - 1), min(MOST, stills)).round().astype(int).tolist())
    return [f for i, f in enumerate(f for f in photos if f.kind == "photo") if i in chosen]


@dataclass(frozen=True)
class _Library:
    """The photos of a library for one group of heads.

    contents: their content hashes. features: (R, D) of all regions that may be named. owner: (R,) int, the index of the
    photo that each region is in.
    """

    contents: tuple[str, ...]
    features: np.ndarray
    owner: np.ndarray


def _look_at(
    extractor: CachedExtractor, gallery: Gallery, contents: Sequence[str]
) -> dict[HeadGroup, list[tuple[str, Scene]]]:
    """Return the cached scenes by group, each with its photo's content hash."""
    scenes: dict[HeadGroup, list[tuple[str, Scene]]] = {group: [] for group in gallery.classifiers}
    for content in contents:
        for group, scene in cached_scenes(extractor, content, gallery).items():
            if scene is not None:
                scenes[group].append((content, scene))
    return scenes


def _calibrate_groups(
    store: ConceptStore,
    enrolled: EnrolledHeads,
    gallery: Gallery,
    seen: Mapping[HeadGroup, Sequence[tuple[str, Scene]]],
    library: Path,
    rate: float,
) -> Iterator[CalibrationReport]:
    """Calibrate each group; the rate is shared among them by the numbers of their concepts (of bodies: people)."""
    by_body = sum(c.kind is Kind.PERSON for c in enrolled.group(HeadGroup.BODIES))
    total = by_body + sum(len(c.concepts) for c in (gallery.faces, gallery.regions) if c is not None)
    for group in gallery.classifiers:
        heads = enrolled.with_views(group)
        if len(seen[group]) < FEWEST or not heads:  # another process may have cleared the cache meanwhile
            continue
        share = rate * (by_body if group is HeadGroup.BODIES else len(heads)) / total
        photos = _join_scenes(seen[group], next(iter(heads.values())).width)
        yield _calibrate_group(store, enrolled, group, heads, photos, library, rate, share)


def _join_scenes(scenes: Sequence[tuple[str, Scene]], width: int) -> _Library:
    rows = [(i, s.features[s.usable]) for i, (_, s) in enumerate(scenes) if s.usable.any()]
    features = np.concatenate([np.zeros((0, width), np.float32), *(f for _, f in rows)])
    owner = np.repeat([i for i, _ in rows], [len(f) for _, f in rows]).astype(np.int64)
    return _Library(tuple(content for content, _ in scenes), features, owner)


def _calibrate_group(
    store: ConceptStore,
    enrolled: EnrolledHeads,
    group: HeadGroup,
    heads: Mapping[Concept, ConceptHead],
    photos: _Library,
    library: Path,
    rate: float,
    share: float,
) -> CalibrationReport:
    """Fit scorer and thresholds of one group of heads, and store them."""
    concepts = tuple(heads)
    cohort = _library_cohort(enrolled.config, heads, photos)
    scorer = scorer_of(enrolled.config, heads, make_reference_set(enrolled.config, heads, cohort))
    shown = _known_to_show(store, concepts, photos.contents)
    fitted = _fit(enrolled.config, heads, scorer, photos, shown, share, PER_1000 / rate)
    rows = zip(concepts, fitted.name_thresholds, fitted.suggestion_thresholds, fitted.separable, strict=True)
    thresholds = {c.id: Thresholds(float(name), float(maybe), bool(apart)) for c, name, maybe, apart in rows}
    store.calibrations.save(
        StoredCalibration(
            library,
            enrolled.model_of(heads),
            enrolled.digest_of(heads),
            rate,
            len(photos.contents),
            fitted.expected,
            thresholds,
            {**scorer.tensors(), "strangers": cohort.astype(np.float16)},
        )
    )
    alike = tuple(c for c, apart in zip(concepts, fitted.separable, strict=True) if not apart)
    return CalibrationReport(group, concepts, fitted.photos, share, fitted.expected, alike, thresholds)


def _fit(
    config: RecogniserConfig,
    heads: Mapping[Concept, ConceptHead],
    scorer: Scorer,
    photos: _Library,
    shown: tuple[np.ndarray, np.ndarray],
    share: float,
    stricter: float,
) -> Calibration:
    """Fit the thresholds in two passes: which concept a region would be named depends on the thresholds.

    shown: rows and columns of the photos that certainly show a concept, which are left out.
    """
    scores, held_out = scorer.scores(photos.features), scorer.held_out
    prior = config.threshold_prior(features_kind(heads))
    names: np.ndarray | None = None
    for _ in range(_PASSES):
        best = np.full((len(photos.contents), len(heads)), -np.inf)
        with_regions = best_in_photos(scores, photos.owner, names)
        best[: len(with_regions)] = with_regions
        best[shown] = -np.inf
        fitted = fit_thresholds(best, held_out, prior, per_1000=share, stricter=stricter)
        names = fitted.name_thresholds
    lowered = learn_from_decisions(fitted.name_thresholds, fitted.suggestion_thresholds, decided_scores(scorer, heads))
    return fitted.at(lowered, held_out)


def _library_cohort(config: RecogniserConfig, heads: Mapping[Concept, ConceptHead], photos: _Library) -> np.ndarray:
    """Return features of the library that surely show no enrolled concept, evenly spread, (N, D), as they are stored.

    Regions are used only where the recogniser's bank is small: beside a bank they changed nothing (recall moved by -2
    to +4 points, depending on the library; docs/recognition.md, Cohort).
    """
    none = photos.features[:0]
    if features_kind(heads) is not Kind.PERSON and len(load_bank(config).features) >= _ENOUGH_COHORT:
        return none
    reference_set = make_reference_set(config, heads, none)
    sure = photos.features[find_cohort(photos.features, reference_set.concepts)]
    if len(sure) > _COHORT:
        sure = sure[np.linspace(0, len(sure) - 1, _COHORT).round().astype(int)]
    return sure.astype(np.float16).astype(np.float32)


def _known_to_show(
    store: ConceptStore, concepts: Sequence[Concept], contents: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of the photos that certainly show a concept: its references and confirmed photos."""
    rows, columns = [], []
    at = {content: i for i, content in enumerate(contents)}
    for column, concept in enumerate(concepts):
        shown = {r.content_hash for r in concept.references}
        decided = store.decisions.of(concept.id)
        shown |= {d.content_hash for d in decided if d.verdict is Verdict.CONFIRM}
        for content in shown & at.keys():
            rows.append(at[content])
            columns.append(column)
    return np.array(rows, int), np.array(columns, int)
