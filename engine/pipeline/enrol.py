"""Enrolling a concept: look at its photos, choose what shows it, train its head."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.errors import NoUsablePhotoError, PhotoError, UsageError
from engine.kinds import kind_of_word
from engine.photos.decode import Photo, decode_photo, read_photo
from engine.photos.discovery import iter_photos
from engine.pipeline.bank import load_bank
from engine.pipeline.body_views import save_bodies, with_bodies
from engine.pipeline.dates import dates_of
from engine.pipeline.features import find_faces
from engine.pipeline.negatives import encode_folders
from engine.pipeline.recognition import head_id
from engine.pipeline.session import Session
from engine.pipeline.views import Finding, Seen, View, face_views, region_views
from engine.store.concepts import Head
from engine.store.names import check_name
from engine.types import Concept, Decision, Kind

FEWEST_NEGATIVES = 30
"""Fewer views of other things and a head is not trained."""


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
class Guess:
    """What is known of a concept's kind and class word. `by_word`: a guessed kind follows the guessed word."""

    kind: Kind
    category: str | None
    kind_guessed: bool = False
    by_word: bool = True


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
        raise NoUsablePhotoError(f"none of the photos for {name!r} can be used", hint=told(findings))
    guessed = kind is None
    if kind is None:
        kind = kind_of_word(category) if category else _kind_by_faces(session, photos)
    if kind is Kind.PERSON:
        views, more = face_views(session, photos)
        views = with_bodies(session, photos, views)
    else:
        views, more = region_views(session, photos, np.random.default_rng(seed))
    findings = sorted([*findings, *more], key=lambda f: str(f.path))
    if not views:
        raise NoUsablePhotoError(f"none of the photos shows {name!r}", hint=told(findings))
    guess = Guess(kind, category, kind_guessed=guessed)
    return enrol_views(session, name, views, findings, guess, negatives=negatives, seed=seed)


def enrol_views(
    session: Session,
    name: str,
    views: Sequence[View],
    findings: Sequence[Finding],
    guess: Guess,
    *,
    negatives: Sequence[Path] = (),
    seed: int = 0,
) -> Enrolment:
    """Create or renew a concept from what is known to show it, and train its head.

    Raises:
        NameRefusedError: the name cannot be stored.
        UsageError: there are too few negatives to tell a thing from others.
    """
    check_name(name)
    kind, bank = guess.kind, load_bank(session.recogniser_config)
    word = guess.category or _guess_category(kind, views)
    if guess.kind_guessed and not guess.category and kind is not Kind.PERSON:
        if kind_of_word(word) is Kind.PERSON:  # the detector's word, but there is no face to know anybody by
            word = str(Kind.THING)
        kind = kind_of_word(word) if guess.by_word else kind
    background = np.zeros((0, 1), np.float32) if kind is Kind.PERSON else _background(session, views, negatives)
    if kind is not Kind.PERSON:
        _check_negatives(session, name, len(background) + len(bank.features))
    identifiers = tuple(session.vlm_config.identifiers["person" if kind is Kind.PERSON else "thing"])
    concept = session.store.put(name, kind, word, identifiers, tuple(v.reference for v in views))
    count, lost = _train_head(session, concept, views, background, seed)
    warnings = (*_warnings(len(views)), *(not_learned(d) for d in lost))
    guessed = guess.category is None
    return Enrolment(session.store.get(name), tuple(findings), guess.kind_guessed, guessed, count, warnings)


def told(findings: Sequence[Finding]) -> str:
    """What was found, as a hint."""
    return "; ".join(f"{f.path.name}: {f.found}" for f in findings)[:600]


def _load(paths: Iterable[Path]) -> tuple[list[Photo], list[Finding]]:
    photos: list[Photo] = []
    findings: list[Finding] = []
    seen = Seen()
    for path in paths:
        try:
            photo = decode_photo(read_photo(path))
        except PhotoError as err:
            findings.append(Finding(path, False, str(err).removeprefix(f"{path}: "), err.hint))
            continue
        same, alike = seen.look_at(photo)
        if same:
            findings.append(Finding(path, False, f"the same file as {same.name}", "Leave one of them out."))
            continue
        if alike:
            advice = "Another photo would teach more."
            findings.append(Finding(path, True, f"almost the same picture as {alike.name}", advice))
        photos.append(photo)
    return photos, findings


def _kind_by_faces(session: Session, photos: Sequence[Photo]) -> Kind:
    """A person when most photos have a face, else a thing (the category may say pet)."""
    counts = [len(f) for f in find_faces(session, photos, keep=True)]
    return Kind.PERSON if sum(c > 0 for c in counts) > len(counts) / 2 else Kind.THING


def _guess_category(kind: Kind, views: Sequence[View]) -> str:
    """The detector's class word for most of the views; "person" or "thing" when there is none."""
    words = [v.word for v in views if v.word]
    if kind is Kind.PERSON or not words:
        return "person" if kind is Kind.PERSON else "thing"
    return max(sorted(set(words)), key=words.count)


def _background(session: Session, views: Sequence[View], folders: Sequence[Path]) -> np.ndarray:
    """Features that are certainly not the concept: what else is in its photos, and the user's negatives."""
    around = np.concatenate([v.background for v in views if v.background is not None])
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


def not_learned(decision: Decision) -> str:
    """That a decision holds for its photo, but the head could not learn from it."""
    return (
        f"'{decision.verdict} {decision.path.name}' still holds for that photo, but nothing can be learned from it: the"
        " photo is not there as it was, or shows nothing to learn at that place"
    )


def _train_head(
    session: Session, concept: Concept, views: Sequence[View], background: np.ndarray, seed: int
) -> tuple[int, tuple[Decision, ...]]:
    """Train and store the head, and those of its rivals; returns how many negatives it saw, and of the user's earlier
    decisions those that it could not learn from.
    """
    from engine.pipeline.object_heads import Lesson, retrain_rivals, train_object_head
    from engine.pipeline.taught import Taught, gather_taught, rank_by_views

    model = head_id(session, concept.kind)
    own = [v.feature[None] if v.features is None else v.features for v in views]
    features = np.concatenate(own).astype(np.float32)
    photos = np.repeat(np.arange(len(own)), [len(rows) for rows in own])
    kept = Taught.beside(session.store.load_head(concept.id, model))
    decisions = session.store.decisions.of(concept.id)
    taught, lost = gather_taught(session, concept, decisions, rank_by_views(features), kept)
    if concept.kind is Kind.PERSON:
        threshold = session.recogniser_config.faces.threshold
        tensors = {"templates": features, "photos": photos, **taught.tensors()}
        session.store.save_head(Head(concept.id, model, "face", threshold, tensors, taught.facts() | dates_of(views)))
        save_bodies(session, concept, views)
        return 0, lost
    head = train_object_head(session, concept, Lesson(features, photos, background, taught), seed)
    session.store.save_head(head)
    retrain_rivals(session, concept)
    return int(head.facts["negatives"]), lost


def _warnings(references: int) -> tuple[str, ...]:
    if references >= 3:
        return ()
    return (f"only {references} reference photo(s): three to five, in different places, recognise better",)
