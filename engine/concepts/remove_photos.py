"""Remove reference photos from a concept and from its heads for every recogniser."""

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.concepts.body_crops import remove_bodies
from engine.concepts.concept_warnings import ConceptWarning, WarningCode
from engine.concepts.object_heads import HeadExamples, retrain_rivals, train_object_head
from engine.concepts.stored_crops import UNKNOWN, StoredCrop, face_head, join_rows, load_stored_crops
from engine.core.errors import PhotoError, UsageError
from engine.core.types import Concept, Kind, Reference
from engine.photos.decode import read_photo
from engine.session import Session
from engine.store.concepts import ConceptStore
from engine.store.heads import ConceptHead, FaceHead, ObjectHead
from engine.vision.cached_extractor import CachedExtractor
from engine.vision.config import RecogniserConfig


@dataclass(frozen=True)
class Removed:
    """The concept after the removal, and the removed references. notes: heads that were deleted."""

    concept: Concept
    references: tuple[Reference, ...]
    notes: tuple[ConceptWarning, ...] = ()


def remove_photos(session: Session, name: str, photos: Sequence[Path]) -> Removed:
    """Remove reference photos from a concept, and train its heads without them.

    A photo is identified by its content, by the path that it was added with, or by a file name that no other reference
    has.

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
    # Every head is made before anything is stored, because this can fail.
    renewed = [(e.config, *_without(session.store, e, concept, gone)) for e in session.extractors(concept.kind)]
    notes = []
    for config, before, head in renewed:
        if before is not None and head is None:
            session.store.drop_head(concept, before.encoder)
            notes.append(ConceptWarning(WarningCode.HEAD_DELETED, concept, model=config.name))
        elif head is not None:
            session.store.save_head(head)
    if concept.kind is Kind.PERSON:
        remove_bodies(session.store, session.recogniser_config, concept, contents)
    concept = session.store.put(concept.name, concept.kind, concept.category, (concept.identifier,), kept)
    for config, before, _ in renewed if concept.kind is not Kind.PERSON else ():
        if before is not None:
            retrain_rivals(session.store, config, concept)
    return Removed(session.store.get(concept.name), gone, tuple(notes))


def _find(concept: Concept, path: Path) -> Reference:
    """Return the reference that the user means."""
    by_path = [r for r in concept.references if r.path in (path, path.absolute())]
    try:
        content = read_photo(path).content_hash
    except PhotoError:
        content = ""
    by_content = [r for r in concept.references if r.content_hash == content]
    by_name = [r for r in concept.references if r.path.name == path.name] if not content else []
    matches = by_content or by_path or by_name
    if len(matches) != 1:
        names = ", ".join(r.path.name for r in concept.references[:20])
        what = "several reference photos" if matches else "no reference photo"
        raise UsageError(f"{path} is {what} of {concept.name!r}", hint=f"It has: {names or 'none'}.")
    return matches[0]


def _without(
    store: ConceptStore, extractor: CachedExtractor, concept: Concept, gone: Collection[Reference]
) -> tuple[ConceptHead | None, ConceptHead | None]:
    """Return a concept's head for the extractor's recogniser as it is, and without some photos.

    Both are None when the head does not change; the second is None when no photo is left.
    """
    head = store.load_head(concept.id, extractor.config.head_id(concept.kind))
    crops, loose = load_stored_crops(store, extractor, concept, head)
    if head is None or not crops:
        return None, None
    contents = {r.content_hash for r in gone}
    if any(p.content == UNKNOWN for p in crops) and not contents <= {p.content for p in crops}:
        raise UsageError(
            f"{concept.name!r} was enrolled by an earlier version, which did not keep what is of which photo",
            hint="Enrol it again with the photos that are right: myvlm add-concept --replace",
        )
    kept = [p for p in crops if p.content not in contents]
    if len(kept) == len(crops):
        return None, None
    if not kept:
        return head, None
    return head, _trained(store, extractor.config, concept, head, kept, loose)


def _trained(
    store: ConceptStore,
    config: RecogniserConfig,
    concept: Concept,
    head: ConceptHead,
    kept: Sequence[StoredCrop],
    loose: np.ndarray,
) -> ConceptHead:
    rows = join_rows(kept, loose)
    if isinstance(head, FaceHead):
        return face_head(concept, head.encoder, head.threshold, rows, head.feedback, head.taken)
    examples = HeadExamples(
        rows.features, rows.photos, rows.background, head.feedback, (), rows.background_of, rows.contents
    )
    return train_object_head(store, config, concept, examples, head.seed if isinstance(head, ObjectHead) else 0)
