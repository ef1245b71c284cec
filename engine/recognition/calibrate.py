"""Calibrating recognition on the user's own library: thresholds for a promised rate of false names.

Nobody labels anything: nearly all photos of a library show none of the enrolled, and what these score best is what
impostors score (heads/calibration.py). Features are cached, so that photos are looked at once.
"""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.core.errors import UsageError
from engine.core.types import Concept, Kind, RecognitionOptions, Verdict
from engine.photos.discovery import FoundFile
from engine.recognition.bodies import load_bodies
from engine.recognition.classifier import (
    decided_scores,
    gallery_digest,
    judged_as,
    make_reference_set,
    model_of,
)
from engine.recognition.recognise import Gallery, known_scenes, load_gallery, load_heads
from engine.recognition.scan import ScanRequest, ScanResult, scan
from engine.recognition.scoring import find_cohort, fit
from engine.recognition.thresholds import best_in_photos, learn_from_decisions
from engine.recognition.thresholds import calibrate as fit_thresholds
from engine.session import Session
from engine.store.calibrations import StoredCalibration, Thresholds
from engine.store.concepts import ConceptStore
from engine.store.heads import ConceptHead
from engine.vision.cached_extractor import CachedExtractor
from engine.vision.config import RecogniserConfig
from engine.vision.feature_bank import load_bank

PER_1000 = 1.0
"""False names in 1,000 photos that are promised unless the user says otherwise."""
FEWEST = 100
"""Fewer photos say nothing about rates of one in a thousand; the usual thresholds are used."""
MOST = 2000
"""Photos of a library that are looked at, evenly spread; more move no threshold by much and cost time."""
_STRANGERS = 1500
_ENOUGH_STRANGERS = 500


@dataclass(frozen=True)
class CalibrationReport:
    """What was calibrated for one kind of concept: people, pets and things, or people's bodies with these. expected:
    false names predicted in 1,000 photos; alike: the concepts that others here are too like: no threshold that keeps
    the promise leaves their own references above it, and they will hardly be named.
    """

    kind: str
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
) -> tuple[CalibrationReport, ...]:
    """Calibrate all enrolled concepts of some kinds on photos under a folder, and keep the thresholds for it. Without a
    rate the one that was promised for this library before is kept. Features that are not cached are computed; `step`
    hears of each photo. Nothing is kept, and () returned, of fewer than 100 different photos that can be read.

    Raises:
        UsageError: nobody is enrolled whom this recogniser knows, or the heads are the paper's.
        EngineError: missing weights, a full disk.
    """
    if session.choices.heads == "paper":
        raise UsageError("the paper's heads have thresholds of their own", hint="Leave out --heads paper.")
    enrolled = load_gallery(
        session.store,
        session.recogniser_config,
        session.recognition,
        [c for c in recognisable(session.store, session.recogniser_config) if c.kind in kinds],
        library,
    )
    if enrolled.people is None and enrolled.things is None:
        raise UsageError("there is no concept to calibrate", hint="Start with: myvlm add-concept NAME PHOTOS")
    request = ScanRequest(faces=enrolled.needs_faces, regions=enrolled.needs_regions)
    contents = set()
    for scanned in scan(session, _sample(photos), request):
        step(scanned)
        if scanned.content_hash is not None:
            contents.add(scanned.content_hash)
    if len(contents) < FEWEST:
        return ()
    rate = per_1000 or session.store.calibrations.promised(library) or PER_1000
    return tuple(
        _calibrate(session.store, session.extractor, session.recognition, enrolled, sorted(contents), library, rate)
    )


def is_calibrated(session: Session, library: Path, kinds: Collection[Kind] = tuple(Kind)) -> bool:
    """Whether the photos under a folder need no calibration for concepts of some kinds: there is one for their heads as
    they are, the heads are the paper's, or there is nobody.
    """
    return calibrated_on(session, library, kinds) > 0


def calibrated_on(session: Session, library: Path, kinds: Collection[Kind] = tuple(Kind)) -> float:
    """On how many photos a folder was calibrated for the heads as they are; 0 where one kind was not, infinite where
    there is nothing to calibrate.
    """
    if session.choices.heads == "paper":
        return math.inf
    galleries = [load_bodies(session.store, session.recogniser_config, session.recognition)]
    for concepts in _by_kind(c for c in recognisable(session.store, session.recogniser_config) if c.kind in kinds):
        galleries.append(
            {c: h for c, h in load_heads(session.store, session.recogniser_config, concepts).items() if len(h.views)}
        )
    photos = session.store.calibrations.photos
    counts = (
        photos(
            model_of(session.recogniser_config, session.recognition, h),
            gallery_digest(session.store, session.recogniser_config, h),
            library,
        )
        for h in galleries
        if h
    )
    return min(counts, default=math.inf)


def recognisable(store: ConceptStore, config: RecogniserConfig) -> tuple[Concept, ...]:
    """The concepts that have a head for the recogniser in use."""
    config, store = config, store
    return tuple(c for c in store.all() if store.has_head(c.id, config.head_id(c.kind)))


def _by_kind(concepts: Iterable[Concept]) -> list[list[Concept]]:
    own = list(concepts)
    groups = ([c for c in own if (c.kind is Kind.PERSON) is people] for people in (True, False))
    return [g for g in groups if g]


def _sample(photos: Sequence[FoundFile]) -> list[FoundFile]:
    stills = [f for f in photos if f.kind == "photo"]
    if len(stills) <= MOST:
        return stills
    return [stills[i] for i in np.linspace(0, len(stills) - 1, MOST).round().astype(int)]


def _calibrate(
    store: ConceptStore,
    extractor: CachedExtractor,
    options: RecognitionOptions,
    enrolled: Gallery,
    contents: Sequence[str],
    library: Path,
    rate: float,
) -> Iterable[CalibrationReport]:
    seen = [dict(_by_judge(known_scenes(extractor, c, enrolled))) for c in contents]
    bodies = load_bodies(store, extractor.config, options)
    by_body = sum(c.kind is Kind.PERSON for c in bodies)
    everyone = by_body + sum(len(j.concepts) for j in (enrolled.people, enrolled.things) if j is not None)
    for kind, judge in (("people", enrolled.people), ("things", enrolled.things), ("bodies", enrolled.bodies)):
        if judge is None:
            continue
        own = bodies if kind == "bodies" else load_heads(store, extractor.config, judge.concepts)
        heads = {c: h for c, h in own.items() if len(h.views)}
        scenes = list(enumerate(s[id(judge)] for s in seen if id(judge) in s))
        if len(scenes) < FEWEST:
            continue  # another process cleared the cache meanwhile
        known = tuple(c for c, s in zip(contents, seen, strict=True) if id(judge) in s)
        rows = [(i, s.features[s.usable]) for i, s in scenes if s.usable.any()]
        if not heads:
            continue
        width = next(iter(heads.values())).width
        features = np.concatenate([np.zeros((0, width), np.float32), *(f for _, f in rows)])
        owner = np.repeat([i for i, _ in rows], [len(f) for _, f in rows]).astype(np.int64)
        share = rate * (by_body if kind == "bodies" else len(heads)) / everyone
        yield _settle(
            store, extractor.config, options, kind, heads, _Seen(known, features, owner), library, rate, share
        )


def _by_judge(scenes: Iterable) -> Iterable:
    return ((id(judge), scene) for judge, scene in scenes if scene is not None)


@dataclass(frozen=True)
class _Seen:
    """A library's photos by content, features (R, D) of their regions, and which photo each is of, (R,)."""

    contents: tuple[str, ...]
    features: np.ndarray
    owner: np.ndarray


def _settle(
    store: ConceptStore,
    config: RecogniserConfig,
    options: RecognitionOptions,
    kind: str,
    heads: dict[Concept, ConceptHead],
    seen: _Seen,
    library: Path,
    rate: float,
    share: float,
) -> CalibrationReport:
    """Fit scorer and thresholds of one kind of concepts, and keep them."""
    concepts = tuple(heads)
    strangers = _strangers(config, heads, seen)
    scorer = fit(make_reference_set(config, heads, strangers))
    scores, held_out = scorer.scores(seen.features), scorer.held_out()
    usual = config.threshold_prior(judged_as(heads))
    shown = _known_to_show(store, concepts, seen.contents)
    names = None
    for _ in range(2):  # whom a region would be named depends on the thresholds
        best = np.full((len(seen.contents), len(concepts)), -np.inf)
        own = best_in_photos(scores, seen.owner, names)
        best[: len(own)] = own
        best[shown] = -np.inf
        found = fit_thresholds(best, held_out, usual, per_1000=share, stricter=PER_1000 / rate)
        names = found.names
    found = found.at(learn_from_decisions(found.names, found.maybes, decided_scores(scorer, heads)), held_out)
    thresholds = {
        c.id: Thresholds(float(n), float(m), bool(s))
        for c, n, m, s in zip(concepts, found.names, found.maybes, found.separable, strict=True)
    }
    model = model_of(config, options, heads)
    tensors = {**scorer.tensors(), "strangers": strangers.astype(np.float16)}
    digest = gallery_digest(store, config, heads)
    store.calibrations.save(
        StoredCalibration(library, model, digest, rate, len(seen.contents), found.expected, thresholds, tensors)
    )
    alike = tuple(c for c, s in zip(concepts, found.separable, strict=True) if not s)
    return CalibrationReport(kind, concepts, found.photos, share, found.expected, alike, thresholds)


def _strangers(config: RecogniserConfig, heads: dict[Concept, ConceptHead], seen: _Seen) -> np.ndarray:
    """Features of the library that surely show nobody enrolled, evenly spread: (N, D), as they are stored. Of regions
    only where the recogniser has no bank: beside one they changed nothing (recall -2 to +4 points by library).
    """
    none = seen.features[:0]
    if judged_as(heads) is not Kind.PERSON and len(load_bank(config).features) >= _ENOUGH_STRANGERS:
        return none
    gallery = make_reference_set(config, heads, none)
    sure = seen.features[find_cohort(seen.features, gallery.concepts)]
    if len(sure) > _STRANGERS:
        sure = sure[np.linspace(0, len(sure) - 1, _STRANGERS).round().astype(int)]
    return sure.astype(np.float16).astype(np.float32)


def _known_to_show(
    store: ConceptStore, concepts: Sequence[Concept], contents: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the photos that certainly show a concept: its references, and what the user confirmed."""
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


def interval(expected: float, photos: int) -> tuple[float, float]:
    """How many false names in 1,000 photos 95 % of libraries of so many photos have, by what is expected (Poisson)."""
    counted = expected * photos / 1000
    low, high = (1000 * _poisson_quantile(q, counted) / photos for q in (0.025, 0.975))
    return low, high


def _poisson_quantile(share: float, mean: float) -> int:
    """The least count that a Poisson variable with this mean stays within with this probability."""
    count, chance = 0, math.exp(-mean)
    total = chance
    while total < share and count < 10 * mean + 100:
        count += 1
        chance *= mean / count
        total += chance
    return count
