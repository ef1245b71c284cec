"""Enrolling a concept: look at its photos, choose what shows it, train its head."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.boxes import Box
from engine.errors import NoUsablePhotoError, PhotoError, UsageError
from engine.kinds import kind_of_word
from engine.photos.decode import Photo, decode_photo, read_photo
from engine.photos.discovery import iter_photos
from engine.pipeline.bank import load_bank
from engine.pipeline.negatives import encode_folders, find_background
from engine.pipeline.recognition import find_faces, find_regions, head_id
from engine.pipeline.session import Session
from engine.store.concepts import Head
from engine.store.names import check_name
from engine.types import Concept, Kind, Reference

SMALLEST_FACE = 24.0
SMALLEST_REGION = 20.0
"""Sides in pixels under which a face or region says too little about who it is."""
_SAME_PICTURE = 0.985
FEWEST_NEGATIVES = 30
"""Fewer views of other things and a head is not trained."""


@dataclass(frozen=True)
class Finding:
    """What was found in one photo given for a concept, and what to do about it."""

    path: Path
    used: bool
    found: str
    advice: str = ""


@dataclass(frozen=True)
class Enrolment:
    """A finished enrolment."""

    concept: Concept
    findings: tuple[Finding, ...]
    kind_guessed: bool
    category_guessed: bool
    negatives: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _View:
    """The part of a photo that shows the concept, with its feature (D,)."""

    photo: Photo
    box: Box
    feature: np.ndarray
    word: str = ""


def enrol(
    session: Session,
    name: str,
    paths: Sequence[Path],
    *,
    kind: Kind | None = None,
    category: str | None = None,
    negatives: Sequence[Path] = (),
    seed: int = 0,
) -> Enrolment:
    """Create or renew a concept from photos and train its head.

    Raises:
        NameRefusedError: the name cannot be stored.
        NoUsablePhotoError: no photo shows the concept.
        UsageError: there are too few negatives to tell a thing from others.
    """
    check_name(name)
    photos, findings = _load(iter_photos(paths))
    if not photos:
        raise NoUsablePhotoError(f"none of the photos for {name!r} can be used", hint=_told(findings))
    guessed = kind is None
    if kind is None:
        kind = kind_of_word(category) if category else _kind_by_faces(session, photos)
    views, more = (_face_views if kind is Kind.PERSON else _region_views)(session, photos)
    findings = sorted([*findings, *more], key=lambda f: str(f.path))
    if not views:
        raise NoUsablePhotoError(f"none of the photos shows {name!r}", hint=_told(findings))
    bank = load_bank(session.recogniser_config)
    word = category or _guess_category(kind, views)
    if guessed and not category and kind is not Kind.PERSON:
        kind = kind_of_word(word)
    background = np.zeros((0, 1), np.float32) if kind is Kind.PERSON else _background(session, views, negatives)
    if kind is not Kind.PERSON:
        _check_negatives(session, name, len(background) + len(bank.features))
    references = tuple(Reference(v.photo.path.absolute(), v.photo.facts.content_hash, v.box) for v in views)
    identifiers = tuple(session.vlm_config.identifiers["person" if kind is Kind.PERSON else "thing"])
    concept = session.store.put(name, kind, word, identifiers, references)
    count = _train_head(session, concept, views, background, seed)
    warnings = _warnings(len(views))
    return Enrolment(session.store.get(name), tuple(findings), guessed, category is None, count, warnings)


def _told(findings: Sequence[Finding]) -> str:
    return "; ".join(f"{f.path.name}: {f.found}" for f in findings)[:600]


def _load(paths: object) -> tuple[list[Photo], list[Finding]]:
    photos: list[Photo] = []
    findings: list[Finding] = []
    thumbnails: list[np.ndarray] = []
    for path in paths:  # type: ignore[attr-defined]
        try:
            photo = decode_photo(read_photo(path))
        except PhotoError as err:
            findings.append(Finding(path, False, str(err).removeprefix(f"{path}: "), err.hint))
            continue
        same = next((p for p in photos if p.facts.content_hash == photo.facts.content_hash), None)
        if same:
            findings.append(Finding(path, False, f"the same file as {same.path.name}", "Leave one of them out."))
            continue
        thumbnail = _thumbnail(photo)
        for other, known in zip(photos, thumbnails, strict=True):
            if float(thumbnail @ known) > _SAME_PICTURE:
                advice = "Another photo would teach more."
                findings.append(Finding(path, True, f"almost the same picture as {other.path.name}", advice))
                break
        photos.append(photo)
        thumbnails.append(thumbnail)
    return photos, findings


def _thumbnail(photo: Photo) -> np.ndarray:
    small = np.asarray(photo.image.resize((16, 16)).convert("L"), np.float32).ravel()
    centred = small - small.mean()
    return centred / (np.linalg.norm(centred) or 1.0)


def _kind_by_faces(session: Session, photos: Sequence[Photo]) -> Kind:
    """A person when most photos have a face, else a thing (the category may say pet)."""
    counts = [len(f) for f in find_faces(session, photos, keep=True)]
    return Kind.PERSON if sum(c > 0 for c in counts) > len(counts) / 2 else Kind.THING


def _face_views(session: Session, photos: Sequence[Photo]) -> tuple[list[_View], list[Finding]]:
    from engine.heads.matching import choose_views

    found = find_faces(session, photos, keep=True)
    findings, usable = [], []
    for photo, faces in zip(photos, found, strict=True):
        large = [f for f in faces if min(f.box.x1 - f.box.x0, f.box.y1 - f.box.y0) >= SMALLEST_FACE]
        if not faces:
            findings.append(Finding(photo.path, False, "no face", "Use a photo that shows the face."))
        elif not large:
            findings.append(Finding(photo.path, False, "the face is too small", "Use a closer photo."))
        else:
            usable.append((photo, large))
    if not usable:
        return [], findings
    sizes = [np.array([f.box.area for f in own]) / (p.image.width * p.image.height) for p, own in usable]
    chosen = choose_views([np.stack([f.embedding for f in own]) for _, own in usable], sizes)
    alike = np.stack([own[i].embedding for (_, own), i in zip(usable, chosen, strict=True)])
    nearest = (alike @ alike.T - 2 * np.eye(len(alike))).max(axis=1)
    strange = (nearest < session.recogniser_config.faces.threshold) & (len(usable) >= 3)
    views = []
    for (photo, own), i, stranger in zip(usable, chosen, strange, strict=True):
        if stranger:
            text = "nobody here looks like the person in the other photos"
            findings.append(Finding(photo.path, False, text, "Crop the photo to the face, if it is the right person."))
            continue
        views.append(_View(photo, own[i].box, own[i].embedding))
        several = len(own) > 1
        text = f"{len(own)} faces; took the one that the other photos share" if several else "one face"
        if several and len(usable) == 1:
            text = f"{len(own)} faces; took the largest"
        findings.append(Finding(photo.path, True, text, "Crop the photo if that is wrong." if several else ""))
    return views, findings


def _region_views(session: Session, photos: Sequence[Photo]) -> tuple[list[_View], list[Finding]]:
    from engine.heads.matching import choose_views

    found = find_regions(session, photos, keep=True)
    sizes = [
        np.array([r.box.area for r in f.regions]) / (p.image.width * p.image.height)
        for p, f in zip(photos, found, strict=True)
    ]
    chosen = choose_views([f.features for f in found], sizes)
    views, findings = [], []
    for photo, regions, i in zip(photos, found, chosen, strict=True):
        region = regions.regions[i]
        objects = sum(r.source == "detector" for r in regions.regions)
        if min(region.box.x1 - region.box.x0, region.box.y1 - region.box.y0) < SMALLEST_REGION:
            findings.append(Finding(photo.path, False, "what it shows is too small", "Use a closer photo."))
            continue
        views.append(_View(photo, region.box, regions.features[i], region.word))
        if objects > 1:
            text = f"{objects} things; took the one that the other photos share"
            findings.append(Finding(photo.path, True, text, "Crop the photo if that is wrong."))
        else:
            findings.append(Finding(photo.path, True, "one thing" if objects else "taken as a whole"))
    return views, findings


def _guess_category(kind: Kind, views: Sequence[_View]) -> str:
    """The detector's class word for most of the views; "person" or "thing" when there is none."""
    words = [v.word for v in views if v.word]
    if kind is Kind.PERSON or not words:
        return "person" if kind is Kind.PERSON else "thing"
    return max(sorted(set(words)), key=words.count)


def _background(session: Session, views: Sequence[_View], folders: Sequence[Path]) -> np.ndarray:
    """Features that are certainly not the concept: what else is in its photos, and the user's negatives."""
    regions = find_regions(session, [v.photo for v in views], keep=True)
    around = find_background(regions, [v.box for v in views])
    return np.concatenate([around, encode_folders(session, folders, around.shape[1])])


def _check_negatives(session: Session, name: str, known: int) -> None:
    """A head that has seen next to nothing else takes everything for the concept (measured: 99 % of unrelated
    features with three negatives); a wrong name is worse than no name.
    """
    same = session.store.find(name)
    others = sum(c.kind is not Kind.PERSON and c != same for c in session.store.all())
    if known + others < FEWEST_NEGATIVES:
        raise UsageError(
            f"there is too little that {name!r} could be told from: {known + others} views of other things",
            hint="Give --negatives FOLDER with some photos that do not show it; ten are a good start.",
        )


def _train_head(session: Session, concept: Concept, views: Sequence[_View], background: np.ndarray, seed: int) -> int:
    """Train and store the head, and those of its rivals; returns how many negatives it saw."""
    if concept.kind is Kind.PERSON:
        templates = np.stack([v.feature for v in views]).astype(np.float32)
        threshold = session.recogniser_config.faces.threshold
        head = Head(concept.id, head_id(session, concept.kind), "face", threshold, {"templates": templates}, {})
        session.store.save_head(head)
        return 0
    from engine.pipeline.object_heads import retrain_rivals, train_object_head

    rng = np.random.default_rng(seed)
    features = np.concatenate([session.recogniser.encode_views(v.photo.image, v.box, rng) for v in views])
    count = train_object_head(session, concept, features, background, seed)
    retrain_rivals(session, concept)
    return count


def _warnings(references: int) -> tuple[str, ...]:
    if references >= 3:
        return ()
    return (f"only {references} reference photo(s): three to five, in different places, recognise better",)
