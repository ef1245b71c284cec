"""Pick the crop that shows the concept in each reference photo, with its features."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engine.concepts.negatives import find_background
from engine.core.boxes import Box
from engine.core.types import Reference
from engine.photos.decode import Photo
from engine.vision.cached_extractor import CachedExtractor
from engine.vision.config import RecogniserConfig
from engine.vision.regions import RegionFeatures

SMALLEST_FACE = 24.0
SMALLEST_REGION = 20.0
"""Sides in pixels under which a face or region says too little about who it is."""

_SAME_PICTURE = 0.985


@dataclass(frozen=True)
class PhotoFinding:
    """What was found in one photo given for a concept, and what to do about it. known: it was a reference before."""

    path: Path
    used: bool
    found: str
    advice: str = ""
    known: bool = False


@dataclass(frozen=True)
class ReferenceCrop:
    """The part of a photo that shows the concept, with its feature (D,); pixels are not kept.

    features: (1 + A, D), plain and altered views. background: (B, D), what else is in the photo. Both for pets and
    things only; `word` is the detector's class word. body: of a face, the region of the whole person, if there is one;
    taken: when the photo was, ISO 8601.
    """

    reference: Reference
    feature: np.ndarray
    word: str = ""
    features: np.ndarray | None = None
    background: np.ndarray | None = None
    body: "ReferenceCrop | None" = None
    taken: str | None = None

    @property
    def box(self) -> Box:
        """The part of the photo, in pixels of the upright photo.

        Raises:
            ValueError: the reference has no box; `make_crop` always gives it one.
        """
        if self.reference.box is None:
            raise ValueError("a crop needs a box")
        return self.reference.box


class DuplicateFinder:
    """The photos that were looked at so far, to know copies and almost the same pictures by."""

    def __init__(self) -> None:
        self._known: list[tuple[Path, str, np.ndarray]] = []

    def look_at(self, photo: Photo) -> tuple[Path | None, Path | None]:
        """Return an earlier photo with the same content, and one with almost the same picture; None for neither."""
        thumbnail = _thumbnail(photo)
        same = next((p for p, content, _ in self._known if content == photo.facts.content_hash), None)
        alike = next((p for p, _, other in self._known if float(thumbnail @ other) > _SAME_PICTURE), None)
        if same is None:
            self._known.append((photo.path, photo.facts.content_hash, thumbnail))
        return same, alike


def _thumbnail(photo: Photo) -> np.ndarray:
    small = np.asarray(photo.image.resize((16, 16)).convert("L"), np.float32).ravel()
    centred = small - small.mean()
    return centred / (np.linalg.norm(centred) or 1.0)


def make_crop(photo: Photo, box: Box, feature: np.ndarray, word: str = "") -> ReferenceCrop:
    """Make the crop of a photo with its feature (D,), without altered views and background."""
    reference = Reference(photo.path.absolute(), photo.facts.content_hash, box)
    return ReferenceCrop(reference, feature, word, taken=photo.facts.taken)


def complete_crop(
    extractor: CachedExtractor, photo: Photo, crop: ReferenceCrop, regions: RegionFeatures, rng: np.random.Generator
) -> ReferenceCrop:
    """Return a pet's or thing's crop with the features that its head is trained on."""
    background = find_background([regions], [crop.box])
    return replace(crop, features=extractor.encode_views(photo.image, crop.box, rng), background=background)


def crop_faces(
    extractor: CachedExtractor, photos: Sequence[Photo], known: Sequence[np.ndarray] = ()
) -> tuple[list[ReferenceCrop], list[PhotoFinding]]:
    """Of each photo the face that the other photos share, and the views (V, D) of each photo known before."""
    from engine.recognition.assignment import choose_crops

    found = extractor.find_faces(photos, keep=True)
    findings, usable = [], []
    for photo, faces in zip(photos, found, strict=True):
        large = [f for f in faces if min(f.box.x1 - f.box.x0, f.box.y1 - f.box.y0) >= SMALLEST_FACE]
        if not faces:
            findings.append(PhotoFinding(photo.path, False, "no face", "Use a photo that shows the face."))
        elif not large:
            findings.append(PhotoFinding(photo.path, False, "the face is too small", "Use a closer photo."))
        else:
            usable.append((photo, large))
    if not usable:
        return [], findings
    sizes = [np.array([f.box.area for f in own]) / (p.image.width * p.image.height) for p, own in usable]
    chosen = choose_crops([np.stack([f.embedding for f in own]) for _, own in usable], sizes, known)
    taken = [own[i].embedding for (_, own), i in zip(usable, chosen, strict=True)]
    outliers = find_outliers(extractor.config, [*taken, *(views[0] for views in known)])[: len(taken)]
    views = []
    for (photo, own), i, outlier in zip(usable, chosen, outliers, strict=True):
        if outlier:
            text = "no face here looks like the one in the other photos"
            findings.append(PhotoFinding(photo.path, False, text, "The right person? Crop to the face and add again."))
            continue
        views.append(make_crop(photo, own[i].box, own[i].embedding))
        findings.append(_taken_from(photo, len(own), "face", alone=len(usable) == 1 and not known))
    return views, findings


def _taken_from(photo: Photo, count: int, what: str, *, alone: bool) -> PhotoFinding:
    """Report that one of several faces or objects was chosen. alone: there was nothing to compare it with."""
    if count == 1:
        return PhotoFinding(photo.path, True, f"found one {what}")
    which = "the largest" if alone else "the one seen in your other photos"
    return PhotoFinding(photo.path, True, f"found {count} {what}s; using {which}", "Wrong? Crop and add again.")


def crop_regions(
    extractor: CachedExtractor, photos: Sequence[Photo], rng: np.random.Generator, known: Sequence[np.ndarray] = ()
) -> tuple[list[ReferenceCrop], list[PhotoFinding]]:
    """Of each photo the region that the other photos share, and the views (V, D) of each photo known before."""
    from engine.recognition.assignment import choose_crops

    found = extractor.find_regions(photos, keep=True)
    sizes = [
        np.array([r.box.area for r in f.regions]) / (p.image.width * p.image.height)
        for p, f in zip(photos, found, strict=True)
    ]
    chosen = choose_crops([f.features for f in found], sizes, known)
    views, findings = [], []
    for photo, regions, i in zip(photos, found, chosen, strict=True):
        region = regions.regions[i]
        objects = sum(r.source == "detector" for r in regions.regions)
        if min(region.box.x1 - region.box.x0, region.box.y1 - region.box.y0) < SMALLEST_REGION:
            findings.append(PhotoFinding(photo.path, False, "what it shows is too small", "Use a closer photo."))
            continue
        view = make_crop(photo, region.box, regions.features[i], region.word)
        views.append(complete_crop(extractor, photo, view, regions, rng))
        if objects:
            findings.append(_taken_from(photo, objects, "object", alone=len(photos) == 1 and not known))
        else:
            findings.append(PhotoFinding(photo.path, True, "no object found; using the whole photo"))
    return views, findings


def find_outliers(config: RecogniserConfig, embeddings: Sequence[np.ndarray]) -> np.ndarray:
    """Return which faces (F, D) are like none of the others, (F,) bool; at least three faces are needed."""
    alike = np.stack(embeddings)
    nearest = (alike @ alike.T - 2 * np.eye(len(alike))).max(axis=1)
    return (nearest < config.faces.threshold) & (len(alike) >= 3)
