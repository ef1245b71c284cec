"""Fit the scorer and the thresholds of enrolled concepts without a calibration, or read what was fitted before."""

import hashlib
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np

from engine import __version__
from engine.core.types import Concept, Kind
from engine.recognition.enrolled import METHOD, features_kind
from engine.recognition.pair_features import ReferenceSet, Template
from engine.recognition.scoring import Scorer, make_scorer, restore
from engine.recognition.thresholds import learn_from_decisions, prior_thresholds
from engine.store.calibrations import StoredCalibration, Thresholds
from engine.store.fits import StoredFits
from engine.store.heads import ConceptHead
from engine.vision.config import RecogniserConfig
from engine.vision.feature_bank import load_bank, load_face_bank

_FORMAT = 1
"""Version of a stored fit; raise it when its arrays change."""


def fit_prior(
    config: RecogniserConfig,
    heads: Mapping[Concept, ConceptHead],
    gallery: ReferenceSet,
    found: StoredCalibration | None,
    fits: StoredFits | None,
) -> tuple[Scorer, dict[str, Thresholds]]:
    """Return the scorer, and thresholds without a calibration by concept id.

    gallery: the heads' reference set. found: a calibration, whose scorer is used. fits: where the result is kept under
    a digest of everything that it depends on, and read the next time; None fits anew.
    """
    digest = _digest(config, heads, gallery, found) if fits is not None else ""
    stored = fits.load(digest) if fits is not None else None
    if stored is not None:
        return _restore_exactly(gallery, stored), _thresholds(heads, stored)
    scorer = scorer_of(config, heads, gallery) if found is None else restore(gallery, found.tensors)
    names, suggestions, separable = prior_thresholds(scorer.held_out, config.threshold_prior(features_kind(heads)))
    learned = learn_from_decisions(names, suggestions, decided_scores(scorer, heads))
    fitted = _exact_tensors(scorer) | {"names": learned, "suggestions": suggestions, "separable": separable}
    if fits is not None:
        fits.save(digest, fitted)
    return scorer, _thresholds(heads, fitted)


def _thresholds(heads: Mapping[Concept, ConceptHead], arrays: Mapping[str, np.ndarray]) -> dict[str, Thresholds]:
    rows = zip(heads, arrays["names"], arrays["suggestions"], arrays["separable"], strict=True)
    return {c.id: Thresholds(float(name), float(maybe), bool(apart)) for c, name, maybe, apart in rows}


def _exact_tensors(scorer: Scorer) -> dict[str, np.ndarray]:
    """Return the scorer's numbers in the precision in which it calculates; that of `Scorer.tensors` is lower."""
    scalars = {"bias": np.array([scorer.bias], np.float64), "rival": np.array([scorer.rival], np.float64)}
    return scalars | {"weights": scorer.weights, "centre": scorer.centre, "scale": scorer.scale}


def _restore_exactly(gallery: ReferenceSet, arrays: Mapping[str, np.ndarray]) -> Scorer:
    bias, rival = float(arrays["bias"][0]), float(arrays["rival"][0])
    return Scorer(gallery, arrays["weights"], bias, arrays["centre"], arrays["scale"], rival)


def _digest(
    config: RecogniserConfig,
    heads: Mapping[Concept, ConceptHead],
    gallery: ReferenceSet,
    found: StoredCalibration | None,
) -> str:
    """Return the digest of everything that a fit depends on, 32 hexadecimal digits; the concepts' names are not."""
    kind = features_kind(heads)
    confirmed = [t.confirmed for t in gallery.concepts]
    method = (_FORMAT, __version__, METHOD, kind, config.threshold_prior(kind), config.scoring_weights(kind), confirmed)
    digest = hashlib.sha256(repr(method).encode())
    templates = chain.from_iterable((t.views, t.photos, t.rejected) for t in gallery.concepts)
    calibrated = [] if found is None else [found.tensors[name] for name in sorted(found.tensors)]
    for array in (*templates, gallery.cohort, *calibrated):
        digest.update(repr((array.dtype.str, array.shape)).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:32]


def scorer_of(config: RecogniserConfig, heads: Mapping[Concept, ConceptHead], gallery: ReferenceSet) -> Scorer:
    """Return the logistic head of some enrolled concepts: with the recogniser's weights, or fitted to them."""
    kind = features_kind(heads)
    return make_scorer(gallery, config.threshold_prior(kind), config.scoring_weights(kind))


def make_reference_set(
    config: RecogniserConfig, heads: Mapping[Concept, ConceptHead], library: np.ndarray | Sequence
) -> ReferenceSet:
    """Return the enrolled concepts as templates, and the cohort that shows none of them.

    The cohort: the shipped bank, the background of the reference photos, and `library` (N, D), features of the library.
    """
    templates = tuple(make_template(h, config.augmentations) for h in heads.values())
    people = features_kind(heads) is Kind.PERSON
    bank = (load_face_bank if people else load_bank)(config).features
    width = templates[0].views.shape[1]
    parts = [bank, *(h.background for h in heads.values()), np.asarray(library)]
    kept = [p.astype(np.float32) for p in parts if p.ndim == 2 and p.shape[1] == width]
    return ReferenceSet(templates, np.concatenate([np.zeros((0, width), np.float32), *kept]))


def make_template(head: ConceptHead, augmentations: int) -> Template:
    """Return a head as a template; every confirmation counts as one more photo of the concept."""
    views, photos = head.views, head.photo_numbers(augmentations)
    confirmed, counts = head.feedback.confirmed_rows(head.width), head.feedback.confirmed_counts
    later = np.repeat(np.arange(len(counts)), counts) + int(photos.max(initial=-1)) + 1
    rejected = head.feedback.rejected_rows(head.width)
    return Template(
        np.concatenate([views, confirmed]), np.concatenate([photos, later]).astype(np.int64), rejected, len(counts)
    )


def decided_scores(scorer: Scorer, heads: Mapping[Concept, ConceptHead]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return for each concept the log-odds of confirmed regions, each left out of its score, and of rejected ones."""
    counts = [len(h.feedback.confirmed) for h in heads.values()]
    held_out = [h[len(h) - n :] for h, n in zip(scorer.held_out, counts, strict=True)]
    return list(zip(held_out, scorer.rejected(), strict=True))
