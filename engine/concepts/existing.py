"""Load what is stored of a concept to which photos are added."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from engine.concepts.stored_crops import UNKNOWN, StoredCrop, load_stored_crops
from engine.core.class_words import kind_of_word
from engine.core.errors import UsageError
from engine.core.types import Concept, Kind, Reference
from engine.store.concepts import ConceptStore
from engine.store.heads import ConceptHead
from engine.vision.cached_extractor import CachedExtractor


@dataclass(frozen=True)
class ExistingConcept:
    """A stored concept before photos are added to it.

    head: its head for the recogniser in use, or None; shown: the stored crops of its reference photos for this
    recogniser; loose: (B, D), negatives that belong to no particular photo.
    """

    concept: Concept
    head: ConceptHead | None
    shown: tuple[StoredCrop, ...]
    loose: np.ndarray

    @cached_property
    def contents(self) -> frozenset[str]:
        """The content hashes of its reference photos."""
        return frozenset(r.content_hash for r in self.concept.references)

    @cached_property
    def missing(self) -> tuple[Reference, ...]:
        """The reference photos without a stored crop for the recogniser in use.

        Empty when the photo of any stored crop is `UNKNOWN`, because then the missing ones cannot be identified.
        """
        stored = {p.content for p in self.shown}
        if UNKNOWN in stored:
            return ()
        return tuple(r for r in self.concept.references if r.content_hash not in stored)

    @property
    def views(self) -> list[np.ndarray]:
        """The views (V, D) of each photo."""
        return [p.views for p in self.shown]

    @property
    def plain(self) -> np.ndarray:
        """The plain view of each photo: (P, D)."""
        return np.stack([p.views[0] for p in self.shown]) if self.shown else np.zeros((0, 1), np.float32)

    @property
    def imported(self) -> bool:
        """Whether it has an imported head and no photos."""
        return self.head is not None and not self.shown


def find_existing(
    store: ConceptStore, extractor: CachedExtractor, name: str, *, replace: bool = False
) -> ExistingConcept | None:
    """Return the concept with this name, to add photos to; None if there is none or its photos are to be replaced."""
    concept = None if replace else store.find(name)
    if concept is None:
        return None
    head = store.load_head(concept.id, extractor.config.head_id(concept.kind))
    shown, loose = load_stored_crops(store, extractor, concept, head)
    contents = {r.content_hash for r in concept.references} | {UNKNOWN}
    return ExistingConcept(concept, head, tuple(p for p in shown if p.content in contents), loose)


def check_kind(
    existing: ExistingConcept | None, kind: Kind | None, category: str | None, *, replaceable: bool = True
) -> None:
    """Check that the requested kind, or the kind of the category, is that of the existing concept.

    replaceable: whether the user could replace its photos with --replace.

    Raises:
        UsageError: it is another kind.
    """
    if existing is None:
        return
    wanted = kind or (kind_of_word(category) if category else existing.concept.kind)
    if wanted is not existing.concept.kind:
        raise UsageError(
            f"{existing.concept.name!r} is enrolled as a {existing.concept.kind}, not a {wanted}",
            hint=another_kind_hint(existing.concept) if replaceable else "Choose another name.",
        )


def another_kind_hint(concept: Concept) -> str:
    """Return the hint for photos that show another kind than the concept has."""
    count = len(concept.references)
    photos = "its reference photo" if count == 1 else f"its {count} reference photos"
    return f"Choose another name, or use --replace to replace {photos}."
