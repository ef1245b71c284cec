"""Decode stored heads, those of every earlier version too; `encode` of each head is the inverse."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from engine.store.heads import BodyHead, ConceptHead, FaceHead, FeedbackFeatures, HeadKind, ObjectHead


def read_dates(facts: Mapping[str, object]) -> dict[str, str]:
    """Read when a head's reference photos were taken, ISO 8601 by content hash, from its facts.

    Heads of earlier versions, and of pets and things, hold no dates.
    """
    pairs = (item.partition("=") for item in str(facts.get("taken", "")).split())
    return {content: taken for content, _, taken in pairs}


def decode_head(
    concept_id: str,
    encoder: str,
    kind: HeadKind,
    *,
    threshold: float,
    tensors: Mapping[str, np.ndarray],
    facts: Mapping[str, float | int | str],
) -> ConceptHead:
    """Decode a stored head: the inverse of `encode`. Heads of every earlier version can be decoded.

    Raises:
        KeyError: a tensor that the kind of head needs is missing.
    """
    decoders: dict[HeadKind, Callable[[_StoredParts], ConceptHead]] = {
        HeadKind.FACE: _decode_face,
        HeadKind.OBJECT: _decode_object,
        HeadKind.BODY: _decode_body,
    }
    return decoders[kind](_StoredParts(concept_id, encoder, threshold, tensors, facts))


@dataclass(frozen=True)
class _StoredParts:
    """The parts of a head as the database and its file hold them."""

    concept_id: str
    encoder: str
    threshold: float
    tensors: Mapping[str, np.ndarray]
    facts: Mapping[str, float | int | str]

    def hashes(self, fact: str) -> tuple[str, ...]:
        """Return content hashes from a fact that may be missing."""
        return tuple(str(self.facts.get(fact, "")).split())


def _decode_face(parts: _StoredParts) -> FaceHead:
    return FaceHead(
        concept_id=parts.concept_id,
        encoder=parts.encoder,
        threshold=parts.threshold,
        views=parts.tensors["templates"],
        photos=parts.tensors.get("photos"),
        references=parts.hashes("references"),
        feedback=FeedbackFeatures.decode(parts.tensors, parts.facts),
        taken=read_dates(parts.facts),
    )


def _decode_object(parts: _StoredParts) -> ObjectHead:
    tensors, facts = parts.tensors, parts.facts
    return ObjectHead(
        concept_id=parts.concept_id,
        encoder=parts.encoder,
        threshold=parts.threshold,
        views=tensors["views"],
        photos=tensors.get("photos"),
        references=parts.hashes("references"),
        feedback=FeedbackFeatures.decode(tensors, facts),
        weight=tensors["weight"],
        bias=tensors["bias"],
        scale=float(facts["scale"]),
        background=tensors.get("background", tensors["views"][:0]),
        background_of=tensors.get("background_of"),
        negatives=int(facts.get("negatives", 0)),
        seed=int(facts.get("seed", 0)),
    )


def _decode_body(parts: _StoredParts) -> BodyHead:
    return BodyHead(
        concept_id=parts.concept_id,
        encoder=parts.encoder,
        threshold=parts.threshold,
        views=parts.tensors["views"],
        photos=parts.tensors.get("photos"),
        references=parts.hashes("photos"),
        background=parts.tensors["background"],
    )
