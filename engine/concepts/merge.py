"""Merging two concepts that are one: the first takes the second's references, views and decisions."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from engine.concepts.body_crops import merge_bodies
from engine.concepts.object_heads import HeadExamples, retrain_rivals, train_object_head
from engine.concepts.reference_dates import join_dates, read_dates
from engine.concepts.stored_crops import UNKNOWN, CropRows, StoredCrop, facts_of, join_rows, load_stored_crops
from engine.core.errors import UsageError
from engine.core.types import Concept, Decision, Kind, Verdict
from engine.recognition.feedback_features import FeedbackFeatures, key_of
from engine.session import Session
from engine.store.concepts import Head
from engine.vision.config import list_recognisers


@dataclass(frozen=True)
class Merged:
    """The concept that is left, the name that is gone, and what came over. notes: what did not."""

    concept: Concept
    gone: str
    references: int
    decisions: int
    notes: tuple[str, ...] = ()


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
    notes = [*_merge_heads(session, kept, gone), *_embeddings_lost(session, kept, gone)]
    if kept.kind is Kind.PERSON:
        merge_bodies(session, kept, gone)
    before, decided = len(kept.references), len(session.store.decisions.of(kept.id))
    merged = session.store.merge(kept, gone)  # after the heads: after a kill the same command does the rest
    decisions = session.store.decisions.of(merged.id)
    for own in recogniser_sessions(session, merged.kind) if merged.kind is not Kind.PERSON else ():
        retrain_rivals(own, merged)
    return Merged(merged, gone.name, len(merged.references) - before, len(decisions) - decided, tuple(notes))


def _merge_heads(session: Session, kept: Concept, gone: Concept) -> Iterator[str]:
    """Store the heads that both make, one for each recogniser that either has one for; tells of those it cannot."""
    decisions = _last_decisions(session, kept, gone)
    for own in recogniser_sessions(session, kept.kind):
        model = own.recogniser_config.head_id(kept.kind)
        a, b = (own.store.load_head(c.id, model) for c in (kept, gone))
        if b is None:
            continue
        if a is not None and a.kind == "linear" and not len(a.tensors["views"]):
            used = own.recogniser_config.name
            yield f"{kept.name}'s head for {used} was imported and cannot learn what {gone.name} looks like"
            continue
        taught = _still_decided(FeedbackFeatures.beside(b, a), decisions)
        own.store.save_head(_merged_head(own, kept, gone, taught, a, b))


def recogniser_sessions(session: Session, kind: Kind) -> Iterator[Session]:
    """The session with each recogniser whose heads are of another encoder; no model is loaded."""
    seen = set()
    for config in (session.recogniser_config, *list_recognisers()):
        if config.head_id(kind) not in seen:
            seen.add(config.head_id(kind))
            yield session.with_recogniser(config.name)


def _last_decisions(session: Session, kept: Concept, gone: Concept) -> dict[str, Decision]:
    """Of both concepts' decisions about each photo the later one, by content, as the store will keep them."""
    last: dict[str, Decision] = {}
    for d in (*session.store.decisions.of(kept.id), *session.store.decisions.of(gone.id)):
        if d.content_hash not in last or d.decided >= last[d.content_hash].decided:
            last[d.content_hash] = d
    return last


def _still_decided(taught: FeedbackFeatures, last: dict[str, Decision]) -> FeedbackFeatures:
    """The features of the decisions that stay."""
    verdicts = {key_of(d): d.verdict for d in last.values()}
    rows = {**taught.rejected, **taught.confirmed}

    def of(verdict: Verdict) -> dict[str, np.ndarray]:
        return {k: r for k, r in rows.items() if verdicts.get(k) is verdict}

    return FeedbackFeatures(of(Verdict.CONFIRM), of(Verdict.REJECT))


def _merged_head(
    session: Session, kept: Concept, gone: Concept, taught: FeedbackFeatures, a: Head | None, b: Head
) -> Head:
    heads = [h for h in (a, b) if h is not None]
    model = session.recogniser_config.head_id(kept.kind)
    rows = _all_rows(session, [(kept, a), (gone, b)])
    if kept.kind is Kind.PERSON:
        tensors = {"templates": rows.features, "photos": rows.photos, **taught.tensors()}
        dates = {content: day for h in heads for content, day in read_dates(h.facts).items()}
        facts = taught.facts() | facts_of(rows) | ({"taken": join_dates(dates)} if dates else {})
        return Head(kept.id, model, "face", heads[0].threshold, tensors, {**facts})
    lesson = HeadExamples(
        rows.features,
        rows.photos,
        rows.background,
        taught,
        (gone.id,),
        rows.background_of,
        facts_of(rows)["references"],
    )
    return train_object_head(session, kept, lesson, int(heads[0].facts["seed"]))


def _all_rows(session: Session, heads: list[tuple[Concept, Head | None]]) -> CropRows:
    """The views of both concepts, each photo once: a merge that was killed may be done again."""
    shown: list[StoredCrop] = []
    loose = []
    for concept, head in heads:
        own, background = load_stored_crops(session, concept, head)
        loose += [background] if len(background) else []
        shown += [p for p in own if not any(_same_photo(p, other) for other in shown)]
    return join_rows(shown, np.concatenate(loose) if loose else np.zeros((0, 1), np.float32))


def _same_photo(a: StoredCrop, b: StoredCrop) -> bool:
    if UNKNOWN in (a.content, b.content):
        return bool(np.array_equal(a.views[0], b.views[0]))
    return a.content == b.content


def _embeddings_lost(session: Session, kept: Concept, gone: Concept) -> Iterator[str]:
    has = {(e["vlm"], e["task"]) for e in session.store.facts(kept)["embeddings"]}
    for e in session.store.facts(gone)["embeddings"]:
        if (e["vlm"], e["task"]) not in has:
            yield f"{gone.name} was trained for {e['vlm']} ({e['task']}) and {kept.name} was not: run myvlm train"
