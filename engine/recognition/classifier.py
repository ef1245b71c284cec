"""Who judges regions: scores and thresholds of all enrolled concepts that one kind of feature tells apart."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engine.core.files import sha256_of
from engine.core.types import Concept, Kind, RecognitionOptions, Scale
from engine.recognition.assignment import face_scores
from engine.recognition.linear_head import LinearHead
from engine.recognition.scoring import ReferenceSet, Scorer, Template, fit, restore
from engine.recognition.thresholds import learn_from_decisions, prior_thresholds
from engine.store.calibrations import StoredCalibration, Thresholds
from engine.store.concepts import ConceptStore
from engine.store.heads import ConceptHead, FaceHead, FeatureKind, HeadKind, ObjectHead
from engine.vision.config import RecogniserConfig
from engine.vision.feature_bank import load_bank, load_face_bank

_METHOD = 4
"""Raise it when evidence or fit change: calibrations of before are made anew."""


@dataclass(frozen=True)
class ConceptClassifier:
    """score: region features (R, D) to scores (R, C), one scale for all concepts; names, maybes: (C,) thresholds;
    separable: (C,) bool, False for a concept whose own references hardly reach its threshold; fingerprint: tells judges
    apart that may decide differently; calibration: what the thresholds are from, None where nothing was calibrated;
    scorer: of open-set judges; scale: what scores and thresholds are.
    """

    concepts: tuple[Concept, ...]
    score: Callable[[np.ndarray], np.ndarray]
    names: np.ndarray
    maybes: np.ndarray
    separable: np.ndarray
    fingerprint: str
    calibration: StoredCalibration | None = None
    scorer: Scorer | None = None
    scale: Scale = Scale.LOG_ODDS


@dataclass(frozen=True)
class ThresholdSource:
    """Where thresholds are from: "calibrated" on photos of a folder, "usual", or the "paper"."""

    source: str
    folder: Path | None = None
    photos: int | None = None
    per_1000: float | None = None


def threshold_source(judge: ConceptClassifier, column: int) -> ThresholdSource:
    """Where a concept's thresholds are from."""
    if column >= open_set_size(judge):
        return ThresholdSource("paper")
    made = judge.calibration
    return (
        ThresholdSource("usual")
        if made is None
        else ThresholdSource("calibrated", made.root, made.photos, made.per_1000)
    )


def open_set_size(judge: ConceptClassifier) -> int:
    """How many of a judge's concepts, which are its first, have open-set scores."""
    return len(judge.scorer.gallery.concepts) if judge.scorer is not None else 0


def paper_classifier(heads: Mapping[Concept, ConceptHead]) -> ConceptClassifier:
    """The paper's heads with their own thresholds; they know no maybe."""
    rows = list(heads.values())
    faces = [h for h in rows if isinstance(h, FaceHead)]
    names = np.array([h.threshold for h in rows])
    score = _face_scores(faces) if faces else _linear_scores([h for h in rows if isinstance(h, ObjectHead)])
    everything, scale = np.ones(len(rows), bool), Scale.COSINE if faces else Scale.PROBABILITY
    return ConceptClassifier(tuple(heads), score, names, np.full(len(rows), np.inf), everything, "paper", scale=scale)


def _face_scores(heads: Sequence[FaceHead]) -> Callable[[np.ndarray], np.ndarray]:
    templates = [np.concatenate([h.views, h.feedback.confirmed_rows(h.width)]) for h in heads]
    rejected = [h.feedback.rejected_rows(h.width) for h in heads]
    return lambda features: face_scores(features, templates, rejected)


def _linear_scores(heads: Sequence[ObjectHead]) -> Callable[[np.ndarray], np.ndarray]:
    linear = [LinearHead(h.weight, h.bias, h.scale) for h in heads]
    return lambda features: np.stack([h.scores(features) for h in linear], axis=1)


def open_set_classifier(
    store: ConceptStore,
    config: RecogniserConfig,
    options: RecognitionOptions,
    heads: Mapping[Concept, ConceptHead],
    library: Path | None,
) -> ConceptClassifier:
    """The open-set head with the thresholds of the nearest calibration, or with the usual ones. A concept that was
    imported without views has its linear head, as in the paper.
    """
    known = {c: h for c, h in heads.items() if len(h.views)}
    if not known:
        return paper_classifier(heads)
    found = store.calibrations.pick(model_of(config, options, known), gallery_digest(store, config, known), library)
    judge = calibrated_classifier(config, known, found)
    rest = {c: h for c, h in heads.items() if c not in known}
    return _beside(judge, paper_classifier(rest)) if rest else judge


def calibrated_classifier(
    config: RecogniserConfig, heads: Mapping[Concept, ConceptHead], found: StoredCalibration | None
) -> ConceptClassifier:
    """The open-set judge of concepts with views, with a calibration's thresholds or without one."""
    concepts = tuple(heads)
    strangers = found.tensors["strangers"].astype(np.float32) if found else np.zeros((0, 1), np.float32)
    gallery = make_reference_set(config, heads, strangers)
    scorer = fit(gallery) if found is None else restore(gallery, found.tensors)
    known = dict(found.thresholds) if found else {}
    if any(c.id not in known for c in concepts):  # enrolled since, or nothing was calibrated
        known = _usual(config, heads, scorer) | known
    own = [known[c.id] for c in concepts]
    names, maybes = (np.array([getattr(t, k) for t in own]) for k in ("name", "maybe"))
    separable = np.array([t.separable for t in own], bool)
    mark = sha256_of(repr((names.tolist(), strangers.tobytes())).encode())[:16]
    what = f"open-set {_METHOD} {'faces' if judged_as(heads) is Kind.PERSON else 'regions'} {mark}"
    return ConceptClassifier(concepts, scorer.scores, names, maybes, separable, what, found, scorer)


def _usual(config: RecogniserConfig, heads: Mapping[Concept, ConceptHead], scorer: Scorer) -> dict[str, Thresholds]:
    """By concept id, where thresholds are in most libraries."""
    found = prior_thresholds(scorer.held_out(), config.threshold_prior(judged_as(heads)))
    names = learn_from_decisions(*found[:2], decided_scores(scorer, heads))
    own = zip(heads, names, *found[1:], strict=True)
    return {c.id: Thresholds(float(name), float(maybe), bool(apart)) for c, name, maybe, apart in own}


def make_reference_set(
    config: RecogniserConfig, heads: Mapping[Concept, ConceptHead], strangers: np.ndarray | Sequence
) -> ReferenceSet:
    """The enrolled as templates, and who is none of them: the shipped bank, what else is in the reference photos, and
    some strangers (N, D) of the library.
    """
    templates = tuple(make_template(h, config.augmentations) for h in heads.values())
    people = judged_as(heads) is Kind.PERSON
    bank = (load_face_bank if people else load_bank)(config).features
    width = templates[0].views.shape[1]
    parts = [bank, *(h.background for h in heads.values()), np.asarray(strangers)]
    kept = [p.astype(np.float32) for p in parts if p.ndim == 2 and p.shape[1] == width]
    return ReferenceSet(templates, np.concatenate([np.zeros((0, width), np.float32), *kept]))


def make_template(head: ConceptHead, augmentations: int) -> Template:
    """What a stored head knows of its concept; every confirmation is one more photo of it."""
    views, photos = head.views, head.photo_numbers(augmentations)
    confirmed, counts = head.feedback.confirmed_rows(head.width), head.feedback.confirmed_counts
    later = np.repeat(np.arange(len(counts)), counts) + int(photos.max(initial=-1)) + 1
    rejected = head.feedback.rejected_rows(head.width)
    return Template(
        np.concatenate([views, confirmed]), np.concatenate([photos, later]).astype(np.int64), rejected, len(counts)
    )


def judged_as(heads: Mapping[Concept, ConceptHead]) -> Kind:
    """The kind whose features heads of one judge are of: a person stands for faces; bodies are regions, as things."""
    return Kind.PERSON if next(iter(heads.values())).features is FeatureKind.FACES else Kind.THING


def model_of(config: RecogniserConfig, options: RecognitionOptions, heads: Mapping[Concept, ConceptHead]) -> str:
    """The id under which heads of one judge are calibrated: with bodies the promise is shared among more judges."""
    model = config.head_id(judged_as(heads))
    bodies = any(h.kind is HeadKind.BODY for h in heads.values())
    return model + ("+beside-bodies" if options.allow_body else "") + ("+bodies" if bodies else "")


def gallery_digest(store: ConceptStore, config: RecogniserConfig, heads: Mapping[Concept, ConceptHead]) -> str:
    """Tells sets of enrolled concepts with their heads apart, and what else thresholds depend on."""
    own = sorted((c.id, store.head_fingerprint(c, h.encoder)) for c, h in heads.items())
    banks = [sha256_of(b.features.tobytes())[:12] for b in (load_bank(config), load_face_bank(config))]
    return sha256_of(repr((_METHOD, own, config.faces.gate, config.open_set, banks)).encode())[:24]


def decided_scores(scorer: Scorer, heads: Mapping[Concept, ConceptHead]) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each concept the log-odds of what was confirmed, each scored without itself, and of what was rejected."""
    counts = [len(h.feedback.confirmed) for h in heads.values()]
    held_out = [h[len(h) - n :] for h, n in zip(scorer.held_out(), counts, strict=True)]
    return list(zip(held_out, scorer.rejected(), strict=True))


def _beside(a: ConceptClassifier, b: ConceptClassifier) -> ConceptClassifier:
    """One judge of both judges' concepts; probabilities of the second's linear heads become log-odds, too."""

    def score(features: np.ndarray) -> np.ndarray:
        return np.concatenate([a.score(features), _log_odds(b.score(features))], axis=1)

    b = replace(b, names=_log_odds(b.names))
    parts = {k: np.concatenate([getattr(a, k), getattr(b, k)]) for k in ("names", "maybes", "separable")}
    return replace(a, concepts=a.concepts + b.concepts, score=score, fingerprint=f"{a.fingerprint}+paper", **parts)


def _log_odds(probabilities: np.ndarray) -> np.ndarray:
    p = np.clip(probabilities.astype(np.float64), 1e-9, 1 - 1e-9)
    found: np.ndarray = np.log(p / (1 - p))
    return found
