"""Merge two concepts that are the same individual: one takes the other's references, views and decisions."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from engine.concepts.body_crops import merge_bodies
from engine.concepts.concept_warnings import ConceptWarning, WarningCode
from engine.concepts.object_heads import HeadExamples, retrain_rivals, train_object_head
from engine.concepts.stored_crops import UNKNOWN, CropRows, StoredCrop, face_head, join_rows, load_stored_crops
from engine.core.errors import UsageError
from engine.core.types import Concept, Decision, Kind, Verdict
from engine.recognition.feedback_features import key_of
from engine.session import Session
from engine.store.concepts import ConceptStore
from engine.store.heads import ConceptHead, FaceHead, FeedbackFeatures, ObjectHead
from engine.vision.cached_extractor import CachedExtractor


@dataclass(frozen=True)
class Merged:
    """A finished merge: the concept that is left, the deleted name, and how many references and decisions were added.

    notes: what could not be merged.
    """

    concept: Concept
    gone: str
    references: int
    decisions: int
    notes: tuple[ConceptWarning, ...] = ()


def merge_concepts(session: Session, name: str, other: str) -> Merged:
    """Make `other` part of the concept `name`, whose name, identifier and embeddings stay; `other` is deleted.

    Raises:
        ConceptError: one of them is unknown.
        UsageError: they are the same, or of different kinds.
    """
    kept, gone = session.store.get(name), session.store.get(other)
    if kept.id == gone.id:
        raise UsageError(f"{kept.name!r} cannot be merged with itself", hint="Name two concepts.")
    if kept.kind is not gone.kind:
        raise UsageError(
            f"{kept.name!r} is a {kept.kind}, {gone.name!r} a {gone.kind}: they cannot be one",
            hint="If that is wrong, enrol one of them again with the right --kind first.",
        )
    notes = [
        *_merge_heads(session.store, session.extractors(kept.kind), kept, gone),
        *_embeddings_lost(session.store, kept, gone),
    ]
    if kept.kind is Kind.PERSON:
        merge_bodies(session.store, session.recogniser_config, kept, gone)
    before, decided = len(kept.references), len(session.store.decisions.of(kept.id))
    merged = session.store.merge(kept, gone)  # after the heads: after a kill the same command does the rest
    decisions = session.store.decisions.of(merged.id)
    for extractor in session.extractors(merged.kind) if merged.kind is not Kind.PERSON else ():
        retrain_rivals(session.store, extractor.config, merged)
    return Merged(merged, gone.name, len(merged.references) - before, len(decisions) - decided, tuple(notes))


def _merge_heads(
    store: ConceptStore, extractors: Iterable[CachedExtractor], kept: Concept, gone: Concept
) -> Iterator[ConceptWarning]:
    """Store the joined head for each recogniser that `gone` has a head for; yield what cannot be joined."""
    decisions = _last_decisions(store, kept, gone)
    for extractor in extractors:
        model = extractor.config.head_id(kept.kind)
        a, b = (store.load_head(c.id, model) for c in (kept, gone))
        if b is None:
            continue
        if isinstance(a, ObjectHead) and a.is_imported:
            yield ConceptWarning(WarningCode.IMPORTED_HEAD_KEPT, kept, (gone,), model=extractor.config.name)
            continue
        feedback = _still_decided(FeedbackFeatures.of(b, a), decisions)
        store.save_head(_merged_head(store, extractor, kept, gone, feedback, a, b))


def _last_decisions(store: ConceptStore, kept: Concept, gone: Concept) -> dict[str, Decision]:
    """Return the later of both concepts' decisions about each photo, by content hash, as the store will keep them."""
    last: dict[str, Decision] = {}
    for d in (*store.decisions.of(kept.id), *store.decisions.of(gone.id)):
        if d.content_hash not in last or d.decided >= last[d.content_hash].decided:
            last[d.content_hash] = d
    return last


def _still_decided(feedback: FeedbackFeatures, last: dict[str, Decision]) -> FeedbackFeatures:
    """Return the features of the decisions that stay."""
    verdicts = {key_of(d): d.verdict for d in last.values()}
    rows = {**feedback.rejected, **feedback.confirmed}

    def of(verdict: Verdict) -> dict[str, np.ndarray]:
        return {k: r for k, r in rows.items() if verdicts.get(k) is verdict}

    return FeedbackFeatures(of(Verdict.CONFIRM), of(Verdict.REJECT))


def _merged_head(
    store: ConceptStore,
    extractor: CachedExtractor,
    kept: Concept,
    gone: Concept,
    feedback: FeedbackFeatures,
    a: ConceptHead | None,
    b: ConceptHead,
) -> ConceptHead:
    heads = [h for h in (a, b) if h is not None]
    model = extractor.config.head_id(kept.kind)
    rows = _all_rows(store, extractor, [(kept, a), (gone, b)])
    if kept.kind is Kind.PERSON:
        dates = {content: day for h in heads if isinstance(h, FaceHead) for content, day in h.taken.items()}
        return face_head(kept, model, heads[0].threshold, rows, feedback, dates)
    examples = HeadExamples(
        rows.features,
        rows.photos,
        rows.background,
        feedback,
        (gone.id,),
        rows.background_of,
        rows.contents,
    )
    seed = heads[0].seed if isinstance(heads[0], ObjectHead) else 0
    return train_object_head(store, extractor.config, kept, examples, seed)


def _all_rows(
    store: ConceptStore, extractor: CachedExtractor, heads: list[tuple[Concept, ConceptHead | None]]
) -> CropRows:
    """Join the views of both concepts, each photo once, so that an interrupted merge can be repeated."""
    shown: list[StoredCrop] = []
    loose = []
    for concept, head in heads:
        crops, background = load_stored_crops(store, extractor, concept, head)
        loose += [background] if len(background) else []
        shown += [p for p in crops if not any(_same_photo(p, other) for other in shown)]
    return join_rows(shown, np.concatenate(loose) if loose else np.zeros((0, 1), np.float32))


def _same_photo(a: StoredCrop, b: StoredCrop) -> bool:
    if UNKNOWN in (a.content, b.content):
        return bool(np.array_equal(a.views[0], b.views[0]))
    return a.content == b.content


def _embeddings_lost(store: ConceptStore, kept: Concept, gone: Concept) -> Iterator[ConceptWarning]:
    trained = {(e.vlm, e.task) for e in store.facts(kept).embeddings}
    for e in store.facts(gone).embeddings:
        if (e.vlm, e.task) not in trained:
            yield ConceptWarning(WarningCode.NOT_TRAINED, kept, (gone,), model=e.vlm, task=e.task)
