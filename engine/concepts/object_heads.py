"""Training the linear heads of pets and things, and training them again when their rivals change."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from engine.concepts.negatives import NEAREST, RANDOM, draw_from_bank, other_concepts
from engine.core.types import Concept, Kind
from engine.recognition.classifier import photos_of
from engine.recognition.feedback_features import FeedbackFeatures
from engine.recognition.linear_head import HeadTraining, train_head
from engine.recognition.recognise import head_id
from engine.session import Session
from engine.store.concepts import Head
from engine.vision.feature_bank import load_bank


@dataclass(frozen=True)
class HeadExamples:
    """What a head learns from. views (V, D): features of the references, plain and altered; photos (V,): which photo
    each is of; background (B, D): features that are certainly not the concept; taught: what the user decided. All are
    kept beside the head, so that it can be trained again without the photos. `same`: ids of other concepts that are
    this one, too. background_of (B,): which photo each background row is in, -1 for none of them; references: the
    photos' content hashes, in the order of their numbers. Heads of earlier versions have neither.
    """

    views: np.ndarray
    photos: np.ndarray
    background: np.ndarray
    taught: FeedbackFeatures = field(default_factory=FeedbackFeatures)
    same: tuple[str, ...] = ()
    background_of: np.ndarray | None = None
    references: str = ""


@dataclass(frozen=True)
class Negatives:
    """How many features a head was trained against, by where they are from: what else is in the reference photos, the
    folders that the user gave, other concepts, the bank that ships with the recogniser, and what the user rejected.
    """

    photos: int = 0
    given: int = 0
    concepts: int = 0
    bank: int = 0
    rejected: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.photos + self.given + self.concepts + self.bank + self.rejected


def train_object_head(session: Session, concept: Concept, lesson: HeadExamples, seed: int) -> Head:
    """Train a head; it is not stored. Its fact `negatives` says how many it saw."""
    config = session.recogniser_config
    views, learned = lesson.views, lesson.taught.tensors()
    none = np.zeros((0, views.shape[1]), np.float32)
    bank = load_bank(config)
    rng = np.random.default_rng(seed)
    parts = [lesson.background, other_concepts(session, (concept.id, *lesson.same), views.shape[1])]
    if len(bank.features):
        parts.append(draw_from_bank(bank, views, rng))
    negatives = np.concatenate([*parts, learned.get("rejected", none)]).astype(np.float32)
    positives = np.concatenate([views, learned.get("confirmed", none)])
    head = train_head(positives, negatives, HeadTraining(**config.head), seed)  # type: ignore[arg-type]
    tensors = {"weight": head.weight, "bias": head.bias, "views": views, "photos": lesson.photos}
    tensors |= {"background": lesson.background, **learned}
    if lesson.background_of is not None:
        tensors["background_of"] = lesson.background_of
    facts: dict[str, float | int | str] = {"scale": head.scale, "negatives": len(negatives), "seed": seed}
    facts |= lesson.taught.facts() | ({"references": lesson.references} if lesson.references else {})
    return Head(concept.id, head_id(session, concept.kind), "linear", config.threshold, tensors, facts)


def count_negatives(session: Session, concept: Concept, lesson: HeadExamples) -> Negatives:
    """What `train_object_head` trains against, by where it is from."""
    width, owners = lesson.views.shape[1], lesson.background_of
    given = 0 if owners is None else int((owners == -1).sum())
    return Negatives(
        photos=len(lesson.background) - given,
        given=given,
        concepts=len(other_concepts(session, (concept.id, *lesson.same), width)),
        bank=min(len(load_bank(session.recogniser_config).features), NEAREST + RANDOM),
        rejected=len(lesson.taught.tensors().get("rejected", ())),
    )


def retrain_head(session: Session, concept: Concept, head: Head, taught: FeedbackFeatures) -> Head:
    """A concept's head with what the user decided, trained again where it was trained here; it is not stored."""
    t = head.tensors
    if "views" in t and len(t["views"]):
        lesson = HeadExamples(
            t["views"],
            photos_of(head, session.recogniser_config.augmentations),
            t["background"],
            taught,
            background_of=t.get("background_of"),
            references=str(head.facts.get("references", "")),
        )
        return train_object_head(session, concept, lesson, int(head.facts["seed"]))
    tensors = {k: v for k, v in t.items() if k not in ("confirmed", "rejected")} | taught.tensors()
    facts = {k: v for k, v in head.facts.items() if k not in ("confirmed", "rejected")} | taught.facts()
    return replace(head, tensors=tensors, facts=facts)


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
            session.store.save_head(retrain_head(session, rival, head, FeedbackFeatures.beside(head)))
            trained.append(rival)
    return trained
