"""Train the linear heads of pets and things, and train them again when their rivals change."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from engine.concepts.negatives import NEAREST, RANDOM, KnownViews, draw_from_bank
from engine.core.types import Concept, Kind
from engine.recognition.linear_head import HeadTraining, train_head
from engine.store.concepts import ConceptStore
from engine.store.heads import ConceptHead, FeedbackFeatures, ObjectHead
from engine.vision.config import RecogniserConfig
from engine.vision.feature_bank import load_bank


@dataclass(frozen=True)
class HeadExamples:
    """The training data of a head. All of it is stored with the head, so that training needs no photos the next time.

    views: (V, D), features of the references, plain and altered; photos: (V,), the photo number of each view;
    background: (B, D), features that are certainly not of the concept; feedback: features of the regions that the user
    confirmed or rejected; same: ids of other concepts for the same pet or thing, which are no negatives;
    background_of: (B,), the photo number of each background row, -1 for rows of no reference photo; references: the
    photos' content hashes, in the order of their numbers. Heads of previous versions lack the last two.
    """

    views: np.ndarray
    photos: np.ndarray
    background: np.ndarray
    feedback: FeedbackFeatures = field(default_factory=FeedbackFeatures)
    same: tuple[str, ...] = ()
    background_of: np.ndarray | None = None
    references: tuple[str, ...] = ()


@dataclass(frozen=True)
class Negatives:
    """How many negative features a head was trained with, by source.

    photos: the background of the reference photos; given: the folders that the user gave; concepts: other concepts;
    bank: the feature bank that ships with the recogniser; rejected: regions that the user rejected.
    """

    photos: int = 0
    given: int = 0
    concepts: int = 0
    bank: int = 0
    rejected: int = 0

    @property
    def total(self) -> int:
        """The sum over all sources."""
        return self.photos + self.given + self.concepts + self.bank + self.rejected


def train_object_head(
    store: ConceptStore,
    config: RecogniserConfig,
    concept: Concept,
    examples: HeadExamples,
    seed: int,
    known: KnownViews | None = None,
) -> ObjectHead:
    """Return a newly trained head without storing it; its field `negatives` is the number of negatives used.

    known: the features of all pets and things, where they were read.
    """
    known = known or KnownViews.read(store, config)
    views, width = examples.views, examples.views.shape[1]
    bank = load_bank(config)
    rng = np.random.default_rng(seed)
    parts = [examples.background, known.without((concept.id, *examples.same), views.shape[1])]
    if len(bank.features):
        parts.append(draw_from_bank(bank, views, rng))
    negatives = np.concatenate([*parts, examples.feedback.rejected_rows(width)]).astype(np.float32)
    positives = np.concatenate([views, examples.feedback.confirmed_rows(width)])
    head = train_head(positives, negatives, HeadTraining(**config.head), seed)  # type: ignore[arg-type]  # dict[str, float] fills int fields
    return ObjectHead(
        concept_id=concept.id,
        encoder=config.head_id(concept.kind),
        threshold=config.threshold,
        views=views,
        photos=examples.photos,
        references=examples.references,
        feedback=examples.feedback,
        weight=head.weight,
        bias=head.bias,
        scale=head.scale,
        background=examples.background,
        background_of=examples.background_of,
        negatives=len(negatives),
        seed=seed,
    )


def count_negatives(
    store: ConceptStore, config: RecogniserConfig, concept: Concept, examples: HeadExamples
) -> Negatives:
    """Count the negatives that `train_object_head` uses, by source."""
    width, photo_numbers = examples.views.shape[1], examples.background_of
    given = 0 if photo_numbers is None else int((photo_numbers == -1).sum())
    return Negatives(
        photos=len(examples.background) - given,
        given=given,
        concepts=len(KnownViews.read(store, config).without((concept.id, *examples.same), width)),
        bank=min(len(load_bank(config).features), NEAREST + RANDOM),
        rejected=len(examples.feedback.rejected_rows(width)),
    )


def retrain_head(
    store: ConceptStore,
    config: RecogniserConfig,
    concept: Concept,
    head: ConceptHead,
    feedback: FeedbackFeatures,
    known: KnownViews | None = None,
) -> ConceptHead:
    """Return a concept's head with the user's feedback, without storing it.

    A linear head that was trained here is trained again; for any other head only the feedback is replaced. known: the
    features of all pets and things, where they were read.
    """
    if isinstance(head, ObjectHead) and not head.is_imported:
        numbers = head.photo_numbers(config.augmentations)
        examples = HeadExamples(head.views, numbers, head.background, feedback, (), head.background_of, head.references)
        return train_object_head(store, config, concept, examples, head.seed, known)
    return replace(head, feedback=feedback)


def retrain_rivals(store: ConceptStore, config: RecogniserConfig, concept: Concept) -> Sequence[Concept]:
    """Train and store the heads of the category's other concepts again, after `concept` was added or changed.

    Returns the concepts whose heads were trained.
    """
    rivals = [
        c for c in store.all() if c.id != concept.id and c.kind is not Kind.PERSON and c.category == concept.category
    ]
    known = KnownViews.read(store, config) if rivals else None
    trained = []
    for rival in rivals:
        head = store.load_head(rival.id, config.head_id(rival.kind))
        if isinstance(head, ObjectHead) and not head.is_imported:  # an imported head has no training data
            store.save_head(retrain_head(store, config, rival, head, head.feedback, known))
            trained.append(rival)
    return trained
