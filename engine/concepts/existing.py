"""What is known of a concept that photos are added to."""

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
    """A concept as it was: with the views of its reference photos that the recogniser in use has, and the negatives
    (B, D) of no particular photo. head: None where it has none for this recogniser.
    """

    concept: Concept
    head: ConceptHead | None
    shown: tuple[StoredCrop, ...]
    loose: np.ndarray

    @cached_property
    def contents(self) -> frozenset[str]:
        """Content hashes of its reference photos."""
        return frozenset(r.content_hash for r in self.concept.references)

    @cached_property
    def missing(self) -> tuple[Reference, ...]:
        """Reference photos of which the recogniser in use has nothing; none where it is not known which it has."""
        stored = {p.content for p in self.shown}
        if UNKNOWN in stored:
            return ()
        return tuple(r for r in self.concept.references if r.content_hash not in stored)

    @property
    def views(self) -> list[np.ndarray]:
        """Views (V, D) of each photo."""
        return [p.views for p in self.shown]

    @property
    def plain(self) -> np.ndarray:
        """The plain view (P, D) of each photo."""
        return np.stack([p.views[0] for p in self.shown]) if self.shown else np.zeros((0, 1), np.float32)

    @property
    def imported(self) -> bool:
        """Whether it has a head that was imported, and no photo."""
        return self.head is not None and not self.shown


def find_existing(
    store: ConceptStore, extractor: CachedExtractor, name: str, *, replace: bool = False
) -> ExistingConcept | None:
    """Find the concept of a name that photos are added to; None if there is none, or its photos are replaced."""
    concept = None if replace else store.find(name)
    if concept is None:
        return None
    head = store.load_head(concept.id, extractor.config.head_id(concept.kind))
    shown, loose = load_stored_crops(store, extractor, concept, head)
    own = {r.content_hash for r in concept.references} | {UNKNOWN}
    return ExistingConcept(concept, head, tuple(p for p in shown if p.content in own), loose)


def check_kind(earlier: ExistingConcept | None, kind: Kind | None, category: str | None) -> None:
    """Make sure that what is added to a concept is of its kind.

    Raises:
        UsageError: the user said another one.
    """
    if earlier is None:
        return
    wanted = kind or (kind_of_word(category) if category else earlier.concept.kind)
    if wanted is not earlier.concept.kind:
        raise UsageError(
            f"{earlier.concept.name!r} is enrolled as a {earlier.concept.kind}, not a {wanted}",
            hint=another_kind_hint(earlier.concept),
        )


def another_kind_hint(concept: Concept) -> str:
    """Return what to do when photos of another kind are given for a concept."""
    count = len(concept.references)
    photos = "its reference photo" if count == 1 else f"its {count} reference photos"
    return f"Choose another name, or use --replace to replace {photos}."
