"""Choose the concepts that a run looks for, and those of them that the VLM in use has learned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.core.errors import NotTrainedError
from engine.core.types import Concept, RecognitionOptions
from engine.recognition.enrolled import EnrolledHeads, check_recognisable, read_enrolled
from engine.store.concepts import ConceptStore
from engine.vision.config import RecogniserConfig
from engine.vlms.in_use import VlmInUse


@dataclass(frozen=True)
class RequestedConcepts:
    """The concepts of a run.

    enrolled: all in the store, with their heads. requested: those to look for, by name. embeddings: by concept id,
    (1, D) or (R, D), of all enrolled concepts that the VLM in use has learned. without_head: those left out because the
    recogniser in use has no head for them: they were enrolled with another one, or imported without a head.
    """

    enrolled: EnrolledHeads
    requested: tuple[Concept, ...] = ()
    embeddings: Mapping[str, np.ndarray] = field(default_factory=dict)
    without_head: tuple[Concept, ...] = ()


def choose_requested(
    store: ConceptStore,
    config: RecogniserConfig,
    options: RecognitionOptions,
    vlm: VlmInUse,
    names: tuple[str, ...] | None,
) -> RequestedConcepts:
    """Read the store once, and choose the concepts of a run by name; None requests all enrolled concepts, () none.

    Raises:
        ConceptError: a name is unknown, or a concept requested by name cannot be recognised.
    """
    if names == ():
        return RequestedConcepts(EnrolledHeads(config, options, store.all(), {}, {}, {}))
    enrolled = read_enrolled(store, config, options)
    chosen = enrolled.concepts if names is None else store.select(names)
    if names is not None:
        for concept in chosen:
            check_recognisable(store, config, concept)
    requested = tuple(c for c in chosen if names is not None or c.id in enrolled.heads)
    without_head = tuple(c for c in chosen if c not in requested)
    return RequestedConcepts(enrolled, requested, load_embeddings(store, vlm, enrolled.concepts), without_head)


def load_embeddings(store: ConceptStore, vlm: VlmInUse, concepts: Sequence[Concept]) -> dict[str, np.ndarray]:
    """Load the embeddings of the concepts that a VLM has learned, by concept id."""
    embeddings = {}
    for concept in concepts if vlm.exists else ():
        try:
            embeddings[concept.id] = store.load_embedding(concept, vlm.id, vlm.revision).vector
        except NotTrainedError:
            continue
    return embeddings
