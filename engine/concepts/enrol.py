"""Enrol a concept from photos: choose the crop that shows it in each photo, store the concept and train its head."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from engine.concepts.body_crops import with_bodies
from engine.concepts.enrol_crops import Guess, enrol_crops, guess_category
from engine.concepts.enrolment import Enrolment
from engine.concepts.existing import ExistingConcept, another_kind_hint, check_kind, find_existing
from engine.concepts.reference_crops import DuplicateFinder, PhotoFinding, ReferenceCrop, crop_faces, crop_regions
from engine.concepts.similarity import looks_odd_beside
from engine.core.class_words import kind_of_word
from engine.core.errors import NoUsablePhotoError, PhotoError, UsageError
from engine.core.types import Kind
from engine.photos.decode import Photo, decode_photo, read_photo
from engine.photos.discovery import iter_photos
from engine.session import Session
from engine.store.names import check_name
from engine.vision.cached_extractor import CachedExtractor

__all__ = ["KNOWN", "Enrolment", "Guess", "enrol", "enrol_crops", "findings_hint"]

KNOWN = "already a reference photo"


def enrol(
    session: Session,
    name: str,
    paths: Sequence[Path],
    *,
    kind: Kind | None = None,
    category: str | None = None,
    negatives: Sequence[Path] = (),
    seed: int = 0,
    replace: bool = False,
) -> Enrolment:
    """Create a concept from photos, or add photos to it, and train its head. replace: drop the photos that it had.

    Raises:
        NameRefusedError: the name cannot be stored.
        NoUsablePhotoError: no photo shows the concept.
        UsageError: the concept is of another kind.
    """
    check_name(name)
    existing = find_existing(session.store, session.extractor, name, replace=replace)
    check_kind(existing, kind, category)
    photos, findings = _load(iter_photos(paths))
    if not photos:
        raise NoUsablePhotoError(f"none of the photos for {name!r} can be used", hint=findings_hint(findings))
    contents = existing.contents if existing else frozenset()
    new_photos = [p for p in photos if p.facts.content_hash not in contents]
    findings += [PhotoFinding(p.path, True, KNOWN, known=True) for p in photos if p.facts.content_hash in contents]
    guess = _guess(session.extractor, photos, existing, kind, category)
    crops, new_findings = (
        _find_crops(session.extractor, guess.kind, new_photos, existing, seed) if new_photos else ([], [])
    )
    findings = sorted([*findings, *new_findings], key=lambda f: str(f.path))
    if not crops and len(new_photos) == len(photos):
        hint = findings_hint(findings) + (f". {another_kind_hint(existing.concept)}" if existing else "")
        raise NoUsablePhotoError(f"none of the photos shows {name!r}", hint=hint)
    if existing is not None and kind is None and not category:
        _check_similarity(session.extractor, existing, new_photos, crops)
    given = {p.facts.content_hash: p.path for p in photos}
    return enrol_crops(
        session, name, crops, findings, guess, negatives=negatives, seed=seed, replace=replace, given=given
    )


def _guess(
    extractor: CachedExtractor,
    photos: Sequence[Photo],
    existing: ExistingConcept | None,
    kind: Kind | None,
    category: str | None,
) -> Guess:
    """Return the category and the kind: the existing concept's, the user's, that of the class word, or by faces."""
    if existing is not None:
        return Guess(existing.concept.kind, category)
    if kind is not None:
        return Guess(kind, category)
    by_photos = kind_of_word(category) if category else _kind_by_faces(extractor, photos)
    return Guess(by_photos, category, kind_guessed=True)


def _find_crops(
    extractor: CachedExtractor, kind: Kind, photos: Sequence[Photo], existing: ExistingConcept | None, seed: int
) -> tuple[list[ReferenceCrop], list[PhotoFinding]]:
    """Return the crop that shows the concept in each photo, and the findings."""
    existing_views = existing.views if existing else ()
    if kind is not Kind.PERSON:
        return crop_regions(extractor, photos, np.random.default_rng(seed), existing_views)
    crops, findings = crop_faces(extractor, photos, existing_views)
    return with_bodies(extractor, photos, crops), findings


def _check_similarity(
    extractor: CachedExtractor, existing: ExistingConcept, photos: Sequence[Photo], crops: Sequence[ReferenceCrop]
) -> None:
    """Check that the new photos show the kind of the pet or thing to which they are added.

    Raises:
        UsageError: none of them looks like the concept, and the faces or detections in them are of another kind.
    """
    kind = existing.concept.kind
    if kind is Kind.PERSON or not crops or not existing.shown:
        return
    plain = np.stack([crop.feature if crop.features is None else crop.features[0] for crop in crops])
    if not looks_odd_beside(plain, existing.plain, extractor.config.duplicate_threshold(kind)).all():
        return
    seen = _kind_by_faces(extractor, photos)
    if seen is not Kind.PERSON:
        seen = kind_of_word(guess_category(seen, crops))
    if seen is not kind:
        what = f"{'this photo shows' if len(crops) == 1 else 'these photos show'} a {seen}"
        raise UsageError(
            f"{existing.concept.name!r} is enrolled as a {kind}, and {what} that does not look like it",
            hint=f"{another_kind_hint(existing.concept)} If they do show it, add --kind {kind}.",
        )


def findings_hint(findings: Sequence[PhotoFinding]) -> str:
    """Return the findings as one line for a hint, at most 600 characters."""
    return "; ".join(f"{f.path.name}: {f.found}" for f in findings)[:600]


def _load(paths: Iterable[Path]) -> tuple[list[Photo], list[PhotoFinding]]:
    photos: list[Photo] = []
    findings: list[PhotoFinding] = []
    seen = DuplicateFinder()
    for path in paths:
        try:
            photo = decode_photo(read_photo(path))
        except PhotoError as err:
            findings.append(PhotoFinding(path, False, str(err).removeprefix(f"{path}: "), err.hint))
            continue
        same, alike = seen.look_at(photo)
        if same:
            findings.append(PhotoFinding(path, False, f"the same file as {same.name}", "Leave one of them out."))
            continue
        if alike:
            advice = "Another photo would teach more."
            findings.append(PhotoFinding(path, True, f"almost the same picture as {alike.name}", advice))
        photos.append(photo)
    return photos, findings


def _kind_by_faces(extractor: CachedExtractor, photos: Sequence[Photo]) -> Kind:
    """Return `PERSON` if more than half of the photos have a face, else `THING`; the category may make it a pet."""
    counts = [len(f) for f in extractor.find_faces(photos, keep=True)]
    return Kind.PERSON if sum(c > 0 for c in counts) > len(counts) / 2 else Kind.THING
