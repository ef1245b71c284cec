"""Training the linear heads of pets and things, and training them again when their rivals change."""

from collections.abc import Sequence

import numpy as np

from engine.heads.linear import HeadTraining, train_head
from engine.pipeline.bank import load_bank
from engine.pipeline.negatives import draw_from_bank, other_concepts
from engine.pipeline.recognition import head_id
from engine.pipeline.session import Session
from engine.store.concepts import Head
from engine.types import Concept, Kind


def train_object_head(session: Session, concept: Concept, views: np.ndarray, background: np.ndarray, seed: int) -> int:
    """Train and store a head; returns how many negatives it saw.

    views (V, D): features of the references, plain and altered; background (B, D): features that are
    certainly not the concept. Both are kept beside the head, so that it can be trained again
    without the photos when a look-alike is enrolled.
    """
    config = session.recogniser_config
    bank = load_bank(config)
    rng = np.random.default_rng(seed)
    parts = [background, other_concepts(session, concept, views.shape[1])]
    if len(bank.features):
        parts.append(draw_from_bank(bank, views, rng))
    negatives = np.concatenate(parts).astype(np.float32)
    head = train_head(views, negatives, HeadTraining(**config.head), seed)  # type: ignore[arg-type]
    tensors = {"weight": head.weight, "bias": head.bias, "views": views, "background": background}
    facts: dict[str, float | int | str] = {"scale": head.scale, "negatives": len(negatives), "seed": seed}
    session.store.save_head(
        Head(concept.id, head_id(session, concept.kind), "linear", config.threshold, tensors, facts)
    )
    return len(negatives)


def retrain_rivals(session: Session, concept: Concept) -> Sequence[Concept]:
    """Train the heads of the category's other concepts again, now that `concept` came or changed."""
    rivals = [
        c
        for c in session.store.all()
        if c.id != concept.id and c.kind is not Kind.PERSON and c.category == concept.category
    ]
    trained = []
    for rival in rivals:
        head = session.store.load_head(rival.id, head_id(session, rival.kind))
        if head is not None and len(head.tensors["views"]):  # an imported head has none
            t = head.tensors
            train_object_head(session, rival, t["views"], t["background"], int(head.facts["seed"]))
            trained.append(rival)
    return trained
