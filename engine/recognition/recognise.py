"""Recognise the enrolled concepts in photos: score their regions, and place each concept at most once in a photo."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.core.boxes import Box
from engine.core.types import Decision, Match
from engine.photos.decode import Photo
from engine.recognition.bodies import drop_faced
from engine.recognition.classifier import ConceptClassifier
from engine.recognition.displaced import DisplacedConcept, find_displaced
from engine.recognition.enrolled import HeadGroup
from engine.recognition.feedback import Placement, Scored, place, place_suggestions
from engine.recognition.gallery import Gallery
from engine.recognition.scenes import Scene, cached_scenes, make_scenes, score_scene, score_scenes
from engine.vision.cached_extractor import CachedExtractor
from engine.vision.regions import Region


@dataclass(frozen=True)
class Recognition:
    """Who is in a photo.

    matches: the concepts that are named. suggestions: the concepts that may be there, for the user to decide.
    displaced: the concepts that would be named but for an enrolled one that was not requested; `look_up_all` leaves
    them out.
    """

    matches: tuple[Match, ...] = ()
    suggestions: tuple[Match, ...] = ()
    displaced: tuple[DisplacedConcept, ...] = ()


def recognise(
    extractor: CachedExtractor, photos: Sequence[Photo], gallery: Gallery, *, keep: bool = True
) -> list[tuple[Match, ...]]:
    """Return the concepts that are in each photo, by name, with boxes in the photo's pixels.

    keep: whether new features are written to the cache.
    """
    return [recognition.matches for recognition in recognise_all(extractor, photos, gallery, keep=keep)]


def recognise_all(
    extractor: CachedExtractor, photos: Sequence[Photo], gallery: Gallery, *, keep: bool = True
) -> list[Recognition]:
    """Recognise as `recognise` does, and return suggestions and displaced concepts, too."""
    detections = extractor.detect(photos, faces=gallery.needs_faces, regions=gallery.needs_regions, keep=keep)
    results = []
    for photo, detected in zip(photos, detections, strict=True):
        scenes = make_scenes(gallery, detected)
        whole = Box(0.0, 0.0, float(photo.image.width), float(photo.image.height))
        recognition = _recognise_scenes(gallery, scenes, _decisions_in_image(photo, gallery), whole)
        if recognition is None:
            raise RuntimeError("a photo with all its detections and a known size can always be recognised")
        results.append(_in_photo(photo, recognition))
    return results


def look_up(
    extractor: CachedExtractor, content_hash: str, gallery: Gallery, whole: Box | None = None
) -> Recognition | None:
    """Recognise the concepts in a photo that is in the cache, else None; no model runs and no pixel is decoded.

    whole: the photo's box, where its size is known.
    """
    decisions = gallery.labels.about(content_hash)
    return _recognise_scenes(gallery, cached_scenes(extractor, content_hash, gallery), decisions, whole)


def look_up_all(
    extractor: CachedExtractor, photos: Sequence[tuple[str, Box | None]], gallery: Gallery
) -> list[Recognition | None]:
    """Look up many photos, given by content hash and box; all are scored at once, which takes half the time."""
    scenes = [cached_scenes(extractor, content_hash, gallery) for content_hash, _ in photos]
    scores: list[dict[HeadGroup, np.ndarray]] = [{} for _ in photos]
    for group, classifier in gallery.classifiers.items():
        cached = [(i, scene) for i, photo in enumerate(scenes) if (scene := photo[group]) is not None]
        for (i, _), part in zip(cached, score_scenes(classifier, [s for _, s in cached]), strict=True):
            scores[i][group] = part
    return [
        _recognise_scenes(gallery, photo_scenes, gallery.labels.about(content_hash), whole, photo_scores)
        for (content_hash, whole), photo_scenes, photo_scores in zip(photos, scenes, scores, strict=True)
    ]


def _recognise_scenes(
    gallery: Gallery,
    scenes: Mapping[HeadGroup, Scene | None],
    decisions: Sequence[Decision],
    whole: Box | None,
    scores: Mapping[HeadGroup, np.ndarray] | None = None,
) -> Recognition | None:
    """Join the results of all classifiers for one photo; None when a scene or a box that is needed is missing.

    scores: by group, where they are known; displaced concepts are then not looked for.
    """
    matches: list[Match] = []
    suggestions: list[Match] = []
    displaced: list[DisplacedConcept] = []
    for group, scene in scenes.items():
        if scene is None:
            return None
        known = None if scores is None else scores.get(group)
        result = _recognise_scene(gallery, group, scene, decisions, whole, known)
        if result is None:
            return None
        if group is HeadGroup.BODIES:
            seen = (*matches, *suggestions)
            result = Recognition(drop_faced(result.matches, seen), drop_faced(result.suggestions, seen))
        matches += result.matches
        suggestions += result.suggestions
        displaced += result.displaced
    return Recognition(_requested(matches, gallery), _requested(suggestions, gallery), tuple(displaced))


def _recognise_scene(
    gallery: Gallery,
    group: HeadGroup,
    scene: Scene,
    decisions: Sequence[Decision],
    whole: Box | None,
    known: np.ndarray | None,
) -> Recognition | None:
    """Place the concepts of one classifier in a photo; None when `whole` is needed and not known."""
    classifier, unrivalled = gallery.classifiers[group], gallery.unrivalled.get(group)
    scores = score_scene(classifier, scene) if known is None else known
    boxes = [r.box for r in scene.regions]
    scored = Scored([c.id for c in classifier.concepts], scores, classifier.name_thresholds, boxes, scene.same)
    placed = place(scored, decisions, whole)
    if placed is None:
        return None
    suggested = place_suggestions(replace(scored, thresholds=classifier.suggestion_thresholds), decisions, placed)
    displaced: tuple[DisplacedConcept, ...] = ()
    if unrivalled is not None and known is None and len(scene.features):
        displaced = find_displaced(classifier, unrivalled, scored, scene.features, decisions, placed)
    return Recognition(
        tuple(_match(classifier, scene.regions, p) for p in placed),
        tuple(_match(classifier, scene.regions, p) for p in suggested),
        displaced,
    )


def _match(classifier: ConceptClassifier, regions: Sequence[Region], placed: Placement) -> Match:
    concept, threshold = classifier.concepts[placed.concept], float(classifier.name_thresholds[placed.concept])
    return Match(
        concept.id,
        concept.name,
        concept.kind,
        concept.version,
        placed.score if np.isfinite(placed.score) else 0.0,  # 0 for a confirmed face that is not good enough
        threshold,
        placed.box,
        "photo" if placed.region is None else regions[placed.region].source,
        classifier.scale,
    )


def _requested(matches: Sequence[Match], gallery: Gallery) -> tuple[Match, ...]:
    """Return the matches of requested concepts, by name."""
    requested = (m for m in matches if m.concept_id in gallery.requested)
    return tuple(sorted(requested, key=lambda m: m.name.casefold()))


def _decisions_in_image(photo: Photo, gallery: Gallery) -> list[Decision]:
    """Return what the user decided about a photo, with boxes in pixels of the decoded picture."""
    decisions = gallery.labels.about(photo.facts.content_hash)
    return [replace(d, box=photo.in_image(d.box)) if d.box else d for d in decisions]


def _in_photo(photo: Photo, recognition: Recognition) -> Recognition:
    """Return a recognition with boxes in pixels of the photo instead of the decoded picture."""
    return Recognition(
        tuple(replace(m, box=photo.in_photo(m.box)) for m in recognition.matches),
        tuple(replace(m, box=photo.in_photo(m.box)) for m in recognition.suggestions),
        tuple(replace(d, box=photo.in_photo(d.box)) for d in recognition.displaced),
    )
