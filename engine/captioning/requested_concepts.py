"""Which concepts a run looks for, and which of them the VLM in use has learned."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from engine.core.errors import NotTrainedError
from engine.core.types import Concept
from engine.recognition.enrolled import check_recognisable
from engine.session import Session
from engine.store.concepts import ConceptStore
from engine.vision.config import RecogniserConfig


@dataclass(frozen=True)
class RequestedConcepts:
    """The concepts that a run looks for.

    asked: those to look for, by name. vectors: the embeddings, (1, D) or (R, D), that the VLM in use has learned, of
    all enrolled concepts. without_head: those left out, because there is no head of theirs for the recogniser in use:
    they were enrolled with another one, or imported without a head.
    """

    asked: tuple[Concept, ...] = ()
    vectors: Mapping[Concept, np.ndarray] = field(default_factory=dict)
    without_head: tuple[Concept, ...] = ()

    @property
    def untrained(self) -> tuple[Concept, ...]:
        """The requested concepts that the VLM has not learned."""
        return tuple(c for c in self.asked if c not in self.vectors)


def choose_requested(session: Session, names: tuple[str, ...] | None) -> RequestedConcepts:
    """Choose the concepts of a run by name; None stands for all that are enrolled, () for none.

    Raises:
        ConceptError: a name is unknown, or one asked for by name cannot be recognised.
    """
    if names == ():
        return RequestedConcepts()
    chosen = session.store.select(names)
    if names is not None:
        for concept in chosen:
            check_recognisable(session.store, session.recogniser_config, concept)
    asked = tuple(c for c in chosen if names is not None or _has_head(session.store, session.recogniser_config, c))
    return RequestedConcepts(asked, _vectors(session), tuple(c for c in chosen if c not in asked))


def _has_head(store: ConceptStore, config: RecogniserConfig, concept: Concept) -> bool:
    return store.has_head(concept.id, config.head_id(concept.kind))


def _vectors(session: Session) -> dict[Concept, np.ndarray]:
    vectors = {}
    for concept in session.store.all() if session.has_vlm else ():
        try:
            embedding = session.store.load_embedding(concept, session.vlm_id, session.vlm_revision)
        except NotTrainedError:
            continue
        vectors[concept] = embedding.vector
    return vectors
