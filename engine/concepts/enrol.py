"""Enrolling a concept from photos: look at them, choose what shows it, store it and train its head."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from engine.concepts.body_crops import with_bodies
from engine.concepts.enrol_crops import FEWEST_NEGATIVES, Guess, enrol_crops, guess_category
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

__all__ = ["FEWEST_NEGATIVES", "KNOWN", "Enrolment", "Guess", "enrol", "enrol_crops", "told"]

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
    """Create a concept from photos, or add photos to it, and train its head. `replace` drops the photos it had.

    Raises:
        NameRefusedError: the name cannot be stored.
        NoUsablePhotoError: no photo shows the concept.
        UsageError: there are too few negatives to tell a thing from others, or the concept is of another kind.
    """
    check_name(name)
    earlier = find_existing(session.store, session.extractor, name, replace=replace)
    check_kind(earlier, kind, category)
    photos, findings = _load(iter_photos(paths))
    if not photos:
        raise NoUsablePhotoError(f"none of the photos for {name!r} can be used", hint=told(findings))
    known = earlier.contents if earlier else frozenset()
    fresh = [p for p in photos if p.facts.content_hash not in known]
    findings += [PhotoFinding(p.path, True, KNOWN, known=True) for p in photos if p.facts.content_hash in known]
    guess = _guess(session.extractor, photos, earlier, kind, category)
    views, more = _find_views(session.extractor, guess.kind, fresh, earlier, seed) if fresh else ([], [])
    findings = sorted([*findings, *more], key=lambda f: str(f.path))
    if not views and len(fresh) == len(photos):
        hint = told(findings) + (f". {another_kind_hint(earlier.concept)}" if earlier else "")
        raise NoUsablePhotoError(f"none of the photos shows {name!r}", hint=hint)
    if earlier is not None and kind is None and not category:
        _check_looks(session.extractor, earlier, fresh, views)
    given = {p.facts.content_hash: p.path for p in photos}
    return enrol_crops(
        session, name, views, findings, guess, negatives=negatives, seed=seed, replace=replace, given=given
    )


def _guess(
    extractor: CachedExtractor,
    photos: Sequence[Photo],
    earlier: ExistingConcept | None,
    kind: Kind | None,
    category: str | None,
) -> Guess:
    """Guess the kind: the existing concept's, the user's, that of the category, or else by the faces in the photos."""
    if earlier is not None:
        return Guess(earlier.concept.kind, category)
    if kind is not None:
        return Guess(kind, category)
    by_photos = kind_of_word(category) if category else _kind_by_faces(extractor, photos)
    return Guess(by_photos, category, kind_guessed=True)


def _find_views(
    extractor: CachedExtractor, kind: Kind, photos: Sequence[Photo], earlier: ExistingConcept | None, seed: int
) -> tuple[list[ReferenceCrop], list[PhotoFinding]]:
    """Return what shows the concept in each photo."""
    known = earlier.views if earlier else ()
    if kind is not Kind.PERSON:
        return crop_regions(extractor, photos, np.random.default_rng(seed), known)
    views, findings = crop_faces(extractor, photos, known)
    return with_bodies(extractor, photos, views), findings


def _check_looks(
    extractor: CachedExtractor, earlier: ExistingConcept, photos: Sequence[Photo], views: Sequence[ReferenceCrop]
) -> None:
    """Make sure that photos are not of another kind than the pet or thing that they are added to.

    Raises:
        UsageError: none of them looks like it, and by faces or the detector they show another kind.
    """
    kind = earlier.concept.kind
    if kind is Kind.PERSON or not views or not earlier.shown:
        return
    plain = np.stack([v.feature if v.features is None else v.features[0] for v in views])
    if not looks_odd_beside(plain, earlier.plain, extractor.config.duplicate_threshold(kind)).all():
        return
    seen = _kind_by_faces(extractor, photos)
    if seen is not Kind.PERSON:
        seen = kind_of_word(guess_category(seen, views))
    if seen is not kind:
        what = f"{'this photo shows' if len(views) == 1 else 'these photos show'} a {seen}"
        raise UsageError(
            f"{earlier.concept.name!r} is enrolled as a {kind}, and {what} that does not look like it",
            hint=f"{another_kind_hint(earlier.concept)} If they do show it, add --kind {kind}.",
        )


def told(findings: Sequence[PhotoFinding]) -> str:
    """Return what was found, as a hint."""
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
    """Return a person when most photos have a face, else a thing (the category may say pet)."""
    counts = [len(f) for f in extractor.find_faces(photos, keep=True)]
    return Kind.PERSON if sum(c > 0 for c in counts) > len(counts) / 2 else Kind.THING
