"""Enrol a concept from named regions drawn in other programs; each reference is the marked part of a tagged photo."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from engine.concepts.body_crops import with_bodies
from engine.concepts.enrol import KNOWN, Enrolment, Guess, enrol_crops, findings_hint
from engine.concepts.existing import ExistingConcept, check_kind, find_existing
from engine.concepts.reference_crops import (
    SMALLEST_FACE,
    SMALLEST_REGION,
    DuplicateFinder,
    PhotoFinding,
    ReferenceCrop,
    complete_crop,
    find_outliers,
    make_crop,
)
from engine.concepts.tagged_photos import Search, Tagged, spread, upright_box
from engine.core.boxes import Box, iou
from engine.core.class_words import kind_of_word
from engine.core.errors import NoUsablePhotoError, PhotoError
from engine.core.types import Kind
from engine.photos.decode import Photo, decode_photo, read_photo
from engine.session import Session
from engine.vision.cached_extractor import CachedExtractor
from engine.vision.faces import Face
from engine.vision.regions import RegionFeatures

MOST = 20
"""Default for the most references to take; more make every match slower and improve little."""
_LOOKS = 5
"""How many photos are opened at most for each wanted reference."""
_FITS, _WITHIN = 0.2, 0.8
"""A face or detection fits a region from this IoU; it contains the region from this share of the region's area."""
_MOVE = "Correct the region in the program that made it."


@dataclass(frozen=True)
class Chosen:
    """The crops to enrol a concept from, with pictures of them; nothing is stored yet."""

    guess: Guess
    views: tuple[ReferenceCrop, ...]
    crops: tuple[Image.Image, ...]
    findings: tuple[PhotoFinding, ...]
    left: int  # number of tagged photos that were not opened
    known: Mapping[str, Path] = field(default_factory=dict)  # tagged photos that are references, by content hash


@dataclass(frozen=True)
class Wanted:
    """The user's choices for a concept that is to be enrolled from regions. most: how many references to take."""

    name: str
    kind: Kind | None = None
    category: str | None = None
    most: int = MOST
    seed: int = 0
    replace: bool = False


def choose_references(session: Session, search: Search, wanted: Wanted, *, keep: bool = True) -> Chosen:
    """Choose crops from tagged photos, spread over time, until there are enough.

    Tagged photos that are references already count, too. keep: store features in the cache.

    Raises:
        NoUsablePhotoError: no photo has this tag, or none of the photos can be used.
        UsageError: the user gave another kind than the concept has.
    """
    if not search.found:
        raise NoUsablePhotoError(
            f"nobody and nothing is tagged {wanted.name!r} in these photos", hint=_names_hint(search)
        )
    existing = find_existing(session.store, session.extractor, wanted.name, replace=wanted.replace)
    check_kind(existing, wanted.kind, wanted.category)
    guess = Guess(existing.concept.kind, wanted.category) if existing else _guess(search, wanted)
    chooser = _Chooser(session.extractor, guess.kind, np.random.default_rng(wanted.seed), existing, keep=keep)
    looked = 0
    for tagged in spread(search.found):
        if len(chooser.views) + len(chooser.known) == wanted.most or looked == wanted.most * _LOOKS:
            break
        looked += 1
        chooser.look_at(tagged)
    chooser.drop_outliers()
    findings = tuple(sorted(chooser.findings, key=lambda f: str(f.path)))
    if not chooser.views and not chooser.known:
        raise NoUsablePhotoError(f"none of the photos tagged {wanted.name!r} can be used", hint=findings_hint(findings))
    left = len(search.found) - looked
    return Chosen(guess, tuple(chooser.views), tuple(chooser.crops), findings, left, chooser.known)


def enrol_tagged(session: Session, chosen: Chosen, wanted: Wanted, *, negatives: Sequence[Path] = ()) -> Enrolment:
    """Create a concept from the chosen references, or add them to it; raises what `enrol_crops` raises."""
    return enrol_crops(
        session,
        wanted.name,
        chosen.views,
        chosen.findings,
        chosen.guess,
        negatives=negatives,
        seed=wanted.seed,
        replace=wanted.replace,
        given=chosen.known,
    )


def _names_hint(search: Search) -> str:
    names = ", ".join(f"{name} ({count})" for name, count in search.names[:40])
    more = f" and {len(search.names) - 40} more" if len(search.names) > 40 else ""
    return f"Tagged are: {names}{more}." if names else "They have no named regions; give photos without --from-regions."


def _guess(search: Search, wanted: Wanted) -> Guess:
    """Return the kind: the user's, that of the class word, a pet if most regions are of the type pet, or a person."""
    if wanted.kind is not None:
        return Guess(wanted.kind, wanted.category)
    if wanted.category:
        return Guess(kind_of_word(wanted.category), wanted.category, kind_guessed=True)
    pets = sum(t.region.type.casefold() == "pet" for t in search.found)
    kind = Kind.PET if pets > len(search.found) / 2 else Kind.PERSON
    return Guess(kind, None, kind_guessed=True, by_word=False)


class _Chooser:
    """Collect crops photo by photo; the pixels of a photo are freed after its crop is taken."""

    def __init__(
        self,
        extractor: CachedExtractor,
        kind: Kind,
        rng: np.random.Generator,
        existing: ExistingConcept | None,
        *,
        keep: bool,
    ) -> None:
        self._extractor, self._kind, self._rng, self._keep = extractor, kind, rng, keep
        self._references = {r.content_hash: r for r in existing.concept.references} if existing else {}
        self._existing = existing.views if existing else []
        self._seen = DuplicateFinder()
        self.known: dict[str, Path] = {}
        self.views: list[ReferenceCrop] = []
        self.crops: list[Image.Image] = []
        self.findings: list[PhotoFinding] = []

    def look_at(self, tagged: Tagged) -> None:
        """Take the crop of a tagged photo, or note why it cannot be used."""
        try:
            photo = decode_photo(read_photo(tagged.path))
        except PhotoError as err:
            self._note(tagged.path, str(err).removeprefix(f"{tagged.path}: "), err.hint)
            return
        same, alike = self._seen.look_at(photo)
        box = upright_box(tagged, photo.facts)
        if photo.facts.content_hash in self._references and not same:
            self._meet(photo, box)
        elif same or alike:
            self._note(tagged.path, f"almost the same picture as {(same or alike or tagged.path).name}")
        elif box is None:
            self._note(tagged.path, "the region was drawn on another crop of the photo", _MOVE)
        elif self._kind is Kind.PERSON:
            self._use_face(photo, box)
        else:
            self._use_region(photo, box)

    def _meet(self, photo: Photo, box: Box | None) -> None:
        """Note a photo that is a reference already, and whether its region differs."""
        old_box = self._references[photo.facts.content_hash].box
        self.known[photo.facts.content_hash] = photo.path
        moved = box is not None and old_box is not None and _shared(old_box, box) < _FITS * min(old_box.area, box.area)
        text = f"{KNOWN}, with another region" if moved else KNOWN
        advice = "To use this region: myvlm concepts remove-photos, then add it again." if moved else ""
        self.findings.append(PhotoFinding(photo.path, True, text, advice, known=True))

    def drop_outliers(self) -> None:
        """Remove faces that are similar to none of the others, because tags are sometimes wrong."""
        if self._kind is not Kind.PERSON or not self.views:
            return
        faces = [*(v.feature for v in self.views), *(views[0] for views in self._existing)]
        outliers = find_outliers(self._extractor.config, faces)[: len(self.views)]
        for view in (v for v, outlier in zip(self.views, outliers, strict=True) if outlier):
            path = view.reference.path
            self.findings = [f for f in self.findings if f.path.absolute() != path]
            self._note(path, "the face is like none of the others with that name", "Is the right person tagged?")
        self.crops = [c for c, outlier in zip(self.crops, outliers, strict=True) if not outlier]
        self.views = [v for v, outlier in zip(self.views, outliers, strict=True) if not outlier]

    def _note(self, path: Path, found: str, advice: str = "") -> None:
        self.findings.append(PhotoFinding(path, False, found, advice))

    def _use_face(self, photo: Photo, region: Box) -> None:
        faces = self._extractor.find_faces([photo], keep=self._keep)[0]
        face = face_in(faces, region)
        if face is None:
            inside = sum(_holds(region, f.box) for f in faces)
            self._note(photo.path, f"{inside} faces in the region" if inside > 1 else "no face in the region", _MOVE)
        elif min(face.box.x1 - face.box.x0, face.box.y1 - face.box.y0) < SMALLEST_FACE:
            self._note(photo.path, "the face is too small")
        else:
            crop = make_crop(photo, face.box, face.embedding)
            (with_body,) = with_bodies(self._extractor, [photo], [crop], keep=self._keep)
            self._add(photo, with_body, "the face in the region")

    def _use_region(self, photo: Photo, region: Box) -> None:
        if min(region.x1 - region.x0, region.y1 - region.y0) < SMALLEST_REGION:
            self._note(photo.path, "the region is too small")
            return
        regions = self._extractor.find_regions([photo], keep=self._keep)[0]
        best = max(regions.regions, key=lambda r: iou(r.box, region))
        word = best.word if iou(best.box, region) >= _FITS else ""
        crop = make_crop(photo, region, np.zeros(0, np.float32), word)
        crop = complete_crop(self._extractor, photo, crop, _without_whole(regions, region), self._rng)
        self._add(photo, crop, "the region")

    def _add(self, photo: Photo, view: ReferenceCrop, found: str) -> None:
        crop = photo.image.crop(view.box.grown(1.4, *photo.image.size).rounded())
        crop.thumbnail((240, 240))
        self.views.append(view)
        self.crops.append(crop)
        self.findings.append(PhotoFinding(photo.path, True, found))


def face_in(faces: Sequence[Face], region: Box) -> Face | None:
    """Return the face that a region marks: the one with the highest IoU, or the only one in a region around a body."""
    inside = [f for f in faces if _holds(region, f.box)]
    best = max(inside, key=lambda f: iou(f.box, region), default=None)
    return best if best is not None and (iou(best.box, region) >= _FITS or len(inside) == 1) else None


def _holds(region: Box, box: Box) -> bool:
    x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    return region.x0 <= x <= region.x1 and region.y0 <= y <= region.y1


def _without_whole(regions: RegionFeatures, region: Box) -> RegionFeatures:
    """Return the regions without detections that contain the marked region, such as the dog around its marked head."""
    kept = [
        i
        for i, r in enumerate(regions.regions)
        if r.source != "detector" or _shared(r.box, region) < _WITHIN * region.area
    ]
    return RegionFeatures(tuple(regions.regions[i] for i in kept), regions.features[kept])


def _shared(a: Box, b: Box) -> float:
    return Box(max(a.x0, b.x0), max(a.y0, b.y0), min(a.x1, b.x1), min(a.y1, b.y1)).area
