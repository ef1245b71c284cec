"""One photo as a classifier sees it, for one of its concepts: the material of explanations."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.core.errors import UsageError
from engine.core.types import Concept, Kind, Match
from engine.recognition.classifier import ConceptClassifier, open_set_size
from engine.recognition.enrolled import HeadGroup
from engine.recognition.explain.explanation import PairFeature
from engine.recognition.explain.runner_up import row_of
from engine.recognition.gallery import Gallery
from engine.recognition.pair_features import PAIR_FEATURES, compute_pair_features, rejection_penalty
from engine.recognition.quality import FaceFlaws, find_flaws
from engine.recognition.scenes import cached_scenes, score_scene
from engine.vision.cached_extractor import CachedExtractor
from engine.vision.regions import Region


@dataclass(frozen=True)
class ConceptView:
    """The regions of a photo with their scores for one concept, which is a column of a classifier.

    features: (R, D). raw: scores (R, C) of all regions; scores: the same, -inf for regions that may not be named.
    flaws: of each region; none for regions that are not faces.
    """

    classifier: ConceptClassifier
    column: int
    regions: Sequence[Region]
    features: np.ndarray
    raw: np.ndarray
    scores: np.ndarray
    flaws: Sequence[FaceFlaws]

    @property
    def concept(self) -> Concept:
        """The concept."""
        return self.classifier.concepts[self.column]

    @property
    def is_person(self) -> bool:
        """Whether the concept is a person."""
        return self.concept.kind is Kind.PERSON

    @property
    def lowest(self) -> float:
        """The lowest score at which the concept is named or suggested."""
        return min(self.name_threshold, float(self.classifier.suggestion_thresholds[self.column]))

    @property
    def name_threshold(self) -> float:
        """The lowest score at which the concept is named."""
        return float(self.classifier.name_thresholds[self.column])

    @property
    def suggestion_threshold(self) -> float | None:
        """The lowest score at which the concept is suggested; None where it cannot be suggested."""
        threshold = float(self.classifier.suggestion_thresholds[self.column])
        return threshold if np.isfinite(threshold) else None

    @property
    def separable(self) -> bool:
        """Whether the concept's own references reach its name threshold."""
        return bool(self.classifier.separable[self.column])

    def row_of(self, match: Match) -> int | None:
        """Return the region that a match of the concept is about."""
        return row_of(match, [r.box for r in self.regions], self.scores[:, self.column])


def view_photo(extractor: CachedExtractor, content_hash: str, gallery: Gallery, concept: Concept) -> ConceptView:
    """Return the view that a gallery of one classifier has of a photo.

    Raises:
        UsageError: the photo is not in the cache.
    """
    ((group, scene),) = cached_scenes(extractor, content_hash, gallery).items()
    if scene is None:
        raise UsageError("the photo was not looked at yet", hint="Run myvlm scan on it first.")
    classifier = gallery.classifiers[group]
    scores = score_scene(classifier, scene)
    raw = scores if scene.usable.all() else classifier.score(scene.features)
    flaws = [FaceFlaws()] * len(scene.regions)
    if group is HeadGroup.FACES and gallery.quality is not None:
        flaws = [find_flaws(f, gallery.quality) for f in extractor.cached_faces(content_hash) or []]
    column = [c.id for c in classifier.concepts].index(concept.id)
    return ConceptView(classifier, column, scene.regions, scene.features, raw, scores, flaws)


def explain_score(view: ConceptView, feature: np.ndarray) -> tuple[tuple[PairFeature, ...], float | None]:
    """Return what adds up to the score of a region with feature (D,), and the bias; none with the paper's heads."""
    scorer = view.classifier.scorer
    if scorer is None or view.column >= open_set_size(view.classifier):
        return (), None
    gallery = scorer.gallery
    values = compute_pair_features(feature[None], gallery.concepts, gallery.cohort)[0, view.column]  # (5,)
    parts = scorer.weights * (values - scorer.centre) / scorer.scale
    rows = [PairFeature(n, float(v), float(p)) for n, v, p in zip(PAIR_FEATURES, values, parts, strict=True)]
    rejected = gallery.concepts[view.column].rejected
    if len(rejected):
        penalty = rejection_penalty(feature[None], gallery.concepts)[0, view.column]
        rows.append(PairFeature("rejected", float((rejected @ feature).max()), 0.0 - float(penalty)))
    return tuple(rows), scorer.bias
