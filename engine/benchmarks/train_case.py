"""Learning a case in the paper's way: its head and its embedding, from its training photos and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engine.benchmarks.cases import CONCEPT, Case, contents_of
from engine.benchmarks.settings import HEAD_THRESHOLD, Setting
from engine.concepts.enrol import FEWEST_NEGATIVES, enrol
from engine.core.class_words import nouns_of
from engine.core.files import read_bytes, sha256_of
from engine.core.types import Kind
from engine.photos.decode import load_photo
from engine.photos.photo_file import LARGEST_FILE
from engine.recognition.recognise import load_head
from engine.session import Session
from engine.store.heads import ConceptHead
from engine.training.captions import name_in_caption, vary
from engine.training.train import settings_for
from engine.vision.feature_bank import load_bank

_EDGES = 2
"""Training photos are kept at this multiple of what the vision tower sees."""


@dataclass(frozen=True)
class CaseEmbedding:
    """A learned embedding, (1, D) float32 of unit length, and how it went: cross-entropy before each step, and the
    raw embedding's L2 norm after it.
    """

    vector: np.ndarray
    losses: tuple[float, ...]
    norms: tuple[float, ...]


def identifier_of(session: Session, kind: Kind | None) -> str:
    """The word a concept is learned under: one for all objects, one for all people, as in the paper."""
    return session.vlm_config.identifiers["person" if kind is Kind.PERSON else "thing"][0]


def learn_head(session: Session, case: Case, others: Sequence[Case], seed: int) -> tuple[ConceptHead, Kind]:
    """Train a case's head alone, with nobody else enrolled, at the paper's threshold.

    Where the recogniser has no bank of negatives, the training photos of the `others` take its place, without copies
    of the case's own. A kind that is not given is the recogniser's guess, whatever the category.
    """
    known = len(load_bank(session.recogniser_config).features)
    negatives = [] if known >= FEWEST_NEGATIVES else _negatives(case, others)
    category = case.category if case.kind else None
    done = enrol(session, case.name, case.training, kind=case.kind, category=category, negatives=negatives, seed=seed)
    head = load_head(session.store, session.recogniser_config, done.concept)
    session.store.forget(case.name)
    kind = done.concept.kind
    return (head if kind is Kind.PERSON else replace(head, threshold=HEAD_THRESHOLD)), kind


def _negatives(case: Case, others: Sequence[Case]) -> list[Path]:
    own = contents_of(case)
    found = [p for c in others if c.name != case.name for p in c.training]
    return [p for p in found if sha256_of(read_bytes(p, LARGEST_FILE)) not in own]


def learn_embedding(session: Session, case: Case, setting: Setting, seed: int, steps: int | None) -> CaseEmbedding:
    """Train a case's embedding under one setting, with the captions given with its training photos."""
    from engine.training.augment import working_size
    from engine.training.optimiser import EmbeddingTrainer, TrainingExample

    identifier, config = identifier_of(session, case.kind), session.vlm_config
    paths = case.training[: setting.photos]
    images = [working_size(load_photo(p).image, _EDGES * session.vlm.image_edge) for p in paths]
    texts = [_captions(session, case, p, identifier) for p in paths]
    examples = [TrainingExample(image, own) for image, own in zip(images, texts, strict=True)]
    weight = None if setting.penalty else 0.0
    request = config.request("caption_of", (identifier,))
    plan = replace(settings_for(config.training, case.kind, steps), augment=setting.augment)
    trainer = EmbeddingTrainer(session.vlm, examples, request, plan, seed, penalty_weight=weight)
    losses, norms = [], []
    for step in trainer.run():
        losses.append(round(step.cross_entropy, 5))
        norms.append(round(float(trainer.embedding.detach().norm()), 5))
    return CaseEmbedding(trainer.result().numpy(), tuple(losses), tuple(norms))


def _captions(session: Session, case: Case, path: Path, identifier: str) -> tuple[str, ...]:
    """One caption and its variations, or the captions that were given; the VLM's own where there are none."""
    given = tuple(t.replace(CONCEPT, identifier) for t in case.captions.get(path.name, ()))
    if len(given) > 1:
        return given
    if not given:
        from engine.vlms import generate

        text = generate.caption(session.vlm, [load_photo(path).image], [[]])[0].text
        given = (name_in_caption(text, nouns_of(case.kind or Kind.THING, case.category), identifier, text),)
    return vary(given[0], identifier, session.vlm_config.openings)
