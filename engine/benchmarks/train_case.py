"""Train the head and the embedding of a case as the paper does, from the case's training photos only."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.benchmarks.cases import CONCEPT, Case, hash_contents
from engine.benchmarks.settings import HEAD_THRESHOLD, Setting
from engine.concepts.enrol import enrol
from engine.core.class_words import nouns_of
from engine.core.files import read_bytes, sha256_of
from engine.core.types import Kind
from engine.photos.decode import load_photo
from engine.photos.photo_file import LARGEST_FILE
from engine.recognition.enrolled import load_head
from engine.recognition.scoring import FEWEST_OTHERS
from engine.session import Session
from engine.store.heads import ConceptHead
from engine.training.captions import name_in_caption, vary
from engine.training.train import settings_for
from engine.vision.feature_bank import load_bank
from engine.vlms.config import VlmConfig

if TYPE_CHECKING:
    from engine.vlms.base import Vlm

_EDGES = 2
"""Training photos are kept at this multiple of the vision tower's input size."""


@dataclass(frozen=True)
class CaseEmbedding:
    """A trained embedding, (1, D) float32 of unit length, with its training curves.

    losses: cross-entropy before each step; norms: L2 norm of the raw embedding after each step.
    """

    vector: np.ndarray
    losses: tuple[float, ...]
    norms: tuple[float, ...]


def identifier_of(config: VlmConfig, kind: Kind | None) -> str:
    """Return the word that a concept is learned under: one for all objects, one for all people, as in the paper."""
    return config.identifiers["person" if kind is Kind.PERSON else "thing"][0]


def train_head(session: Session, case: Case, others: Sequence[Case], seed: int) -> tuple[ConceptHead, Kind]:
    """Train a case's head in a session with an empty store, at the paper's threshold; returns it with its kind.

    Where the recogniser has no bank of negatives, the training photos of `others` are the negatives, without copies of
    the case's own photos. A kind that is not given is the recogniser's guess, whatever the category.
    """
    in_bank = len(load_bank(session.recogniser_config).features)
    negatives = [] if in_bank >= FEWEST_OTHERS else _negatives(case, others)
    category = case.category if case.kind else None
    concept = enrol(
        session, case.name, case.training, kind=case.kind, category=category, negatives=negatives, seed=seed
    ).concept
    head = load_head(session.store, session.recogniser_config, concept)
    session.store.forget(case.name)
    kind = concept.kind
    return (head if kind is Kind.PERSON else replace(head, threshold=HEAD_THRESHOLD)), kind


def _negatives(case: Case, others: Sequence[Case]) -> list[Path]:
    own_contents = hash_contents(case)
    photos = [p for c in others if c.name != case.name for p in c.training]
    return [p for p in photos if sha256_of(read_bytes(p, LARGEST_FILE)) not in own_contents]


def train_embedding(
    vlm: "Vlm", case: Case, setting: Setting, *, seed: int, steps: int | None, identifier: str | None = None
) -> CaseEmbedding:
    """Train a case's embedding under one setting, with the captions of its training photos.

    identifier: the word to learn it under, instead of the one that the paper uses for all concepts of its kind.
    """
    from engine.training.augment import working_size
    from engine.training.optimiser import EmbeddingTrainer, TrainingExample

    identifier, config = identifier or identifier_of(vlm.config, case.kind), vlm.config
    paths = case.training[: setting.photos]
    images = [working_size(load_photo(p).image, _EDGES * vlm.image_edge) for p in paths]
    texts = [_captions(vlm, case, p, identifier) for p in paths]
    examples = [TrainingExample(image, captions) for image, captions in zip(images, texts, strict=True)]
    weight = None if setting.penalty else 0.0
    request = config.request("caption_of", (identifier,))
    plan = replace(settings_for(config.training, case.kind, steps), augment=setting.augment)
    trainer = EmbeddingTrainer(vlm, examples, request, plan, seed, penalty_weight=weight)
    losses, norms = [], []
    for step in trainer.run():
        losses.append(round(step.cross_entropy, 5))
        norms.append(round(float(trainer.embedding.detach().norm()), 5))
    return CaseEmbedding(trainer.result().numpy(), tuple(losses), tuple(norms))


def _captions(vlm: "Vlm", case: Case, path: Path, identifier: str) -> tuple[str, ...]:
    """Return the captions given for a photo, or one and its variations; without any, the VLM writes it."""
    given = tuple(t.replace(CONCEPT, identifier) for t in case.captions.get(path.name, ()))
    if len(given) > 1:
        return given
    if not given:
        from engine.vlms import captions

        text = captions.caption(vlm, [load_photo(path).image], [[]])[0].text
        given = (name_in_caption(text, nouns_of(case.kind or Kind.THING, case.category), identifier, text),)
    return vary(given[0], identifier, vlm.config.openings)
