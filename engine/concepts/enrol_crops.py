"""Storing what shows a concept: a new one, photos added to a known one, or others in place of those it had."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from engine.concepts.body_crops import save_bodies
from engine.concepts.drawn_photos import recogniser_knows
from engine.concepts.existing import ExistingConcept, find_existing
from engine.concepts.negatives import encode_folders
from engine.concepts.object_heads import HeadExamples, Negatives, count_negatives, retrain_rivals, train_object_head
from engine.concepts.reference_crops import PhotoFinding, ReferenceCrop
from engine.concepts.similarity import (
    LikelySame,
    SharedPhoto,
    find_odd,
    find_same,
    find_shared,
    plain_views,
    same_words,
)
from engine.concepts.stored_crops import StoredCrop, face_head, join_rows, restore_crops, to_stored_crop
from engine.core.class_words import kind_of_word
from engine.core.errors import UsageError
from engine.core.types import Concept, Decision, Kind, Reference
from engine.recognition.explain.nearest import references_of
from engine.recognition.feedback_features import gather_feedback, rank_by_views
from engine.session import Session
from engine.store.concepts import ConceptStore
from engine.store.heads import ConceptHead, FaceHead, FeedbackFeatures, ObjectHead
from engine.store.names import check_name
from engine.vision.cached_extractor import CachedExtractor
from engine.vision.config import RecogniserConfig
from engine.vision.feature_bank import load_bank

FEWEST_NEGATIVES = 30
"""Fewer views of other things and a head is not trained."""


@dataclass(frozen=True)
class Guess:
    """What is known of a concept's kind and class word. `by_word`: a guessed kind follows the guessed word."""

    kind: Kind
    category: str | None
    kind_guessed: bool = False
    by_word: bool = True


@dataclass(frozen=True)
class Enrolment:
    """A finished enrolment. added, kept, replaced: how many reference photos are new, were there before and stay, and
    were there before and are gone; odd: references that do not look like the others; same_as: other concepts that seem
    to be this individual; shared: references that other concepts have, too. warnings: all of that, and more, in words.
    """

    concept: Concept
    findings: tuple[PhotoFinding, ...]
    kind_guessed: bool
    category_guessed: bool
    negatives: int
    warnings: tuple[str, ...] = ()
    negatives_from: Negatives = field(default_factory=Negatives)
    added: int = 0
    kept: int = 0
    replaced: int = 0
    odd: tuple[Path, ...] = ()
    same_as: tuple[LikelySame, ...] = ()
    shared: tuple[SharedPhoto, ...] = ()


@dataclass(frozen=True)
class _Taken:
    """What goes into a head: each photo's views, and negatives of no particular photo (B, D)."""

    shown: Sequence[StoredCrop]
    loose: np.ndarray
    views: Sequence[ReferenceCrop]
    earlier: ExistingConcept | None


def enrol_crops(
    session: Session,
    name: str,
    views: Sequence[ReferenceCrop],
    findings: Sequence[PhotoFinding],
    guess: Guess,
    *,
    negatives: Sequence[Path] = (),
    seed: int = 0,
    replace: bool = False,
    given: Mapping[str, Path] | None = None,
) -> Enrolment:
    """Create a concept from what is known to show it, or add that to a concept of this name, and train its head.
    `replace` drops the references that it had. `given`: where photos are now, by
    content; some may be references that were moved.

    Raises:
        NameRefusedError: the name cannot be stored.
        UsageError: there are too few negatives to tell a thing from others, or the concept is of another kind.
    """
    check_name(name)
    known, earlier = session.store.find(name), find_existing(session.store, session.extractor, name, replace=replace)
    if earlier is not None:
        _move_references(session.store, earlier.concept, given or {})
        if not (views or negatives or earlier.missing) and guess.category in (None, earlier.concept.category):
            return _unchanged(session.store, session.extractor, earlier, findings)
    kind, word = _kind_and_word(guess, views, earlier)
    rng = np.random.default_rng(seed)
    restored, lost = restore_crops(session.extractor, kind, earlier.missing, given or {}, rng) if earlier else ([], [])
    shown = [*(earlier.shown if earlier else ()), *restored, *map(to_stored_crop, views)]
    loose = earlier.loose if earlier else np.zeros((0, 1), np.float32)
    if kind is not Kind.PERSON:
        width = shown[0].views.shape[1]
        loose = np.concatenate([loose.reshape(-1, width), encode_folders(session.extractor, negatives, width)])
        _check_negatives(
            session.store, session.recogniser_config, name, sum(len(p.background) for p in shown) + len(loose)
        )
    references = (*(session.store.get(name).references if earlier else ()), *(v.reference for v in views))
    identifiers = tuple(session.vlm_config.identifiers["person" if kind is Kind.PERSON else "thing"])
    concept = session.store.put(name, kind, word, identifiers, references)
    negatives_from, untaught = _train_head(
        session.store, session.extractor, concept, _Taken(shown, loose, views, earlier), seed
    )
    imported = earlier is not None and earlier.imported
    notes = [*_lost_words(session.recogniser_config, lost), *map(not_learned, untaught)]
    notes += ["the imported head is replaced by one that was trained on your photos"] if imported else []
    counts = {"added": len(views), "kept": len(earlier.concept.references) if earlier else 0}
    counts["replaced"] = len(known.references) if known and replace else 0
    guessed = (guess.kind_guessed and earlier is None, guess.category is None and earlier is None)
    done = Enrolment(concept, tuple(findings), *guessed, negatives_from.total, tuple(notes), negatives_from, **counts)
    return _compared(session.store, session.extractor, done)


def not_learned(decision: Decision) -> str:
    """That a decision holds for its photo, but the head could not learn from it."""
    return (
        f"'{decision.verdict} {decision.path.name}' still holds for that photo, but nothing can be learned from it: the"
        " photo is not there as it was, or shows nothing to learn at that place"
    )


def _kind_and_word(guess: Guess, views: Sequence[ReferenceCrop], earlier: ExistingConcept | None) -> tuple[Kind, str]:
    """A concept's kind and class word: those that it has, the user's, or the detector's word for most of the views."""
    if earlier is not None:
        return earlier.concept.kind, guess.category or earlier.concept.category
    kind, word = guess.kind, guess.category or guess_category(guess.kind, views)
    if guess.kind_guessed and not guess.category and kind is not Kind.PERSON:
        if kind_of_word(word) is Kind.PERSON:  # the detector's word, but there is no face to know anybody by
            word = str(Kind.THING)
        kind = kind_of_word(word) if guess.by_word else kind
    return kind, word


def guess_category(kind: Kind, views: Sequence[ReferenceCrop]) -> str:
    """The detector's class word for most of the views; "person" or "thing" when there is none."""
    words = [v.word for v in views if v.word]
    if kind is Kind.PERSON or not words:
        return "person" if kind is Kind.PERSON else "thing"
    return max(sorted(set(words)), key=words.count)


def _check_negatives(store: ConceptStore, config: RecogniserConfig, name: str, known: int) -> None:
    """A head that has seen next to nothing else takes everything for the concept (measured: 99 % of unrelated
    features with three negatives); a wrong name is worse than no name.
    """
    same = store.find(name)
    others = sum(c.kind is not Kind.PERSON and c != same for c in store.all())
    known += len(load_bank(config).features)
    if known + others < FEWEST_NEGATIVES:
        raise UsageError(
            f"there is too little that {name!r} could be told from: {known + others} views of other things",
            hint="Give --negatives FOLDER with some photos that do not show it; ten are a good start.",
        )


def _move_references(store: ConceptStore, concept: Concept, given: Mapping[str, Path]) -> None:
    """Remember where reference photos are now that are no longer where they were."""
    moved = {
        r.content_hash: given[r.content_hash].absolute()
        for r in concept.references
        if r.content_hash in given and not r.path.exists()
    }
    if moved:
        store.move_references(concept, moved)


def _train_head(
    store: ConceptStore, extractor: CachedExtractor, concept: Concept, taken: _Taken, seed: int
) -> tuple[Negatives, tuple[Decision, ...]]:
    """Train and store the head, and those of its rivals; returns what negatives it saw, and of the user's earlier
    decisions those that it could not learn from.
    """
    model, rows = extractor.config.head_id(concept.kind), join_rows(taken.shown, taken.loose)
    before = store.load_head(concept.id, model)
    decisions = store.decisions.of(concept.id)
    taught, lost = gather_feedback(
        extractor, concept, decisions, rank_by_views(rows.features), FeedbackFeatures.of(before)
    )
    if concept.kind is Kind.PERSON:
        threshold = extractor.config.faces.threshold
        store.save_head(face_head(concept, model, threshold, rows, taught, _dates(taken, before)))
        save_bodies(store, extractor.config, concept, taken.views, adding=taken.earlier is not None)
        return Negatives(), lost
    own = (rows.background_of, rows.contents)
    lesson = HeadExamples(rows.features, rows.photos, rows.background, taught, (), *own)
    store.save_head(train_object_head(store, extractor.config, concept, lesson, seed))
    retrain_rivals(store, extractor.config, concept)
    return count_negatives(store, extractor.config, concept, lesson), lost


def _dates(taken: _Taken, before: ConceptHead | None) -> dict[str, str]:
    """Return when a person's reference photos were taken, ISO 8601 by content hash, as far as it is known."""
    known = before.taken if isinstance(before, FaceHead) and taken.earlier else {}
    return {**known, **{v.reference.content_hash: v.taken for v in taken.views if v.taken}}


def _lost_words(config: RecogniserConfig, lost: Sequence[Reference]) -> list[str]:
    used = config.name
    return [
        f"{r.path.name} is gone, and nothing of it is stored for the recogniser {used}: it stays a reference photo, but"
        " does not help here"
        for r in lost
    ]


def _unchanged(
    store: ConceptStore, extractor: CachedExtractor, earlier: ExistingConcept, findings: Sequence[PhotoFinding]
) -> Enrolment:
    """What there is to say when nothing new was given."""
    concept = store.get(earlier.concept.name)
    negatives = earlier.head.negatives if isinstance(earlier.head, ObjectHead) else 0
    kept = len(concept.references)
    done = Enrolment(concept, tuple(findings), False, False, negatives, kept=kept)
    return _compared(store, extractor, done)


def _compared(store: ConceptStore, extractor: CachedExtractor, done: Enrolment) -> Enrolment:
    """The enrolment with what comparing the concept's photos with one another, and with other concepts, shows."""
    concept, config = store.get(done.concept.name), extractor.config
    head = store.load_head(concept.id, extractor.config.head_id(concept.kind))
    paths = {r.content_hash: r.path for r in concept.references}
    odd: tuple[Path, ...] = ()
    knows = recogniser_knows(extractor.config, concept)
    if head is not None and knows:
        flags = find_odd(plain_views(head, config.augmentations), config.duplicate_threshold(concept.kind))
        contents = references_of(store, extractor, concept, head)
        odd = tuple(paths[contents[n]] for n in np.flatnonzero(flags).tolist() if contents.get(n) in paths)
    same, shared = find_same(store, extractor.config, concept), find_shared(store, concept, concept.references)
    few = () if len(concept.references) >= 3 else (_few_words(len(concept.references)),)
    real = () if knows else (f"the recogniser {config.name} only knows drawn photos and misses much in real ones",)
    warnings = (*few, *real, *done.warnings, *(_odd_words(concept, p) for p in odd))
    warnings += tuple(same_words(s.concept, concept) for s in same)
    warnings += tuple(_shared_words(concept, s) for s in shared if s.same_part and s.concept not in _of(same))
    values = {**vars(done), "concept": concept, "odd": odd, "same_as": same, "shared": shared, "warnings": warnings}
    return Enrolment(**values)


def _of(same: Sequence[LikelySame]) -> list[Concept]:
    return [s.concept for s in same]


def _few_words(references: int) -> str:
    photos = "one reference photo" if references == 1 else f"{references} reference photos"
    return f"only {photos}: three to five, in different places, recognise better"


def _odd_words(concept: Concept, path: Path) -> str:
    command = f"myvlm concepts remove-photos {shlex.quote(concept.name)} {shlex.quote(str(path))}"
    return (
        f"{path.name} does not look like the other photos of {concept.name}. If it shows something else, run: {command}"
    )


def _shared_words(concept: Concept, shared: SharedPhoto) -> str:
    return (
        f"{shared.path.name} is a reference photo of {concept.name} and of {shared.concept.name}, with the same part of"
        " it. Take it from the one that it does not show: myvlm concepts remove-photos NAME PHOTO"
    )
