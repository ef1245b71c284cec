"""Turn the faces and regions of one photo into what each classifier scores."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.core.boxes import Box
from engine.recognition.bodies import SOURCE, without_faces
from engine.recognition.classifier import ConceptClassifier
from engine.recognition.enrolled import HeadGroup
from engine.recognition.gallery import Gallery
from engine.recognition.quality import passes
from engine.vision.cached_extractor import CachedExtractor, Detections, corners
from engine.vision.config import FaceQuality
from engine.vision.faces import Face
from engine.vision.regions import Region, RegionFeatures, overlaps

_SAME_THING = 0.5
"""Regions that overlap more (IoU) cannot show two concepts."""


@dataclass(frozen=True)
class Scene:
    """The regions of one photo for one classifier.

    features: (R, D). usable: (R,) bool, the regions that may be named. same: (R, R) bool, which regions show the same
    thing.
    """

    regions: Sequence[Region]
    features: np.ndarray
    usable: np.ndarray
    same: np.ndarray


def cached_scenes(extractor: CachedExtractor, content_hash: str, gallery: Gallery) -> dict[HeadGroup, Scene | None]:
    """Return a photo's scenes from the cache, None where something is not cached; boxes are in the photo's pixels."""
    detections = extractor.cached(content_hash, faces=gallery.needs_faces, regions=gallery.needs_regions)
    return make_scenes(gallery, detections)


def make_scenes(gallery: Gallery, detections: Detections) -> dict[HeadGroup, Scene | None]:
    """Return the scene of each classifier, None where its detections are missing."""
    faces, regions, scale = detections.faces, detections.regions, detections.scale
    scenes: dict[HeadGroup, Scene | None] = {}
    if gallery.faces is not None:
        scenes[HeadGroup.FACES] = None if faces is None else _faces_scene(faces, gallery.quality, scale)
    if gallery.regions is not None:
        scenes[HeadGroup.REGIONS] = None if regions is None else _regions_scene(regions)
    if gallery.bodies is not None:
        if faces is None or regions is None:
            scenes[HeadGroup.BODIES] = None
        else:
            scenes[HeadGroup.BODIES] = _bodies_scene(regions, faces, gallery.quality, scale)
    return scenes


def _faces_scene(faces: Sequence[Face], quality: FaceQuality | None, scale: float) -> Scene:
    features = np.stack([f.embedding for f in faces]) if faces else np.zeros((0, 1), np.float32)  # (F, D)
    usable = np.array([quality is None or passes(f, quality, scale) for f in faces], bool)
    return Scene([Region(f.box, "face") for f in faces], features, usable, _same_thing([f.box for f in faces]))


def _regions_scene(detected: RegionFeatures) -> Scene:
    usable = np.ones(len(detected.regions), bool)
    return Scene(detected.regions, detected.features, usable, _same_thing([r.box for r in detected.regions]))


def _bodies_scene(detected: RegionFeatures, faces: Sequence[Face], quality: FaceQuality | None, scale: float) -> Scene:
    shown = [f.box for f in faces if quality is None or passes(f, quality, scale)]
    regions = [replace(r, source=SOURCE) for r in detected.regions]
    return replace(_regions_scene(detected), regions=regions, usable=without_faces(detected, shown))


def _same_thing(boxes: Sequence[Box]) -> np.ndarray:
    """Return which boxes overlap so much that they show the same thing, (R, R) bool."""
    return overlaps(np.array([corners(b) for b in boxes]).reshape(-1, 4)) > _SAME_THING


def score_scene(classifier: ConceptClassifier, scene: Scene) -> np.ndarray:
    """Return scores (R, C) of a photo's regions; -inf for regions that may not be named."""
    return score_scenes(classifier, [scene])[0]


def score_scenes(classifier: ConceptClassifier, scenes: Sequence[Scene]) -> list[np.ndarray]:
    """Return the scores (R, C) of many photos' regions, computed together."""
    features = [s.features for s in scenes if len(s.features)]
    if features:
        scores = classifier.score(np.concatenate(features))
    else:
        scores = np.zeros((0, len(classifier.concepts)), np.float32)
    ends = np.cumsum([len(s.regions) for s in scenes])
    parts = np.split(scores, ends[:-1]) if scenes else []
    for part, scene in zip(parts, scenes, strict=True):
        part[~scene.usable] = -np.inf
    return parts
