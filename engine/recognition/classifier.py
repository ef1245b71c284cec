"""Classifiers of regions: scores and thresholds of all enrolled concepts of one group of heads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np

from engine.core.errors import ConceptError
from engine.core.files import sha256_of
from engine.core.types import Concept, Kind, Scale
from engine.recognition.assignment import face_scores
from engine.recognition.enrolled import METHOD, features_kind
from engine.recognition.fits import fit_prior, make_reference_set
from engine.recognition.linear_head import LinearHead
from engine.recognition.scoring import FEWEST_OTHERS, Scorer, restore
from engine.store.calibrations import StoredCalibration
from engine.store.fits import StoredFits
from engine.store.heads import ConceptHead, FaceHead, ObjectHead
from engine.vision.config import RecogniserConfig


@dataclass(frozen=True)
class ConceptClassifier:
    """Scores and thresholds of all enrolled concepts of one group of heads.

    score: from unit features of regions (R, D) to scores (R, C); one scale for all concepts. name_thresholds,
    suggestion_thresholds: (C,). separable: (C,) bool, False for a concept whose own references hardly reach its name
    threshold. fingerprint: differs between classifiers that may recognise differently. calibration: where the
    thresholds are from, None for the prior. scorer: of open-set scores, None for the paper's heads. scale: of scores
    and thresholds.
    """

    concepts: tuple[Concept, ...]
    score: Callable[[np.ndarray], np.ndarray]
    name_thresholds: np.ndarray
    suggestion_thresholds: np.ndarray
    separable: np.ndarray
    fingerprint: str
    calibration: StoredCalibration | None = None
    scorer: Scorer | None = None
    scale: Scale = Scale.LOG_ODDS


class ThresholdOrigin(StrEnum):
    """What thresholds come from; the values are those of the JSON output."""

    CALIBRATED = "calibrated"
    PRIOR = "usual"
    PAPER = "paper"


@dataclass(frozen=True)
class ThresholdSource:
    """Where thresholds are from; for calibrated ones the folder, how many photos, and the accepted false-name rate."""

    origin: ThresholdOrigin
    folder: Path | None = None
    photos: int | None = None
    per_1000: float | None = None


def threshold_source(classifier: ConceptClassifier, column: int) -> ThresholdSource:
    """Return where a concept's thresholds are from."""
    if column >= open_set_size(classifier):
        return ThresholdSource(ThresholdOrigin.PAPER)
    made = classifier.calibration
    if made is None:
        return ThresholdSource(ThresholdOrigin.PRIOR)
    return ThresholdSource(ThresholdOrigin.CALIBRATED, made.root, made.photos, made.per_1000)


def open_set_size(classifier: ConceptClassifier) -> int:
    """Return how many of a classifier's concepts, which come first, have open-set scores."""
    return len(classifier.scorer.gallery.concepts) if classifier.scorer is not None else 0


def check_paper_heads(heads: Mapping[Concept, ConceptHead]) -> None:
    """Check that the paper's linear heads were trained with enough negatives; imported ones are taken as they are.

    Raises:
        ConceptError: one was trained with so few that it would take everything for its concept.
    """
    for concept, head in heads.items():
        if isinstance(head, ObjectHead) and not head.is_imported and head.negatives < FEWEST_OTHERS:
            raise ConceptError(
                f"{concept.name!r} has too few negatives for --heads paper: {head.negatives} of {FEWEST_OTHERS}",
                hint="Leave out --heads paper, or run myvlm add-concept again with --negatives FOLDER.",
            )


def paper_classifier(heads: Mapping[Concept, ConceptHead]) -> ConceptClassifier:
    """Return the paper's heads with their own thresholds; they give no suggestions."""
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
    config: RecogniserConfig,
    heads: Mapping[Concept, ConceptHead],
    calibration: StoredCalibration | None,
    fits: StoredFits | None = None,
) -> ConceptClassifier:
    """Return the open-set classifier with the thresholds of a calibration, or of the prior where there is none.

    A concept that was imported without views is scored by its linear head, as in the paper. fits: as in
    `calibrated_classifier`.
    """
    known = {c: h for c, h in heads.items() if len(h.views)}
    if not known:
        return paper_classifier(heads)
    classifier = calibrated_classifier(config, known, calibration, fits)
    rest = {c: h for c, h in heads.items() if c not in known}
    return _join(classifier, paper_classifier(rest)) if rest else classifier


def calibrated_classifier(
    config: RecogniserConfig,
    heads: Mapping[Concept, ConceptHead],
    found: StoredCalibration | None,
    fits: StoredFits | None = None,
) -> ConceptClassifier:
    """Return the open-set classifier of concepts with views, with the thresholds of a calibration or of the prior.

    fits: where what is fitted is kept; None fits anew.
    """
    concepts = tuple(heads)
    strangers = found.tensors["strangers"].astype(np.float32) if found else np.zeros((0, 1), np.float32)
    gallery = make_reference_set(config, heads, strangers)
    known = dict(found.thresholds) if found else {}
    if found is not None and all(c.id in known for c in concepts):
        scorer = restore(gallery, found.tensors)
    else:  # nothing was calibrated, or a concept was enrolled since
        scorer, prior = fit_prior(config, heads, gallery, found, fits)
        known = prior | known
    own = [known[c.id] for c in concepts]
    names, suggestions = (np.array([getattr(t, k) for t in own]) for k in ("name", "suggestion"))
    separable = np.array([t.separable for t in own], bool)
    mark = sha256_of(repr((names.tolist(), strangers.tobytes())).encode())[:16]
    what = f"open-set {METHOD} {'faces' if features_kind(heads) is Kind.PERSON else 'regions'} {mark}"
    return ConceptClassifier(concepts, scorer.scores, names, suggestions, separable, what, found, scorer)


def _join(a: ConceptClassifier, b: ConceptClassifier) -> ConceptClassifier:
    """Join two classifiers; probabilities of the second, whose heads are linear, become log-odds, too."""

    def score(features: np.ndarray) -> np.ndarray:
        return np.concatenate([a.score(features), _log_odds(b.score(features))], axis=1)

    return replace(
        a,
        concepts=a.concepts + b.concepts,
        score=score,
        name_thresholds=np.concatenate([a.name_thresholds, _log_odds(b.name_thresholds)]),
        suggestion_thresholds=np.concatenate([a.suggestion_thresholds, b.suggestion_thresholds]),
        separable=np.concatenate([a.separable, b.separable]),
        fingerprint=f"{a.fingerprint}+paper",
    )


def _log_odds(probabilities: np.ndarray) -> np.ndarray:
    p = np.clip(probabilities.astype(np.float64), 1e-9, 1 - 1e-9)
    found: np.ndarray = np.log(p / (1 - p))
    return found
