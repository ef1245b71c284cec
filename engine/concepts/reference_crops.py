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
from engine.vision.regions import Region, RegionFeatures

SMALLEST_FACE = 24.0
SMALLEST_REGION = 20.0
"""Shortest sides in pixels of a face and of a region that are large enough to recognise a concept."""

_SAME_PICTURE = 0.985
"""Photos whose thumbnails correlate more are almost the same picture."""


@dataclass(frozen=True)
class PhotoFinding:
    """The result for one photo given for a concept, with advice. known: it was already a reference photo."""

    path: Path
    used: bool
    found: str
    advice: str = ""
    known: bool = False


@dataclass(frozen=True)
class ReferenceCrop:
    """The part of a photo that shows the concept, with its feature (D,); pixels are not kept.

    word: the detector's class word; features: (1 + A, D), the plain and the altered views; background: (B, D), features
    of the other regions in the photo (both for pets, things and bodies only); body: for a face, the crop of the whole
    person if it was detected; taken: when the photo was taken, ISO 8601.
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
    """Find copies and almost identical pictures among the photos seen so far."""

    def __init__(self) -> None:
        self._photos: list[tuple[Path, str, np.ndarray]] = []

    def look_at(self, photo: Photo) -> tuple[Path | None, Path | None]:
        """Return a previous photo with the same content and one with almost the same picture, or None for each."""
        thumbnail = _thumbnail(photo)
        same = next((p for p, content, _ in self._photos if content == photo.facts.content_hash), None)
        alike = next((p for p, _, other in self._photos if float(thumbnail @ other) > _SAME_PICTURE), None)
        if same is None:
            self._photos.append((photo.path, photo.facts.content_hash, thumbnail))
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
    extractor: CachedExtractor, photos: Sequence[Photo], existing_views: Sequence[np.ndarray] = ()
) -> tuple[list[ReferenceCrop], list[PhotoFinding]]:
    """Return of each photo the face that recurs in the other photos, and the findings.

    existing_views: the views (V, D) of each photo that is a reference already; faces are compared with them, too.
    """
    from engine.recognition.assignment import choose_crops

    detected = extractor.find_faces(photos, keep=True)
    findings, usable = [], []
    for photo, faces in zip(photos, detected, strict=True):
        large = [f for f in faces if min(f.box.x1 - f.box.x0, f.box.y1 - f.box.y0) >= SMALLEST_FACE]
        if not faces:
            findings.append(PhotoFinding(photo.path, False, "no face", "Use a photo that shows the face."))
        elif not large:
            findings.append(PhotoFinding(photo.path, False, "the face is too small", "Use a closer photo."))
        else:
            usable.append((photo, large))
    if not usable:
        return [], findings
    sizes = [
        np.array([f.box.area for f in large_faces]) / (p.image.width * p.image.height) for p, large_faces in usable
    ]
    chosen = choose_crops(
        [np.stack([f.embedding for f in large_faces]) for _, large_faces in usable], sizes, existing_views
    )
    chosen_features = [large_faces[i].embedding for (_, large_faces), i in zip(usable, chosen, strict=True)]
    outliers = find_outliers(extractor.config, [*chosen_features, *(views[0] for views in existing_views)])[
        : len(chosen_features)
    ]
    crops = []
    for (photo, large_faces), i, outlier in zip(usable, chosen, outliers, strict=True):
        if outlier:
            text = "no face here looks like the one in the other photos"
            findings.append(PhotoFinding(photo.path, False, text, "The right person? Crop to the face and add again."))
            continue
        crops.append(make_crop(photo, large_faces[i].box, large_faces[i].embedding))
        findings.append(_taken_from(photo, len(large_faces), "face", alone=len(usable) == 1 and not existing_views))
    return crops, findings


def _taken_from(photo: Photo, count: int, what: str, *, alone: bool) -> PhotoFinding:
    """Return the finding that one of `count` faces or objects was used; alone: there was no other photo to compare."""
    if count == 1:
        return PhotoFinding(photo.path, True, f"found one {what}")
    which = "the largest" if alone else "the one seen in your other photos"
    return PhotoFinding(photo.path, True, f"found {count} {what}s; using {which}", "Wrong? Crop and add again.")


def crop_regions(
    extractor: CachedExtractor,
    photos: Sequence[Photo],
    rng: np.random.Generator,
    existing_views: Sequence[np.ndarray] = (),
) -> tuple[list[ReferenceCrop], list[PhotoFinding]]:
    """Return of each photo the region that recurs in the other photos, and the findings.

    existing_views: the views (V, D) of each photo that is a reference already; regions are compared with them, too.
    """
    from engine.recognition.assignment import choose_crops

    detected = extractor.find_regions(photos, keep=True)
    sizes = [
        np.array([r.box.area for r in f.regions]) / (p.image.width * p.image.height)
        for p, f in zip(photos, detected, strict=True)
    ]
    chosen = choose_crops([f.features for f in detected], sizes, existing_views)
    crops, findings = [], []
    for photo, regions, i in zip(photos, detected, chosen, strict=True):
        region = regions.regions[i]
        objects = sum(r.source == "detector" for r in regions.regions)
        if min(region.box.x1 - region.box.x0, region.box.y1 - region.box.y0) < SMALLEST_REGION:
            findings.append(PhotoFinding(photo.path, False, "what it shows is too small", "Use a closer photo."))
            continue
        crop = make_crop(photo, region.box, regions.features[i], region.word)
        crops.append(complete_crop(extractor, photo, crop, regions, rng))
        if objects:
            findings.append(_taken_from(photo, objects, "object", alone=len(photos) == 1 and not existing_views))
        else:
            findings.append(PhotoFinding(photo.path, True, _grid_text(extractor.config, region)))
    return crops, findings


def _grid_text(config: RecogniserConfig, region: Region) -> str:
    """Return what was used of a photo in which no object was detected."""
    part = "the whole photo" if region.source == "photo" else "the part seen in your other photos"
    return f"no object found; using {part}" if config.detector else f"using {part}"


def find_outliers(config: RecogniserConfig, embeddings: Sequence[np.ndarray]) -> np.ndarray:
    """Return which faces (F, D) are similar to none of the others, (F,) bool; all False for fewer than three faces."""
    alike = np.stack(embeddings)
    nearest = (alike @ alike.T - 2 * np.eye(len(alike))).max(axis=1)
    return (nearest < config.faces.threshold) & (len(alike) >= 3)
