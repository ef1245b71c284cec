"""Taking single reference photos away from a concept, in the heads of every recogniser."""

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.concepts.body_crops import remove_bodies
from engine.concepts.merge import recogniser_sessions
from engine.concepts.object_heads import HeadExamples, retrain_rivals, train_object_head
from engine.concepts.reference_dates import join_dates, read_dates
from engine.concepts.stored_crops import UNKNOWN, StoredCrop, facts_of, join_rows, load_stored_crops
from engine.core.errors import PhotoError, UsageError
from engine.core.types import Concept, Kind, Reference
from engine.photos.decode import read_photo
from engine.recognition.feedback_features import FeedbackFeatures
from engine.session import Session
from engine.store.concepts import Head


@dataclass(frozen=True)
class Removed:
    """The concept as it is now, and the references that are gone. notes: what could not be done."""

    concept: Concept
    references: tuple[Reference, ...]
    notes: tuple[str, ...] = ()


def remove_photos(session: Session, name: str, photos: Sequence[Path]) -> Removed:
    """Take reference photos away from a concept, and train its heads without them. A photo is known by its content, by
    the path that it was added with, or by its file name if no other reference has that.

    Raises:
        ConceptError: there is no such concept.
        UsageError: one of the photos is no reference, all of them would go, or a head of an earlier version does not
            tell which of its views are of which photo.
    """
    concept = session.store.get(name)
    gone = tuple(dict.fromkeys(_find(concept, path) for path in photos))
    kept = tuple(r for r in concept.references if r not in gone)
    if not kept:
        raise UsageError(
            f"{concept.name!r} would have no reference photo left",
            hint=f"To delete the concept: myvlm forget {shlex.quote(concept.name)}",
        )
    contents = frozenset(r.content_hash for r in gone)
    sessions = list(recogniser_sessions(session, concept.kind))
    renewed = [(own, *_without(own, concept, gone)) for own in sessions]  # refuses before anything is changed
    notes = []
    for own, before, head in renewed:
        if before is not None and head is None:
            own.store.drop_head(concept, before.encoder)
            notes.append(f"the recogniser {own.recogniser_config.name} knew only what was removed: add photos with it")
        elif head is not None:
            own.store.save_head(head)
    if concept.kind is Kind.PERSON:
        remove_bodies(session, concept, contents)
    concept = session.store.put(concept.name, concept.kind, concept.category, (concept.identifier,), kept)
    for own, before, _ in renewed if concept.kind is not Kind.PERSON else ():
        if before is not None:
            retrain_rivals(own, concept)
    return Removed(session.store.get(concept.name), gone, tuple(notes))


def _find(concept: Concept, path: Path) -> Reference:
    """The reference that the user means."""
    by_path = [r for r in concept.references if r.path in (path, path.absolute())]
    try:
        content = read_photo(path).content_hash
    except PhotoError:
        content = ""
    by_content = [r for r in concept.references if r.content_hash == content]
    by_name = [r for r in concept.references if r.path.name == path.name] if not content else []
    found = by_content or by_path or by_name
    if len(found) != 1:
        names = ", ".join(r.path.name for r in concept.references[:20])
        what = "several reference photos" if found else "no reference photo"
        raise UsageError(f"{path} is {what} of {concept.name!r}", hint=f"It has: {names or 'none'}.")
    return found[0]


def _without(session: Session, concept: Concept, gone: Collection[Reference]) -> tuple[Head | None, Head | None]:
    """A concept's head for the recogniser in use as it is, and without some photos. The second is None when nothing is
    left, or nothing of the photos was in it.
    """
    head = session.store.load_head(concept.id, session.recogniser_config.head_id(concept.kind))
    shown, loose = load_stored_crops(session, concept, head)
    if head is None or not shown:
        return None, None
    contents = {r.content_hash for r in gone}
    if any(p.content == UNKNOWN for p in shown) and not contents <= {p.content for p in shown}:
        raise UsageError(
            f"{concept.name!r} was enrolled by an earlier version, which did not keep what is of which photo",
            hint="Enrol it again with the photos that are right: myvlm add-concept --replace",
        )
    kept = [p for p in shown if p.content not in contents]
    if len(kept) == len(shown):
        return None, None
    if not kept:
        return head, None
    return head, _trained(session, concept, head, kept, loose)


def _trained(session: Session, concept: Concept, head: Head, kept: Sequence[StoredCrop], loose: np.ndarray) -> Head:
    rows, taught = join_rows(kept, loose), FeedbackFeatures.beside(head)
    if concept.kind is Kind.PERSON:
        dates = {c: day for c, day in read_dates(head.facts).items() if c in rows.contents}
        facts = taught.facts() | facts_of(rows) | ({"taken": join_dates(dates)} if dates else {})
        tensors = {"templates": rows.features, "photos": rows.photos, **taught.tensors()}
        return Head(concept.id, head.encoder, "face", head.threshold, tensors, {**facts})
    own = (rows.background_of, facts_of(rows)["references"])
    lesson = HeadExamples(rows.features, rows.photos, rows.background, taught, (), *own)
    return train_object_head(session, concept, lesson, int(head.facts["seed"]))
