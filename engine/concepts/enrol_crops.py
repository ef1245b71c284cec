"""Store the reference crops of a concept and train its head: of a new concept, or added to an existing one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from pathlib import Path

import numpy as np

from engine.concepts.body_crops import save_bodies
from engine.concepts.concept_warnings import ConceptWarning, WarningCode
from engine.concepts.enrolment import Enrolment, compare_enrolment
from engine.concepts.existing import ExistingConcept, find_existing
from engine.concepts.negatives import encode_folders
from engine.concepts.object_heads import HeadExamples, Negatives, count_negatives, retrain_rivals, train_object_head
from engine.concepts.reference_crops import PhotoFinding, ReferenceCrop
from engine.concepts.stored_crops import StoredCrop, face_head, join_rows, restore_crops, to_stored_crop
from engine.core.class_words import kind_of_word
from engine.core.types import Concept, Decision, Kind, Reference
from engine.recognition.feedback_features import gather_feedback, rank_by_views
from engine.recognition.scoring import is_strict
from engine.session import Session
from engine.store.concepts import ConceptStore
from engine.store.heads import ConceptHead, FaceHead, FeedbackFeatures, ObjectHead
from engine.store.names import check_name
from engine.vision.cached_extractor import CachedExtractor
from engine.vision.config import RecogniserConfig
from engine.vision.feature_bank import load_bank


@dataclass(frozen=True)
class Guess:
    """A concept's kind and class word, as given or guessed. by_word: a guessed kind follows the guessed word."""

    kind: Kind
    category: str | None
    kind_guessed: bool = False
    by_word: bool = True


@dataclass(frozen=True)
class _HeadMaterial:
    """What a head is made of: each photo's views, negatives of no particular photo (B, D), and the new crops."""

    stored: Sequence[StoredCrop]
    loose: np.ndarray
    crops: Sequence[ReferenceCrop]
    existing: ExistingConcept | None
    missing: Sequence[Reference] = ()  # references of which nothing is stored or can be read

    @property
    def negatives(self) -> int:
        """How many negatives there are, in the reference photos and given by the user."""
        return sum(len(p.background) for p in self.stored) + len(self.loose)


def enrol_crops(
    session: Session,
    name: str,
    crops: Sequence[ReferenceCrop],
    findings: Sequence[PhotoFinding],
    guess: Guess,
    *,
    negatives: Sequence[Path] = (),
    seed: int = 0,
    replace: bool = False,
    given: Mapping[str, Path] | None = None,
) -> Enrolment:
    """Create a concept from crops that show it, or add them to the concept with this name, and train its head.

    replace: drop the references that the concept had; given: the paths of the photos that were given, by content hash:
    references among them may have been moved.

    Raises:
        NameRefusedError: the name cannot be stored.
        UsageError: the concept is of another kind.
    """
    check_name(name)
    store, extractor, paths = session.store, session.extractor, given or {}
    previous, existing = store.find(name), find_existing(store, extractor, name, replace=replace)
    if existing is not None:
        _move_references(store, existing.concept, paths)
        if not (crops or negatives or existing.missing) and guess.category in (None, existing.concept.category):
            return _unchanged(store, extractor, existing, findings)
    kind, word = _kind_and_word(guess, crops, existing)
    material = _collect(extractor, kind, crops, existing, negatives=negatives, paths=paths, seed=seed)
    others = _count_others(store, extractor.config, name, material.negatives)
    references = (*(store.get(name).references if existing else ()), *(c.reference for c in crops))
    identifiers = tuple(session.vlm_config.identifiers["person" if kind is Kind.PERSON else "thing"])
    concept = store.put(name, kind, word, identifiers, references)
    negatives_from, not_learned = _train_head(store, extractor, concept, material, seed)
    warnings = _training_warnings(extractor.config, concept, material, not_learned, others)
    replaced = len(previous.references) if previous and replace else 0
    enrolment = _make_enrolment(concept, tuple(findings), guess, material, negatives_from)
    return compare_enrolment(store, extractor, replace_fields(enrolment, warnings=warnings, replaced=replaced))


def _make_enrolment(
    concept: Concept,
    findings: tuple[PhotoFinding, ...],
    guess: Guess,
    material: _HeadMaterial,
    negatives_from: Negatives,
) -> Enrolment:
    """Return the enrolment of a concept whose head was trained, without warnings."""
    existing = material.existing
    return Enrolment(
        concept,
        findings,
        kind_guessed=guess.kind_guessed and existing is None,
        category_guessed=guess.category is None and existing is None,
        negatives=negatives_from.total,
        negatives_from=negatives_from,
        added=len(material.crops),
        kept=len(existing.concept.references) if existing else 0,
    )


def _collect(
    extractor: CachedExtractor,
    kind: Kind,
    crops: Sequence[ReferenceCrop],
    existing: ExistingConcept | None,
    *,
    negatives: Sequence[Path],
    paths: Mapping[str, Path],
    seed: int,
) -> _HeadMaterial:
    """Collect what the head is made of: what is stored, what can be read again, and the new crops."""
    stored = list(existing.shown) if existing else []
    loose = existing.loose if existing else np.zeros((0, 1), np.float32)
    missing: list[Reference] = []
    if existing is not None:
        restored, missing = restore_crops(extractor, kind, existing.missing, paths, np.random.default_rng(seed))
        stored += restored
    stored += map(to_stored_crop, crops)
    if kind is not Kind.PERSON:
        width = stored[0].views.shape[1]
        loose = np.concatenate([loose.reshape(-1, width), encode_folders(extractor, negatives, width)])
    return _HeadMaterial(stored, loose, crops, existing, missing)


def _training_warnings(
    config: RecogniserConfig, concept: Concept, material: _HeadMaterial, not_learned: Sequence[Decision], others: int
) -> tuple[ConceptWarning, ...]:
    """Return what could not be used, that an imported head was replaced, and that thresholds are strict.

    others: how many features of other things are known.
    """
    missing = (
        ConceptWarning(WarningCode.REFERENCE_MISSING, concept, path=r.path, model=config.name) for r in material.missing
    )
    decisions = (ConceptWarning(WarningCode.NOT_LEARNED, concept, decision=d) for d in not_learned)
    imported = material.existing is not None and material.existing.imported
    replaced = (ConceptWarning(WarningCode.IMPORTED_HEAD_REPLACED, concept),) if imported else ()
    is_named_strictly = concept.kind is not Kind.PERSON and is_strict(config, concept.kind, others)
    strict = (ConceptWarning(WarningCode.FEW_OTHERS, concept),) if is_named_strictly else ()
    return (*missing, *decisions, *replaced, *strict)


def _kind_and_word(guess: Guess, crops: Sequence[ReferenceCrop], existing: ExistingConcept | None) -> tuple[Kind, str]:
    """Return a concept's kind and class word: its own, the user's, or the detector's word for most of the crops."""
    if existing is not None:
        return existing.concept.kind, guess.category or existing.concept.category
    kind, word = guess.kind, guess.category or guess_category(guess.kind, crops)
    if guess.kind_guessed and not guess.category and kind is not Kind.PERSON:
        if kind_of_word(word) is Kind.PERSON:  # the detector's word, but there is no face to know anybody by
            word = str(Kind.THING)
        kind = kind_of_word(word) if guess.by_word else kind
    return kind, word


def guess_category(kind: Kind, crops: Sequence[ReferenceCrop]) -> str:
    """Return the class word that at least half of the crops have; "person" or "thing" when there is none."""
    words = [c.word for c in crops if c.word]
    best = max(sorted(set(words)), key=words.count, default="")
    if kind is Kind.PERSON or 2 * words.count(best) < len(crops) or not best:
        return "person" if kind is Kind.PERSON else "thing"
    return best


def _count_others(store: ConceptStore, config: RecogniserConfig, name: str, negatives: int) -> int:
    """Return how many features of other things are known: negatives, the shipped bank and other concepts."""
    same = store.find(name)
    others = sum(c.kind is not Kind.PERSON and c != same for c in store.all())
    return negatives + others + len(load_bank(config).features)


def _move_references(store: ConceptStore, concept: Concept, given: Mapping[str, Path]) -> None:
    """Store the new paths of reference photos that were moved."""
    moved = {
        r.content_hash: given[r.content_hash].absolute()
        for r in concept.references
        if r.content_hash in given and not r.path.exists()
    }
    if moved:
        store.move_references(concept, moved)


def _train_head(
    store: ConceptStore, extractor: CachedExtractor, concept: Concept, material: _HeadMaterial, seed: int
) -> tuple[Negatives, tuple[Decision, ...]]:
    """Train and store the head, and those of its rivals.

    Returns the numbers of negatives, and the user's earlier decisions that the head could not learn from.
    """
    config, rows = extractor.config, join_rows(material.stored, material.loose)
    model = config.head_id(concept.kind)
    before = store.load_head(concept.id, model)
    feedback, not_learned = gather_feedback(
        extractor,
        concept,
        store.decisions.of(concept.id),
        rank_by_views(rows.features),
        FeedbackFeatures.of(before),
    )
    if concept.kind is Kind.PERSON:
        dates = _dates(material, before)
        store.save_head(face_head(concept, model, config.faces.threshold, rows, feedback, dates))
        save_bodies(store, config, concept, material.crops, adding=material.existing is not None)
        return Negatives(), not_learned
    examples = HeadExamples(
        rows.features, rows.photos, rows.background, feedback, (), rows.background_of, rows.contents
    )
    store.save_head(train_object_head(store, config, concept, examples, seed))
    retrain_rivals(store, config, concept)
    return count_negatives(store, config, concept, examples), not_learned


def _dates(material: _HeadMaterial, before: ConceptHead | None) -> dict[str, str]:
    """Return when a person's reference photos were taken, ISO 8601 by content hash, as far as it is known."""
    stored = before.taken if isinstance(before, FaceHead) and material.existing else {}
    return {**stored, **{c.reference.content_hash: c.taken for c in material.crops if c.taken}}


def _unchanged(
    store: ConceptStore, extractor: CachedExtractor, existing: ExistingConcept, findings: Sequence[PhotoFinding]
) -> Enrolment:
    """Return the enrolment of a concept for which nothing new was given."""
    concept = store.get(existing.concept.name)
    negatives = existing.head.negatives if isinstance(existing.head, ObjectHead) else 0
    enrolment = Enrolment(concept, tuple(findings), False, False, negatives, kept=len(concept.references))
    return compare_enrolment(store, extractor, enrolment)
