"""Time what grows with the number of enrolled concepts: one more beside 50, and the gallery that a run starts with."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import engine.core.device  # noqa: F401

import numpy as np
import torch

from engine.benchmarks.speed.measurement import Measurement, SpeedSettings, in_turn
from engine.concepts.negatives import draw_from_bank
from engine.concepts.object_heads import HeadExamples, retrain_rivals, train_object_head
from engine.core.types import Concept, Kind, Reference
from engine.recognition.classifier import ConceptClassifier, open_set_classifier
from engine.recognition.enrolled import HeadGroup, read_enrolled
from engine.recognition.linear_head import HeadTraining, LinearHead
from engine.session import Session, SessionOptions
from engine.store.fits import StoredFits
from engine.store.heads import ConceptHead, ObjectHead
from engine.vision.feature_bank import load_bank

CONCEPTS = 50
_PHOTOS, _BACKGROUND = 3, 8
"""Reference photos of a concept, and background regions in each."""
_SPREAD = 0.5
"""Length of what is added to a concept's mean feature to draw a view: cosines of .8 between the views of a concept."""


def measure(settings: SpeedSettings) -> list[Measurement]:
    """Measure both, with drawn features of unit length."""
    return [_measure_addition(settings), _measure_gallery(settings)]


def open_session(folder: Path, recogniser: str) -> Session:
    """Return a session without a VLM on a data folder."""
    return Session(SessionOptions("none", recogniser), folder)


def fill_store(session: Session, seed: int, count: int = CONCEPTS) -> None:
    """Store pets with drawn features; half of them are dogs, and rivals of each other."""
    config, rng = session.recogniser_config, np.random.default_rng(seed)
    width, views = load_bank(config).features.shape[1], 1 + config.augmentations
    for i in range(count):
        mean = _unit(rng.normal(size=(1, width)))
        rows = _unit(mean + _SPREAD * rng.normal(size=(_PHOTOS * views, width)) / np.sqrt(width))
        background = _unit(rng.normal(size=(_PHOTOS * _BACKGROUND, width)))
        references = tuple(Reference(Path(f"/{i}-{k}.jpg"), f"{i:032x}{k:032x}", None) for k in range(_PHOTOS))
        word = "dog" if i % 2 == 0 else f"word{i}"
        concept = session.store.put(f"pet{i:03}", Kind.PET, word, ("sks",), references)
        examples = HeadExamples(
            rows, np.repeat(np.arange(_PHOTOS), views), background, references=tuple(r.content_hash for r in references)
        )
        session.store.save_head(train_object_head(session.store, config, concept, examples, seed))


def _unit(rows: np.ndarray) -> np.ndarray:
    found: np.ndarray = (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)
    return found


def _measure_addition(settings: SpeedSettings) -> Measurement:
    filled = open_session(settings.work / "many", "builtin")
    fill_store(filled, settings.seed, CONCEPTS + 1)
    filled.store.close()
    copies = [settings.work / f"many{i}" for i in range(2 * (settings.rounds + 1))]
    for copy in copies:
        shutil.copytree(settings.work / "many", copy)
    sessions = iter([open_session(copy, "builtin") for copy in copies])

    def once(way: Callable[[Session], int]) -> None:
        session = next(sessions)
        way(session)
        session.store.close()

    ours, theirs = in_turn(partial(once, train_newest), partial(once, former_train_newest), settings.rounds)
    return Measurement(
        "many-concepts",
        f"train the head of concept {CONCEPTS + 1} and those of its {CONCEPTS // 2} rivals, from stored features",
        "features of other concepts are read once; numpy draws all random numbers at once",
        "the features of all concepts are read for each head; torch draws for each step",
        ours,
        theirs,
        target="< 1 s",
        predicted="2 to 4: reading was quadratic in the number of concepts; the steps of the training stay",
        extra={"seconds": median(ours)},
    )


def train_newest(session: Session) -> int:
    """Train and store the first dog's head and those of its rivals; return how many heads that were."""
    store, config = session.store, session.recogniser_config
    concept = store.all()[0]
    head = _object_head(session, concept)
    store.save_head(train_object_head(store, config, concept, _examples(head), head.seed))
    return 1 + len(retrain_rivals(store, config, concept))


def former_train_newest(session: Session) -> int:
    """Do what `train_newest` does as versions up to 0.2 did."""
    store = session.store
    newest, *others = store.all()
    rivals = [c for c in others if c.category == newest.category]
    for concept in (newest, *rivals):
        head = _object_head(session, concept)
        trained = former_train_head(*_former_examples(session, head), _training(session), head.seed)
        store.save_head(replace(head, weight=trained.weight, bias=trained.bias))
    return 1 + len(rivals)


def _training(session: Session) -> HeadTraining:
    return HeadTraining(**session.recogniser_config.head)  # type: ignore[arg-type]  # dict[str, float] fills int fields


def _object_head(session: Session, concept: Concept) -> ObjectHead:
    head = session.store.load_head(concept.id, session.recogniser_config.id)
    if not isinstance(head, ObjectHead):
        raise TypeError(f"{concept.name} has no linear head")
    return head


def _examples(head: ObjectHead) -> HeadExamples:
    return HeadExamples(head.views, head.photo_numbers(0), head.background, references=head.references)


def _former_examples(session: Session, head: ObjectHead) -> tuple[np.ndarray, np.ndarray]:
    """Return positives and negatives of a head; every other head is read."""
    bank, config = load_bank(session.recogniser_config), session.recogniser_config
    others = [np.zeros((0, head.width), np.float32)]
    for concept in session.store.all():
        if concept.id != head.concept_id and concept.kind is not Kind.PERSON:
            other = session.store.load_head(concept.id, config.head_id(concept.kind))
            others += [other.views] if other is not None else []
    drawn = draw_from_bank(bank, head.views, np.random.default_rng(head.seed))
    return head.views, np.concatenate([head.background, np.concatenate(others), drawn]).astype(np.float32)


def former_train_head(positives: np.ndarray, negatives: np.ndarray, settings: HeadTraining, seed: int) -> LinearHead:
    """Train a linear head with random numbers from torch, drawn in each step, and moments of both of its rows."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.empty(2, positives.shape[1]).normal_(0, 0.01, generator=generator).numpy()
    features = settings.scale * np.concatenate([positives, negatives]).astype(np.float32)
    rows = np.concatenate([features, np.ones((len(features), 1), np.float32)], axis=1)
    is_concept = np.arange(len(rows)) < len(positives)
    shares = torch.ones(len(rows))
    if settings.balanced and len(negatives):
        shares = torch.where(torch.from_numpy(is_concept), 0.5 / len(positives), 0.5 / len(negatives))
    weight = np.concatenate([start, np.zeros((2, 1), np.float32)], axis=1)
    mean, square = np.zeros_like(weight), np.zeros_like(weight)
    for step in range(1, settings.steps + 1):
        drawn = torch.multinomial(shares, settings.batch, replacement=True, generator=generator).numpy()
        logits = rows[drawn] @ weight.T
        wrong = 1.0 / (1.0 + np.exp(np.where(is_concept[drawn], 1.0, -1.0) * (logits[:, 1] - logits[:, 0])))
        pull = np.where(is_concept[drawn], wrong, -wrong).astype(np.float32) / settings.batch
        gradient = np.outer([1.0, -1.0], pull @ rows[drawn]).astype(np.float32)
        rate = settings.learning_rate * (1 + np.cos(np.pi * (step - 1) / settings.steps)) / 2
        mean += 0.1 * (gradient - mean)
        square += 0.001 * (gradient * gradient - square)
        scale = np.sqrt(square / (1 - 0.999**step)) + 1e-8
        weight = (1 - rate * settings.weight_decay) * weight - rate / (1 - 0.9**step) * mean / scale
    return LinearHead(weight[:, :-1].astype(np.float32), weight[:, -1].astype(np.float32), settings.scale)


def _measure_gallery(settings: SpeedSettings) -> Measurement:
    session = open_session(settings.work / "fits", "storybook")
    fill_store(session, settings.seed)
    heads = read_heads(session)
    fits = StoredFits(session.folder)
    ours, theirs = in_turn(
        partial(make_classifier, session, heads, fits), partial(make_classifier, session, heads, None), settings.rounds
    )
    session.store.close()
    return Measurement(
        "many-concepts",
        f"make the classifier of {CONCEPTS} concepts, with the scorer that is fitted to them",
        "the fit is read; its digest is computed of all features",
        "fitted anew, as at each start before",
        ours,
        theirs,
        predicted="over 10: what is left is hashing some megabytes",
        extra={"seconds": median(ours)},
    )


def read_heads(session: Session) -> Mapping[Concept, ConceptHead]:
    """Read the heads of pets and things."""
    enrolled = read_enrolled(session.store, session.recogniser_config, session.recognition)
    return enrolled.group(HeadGroup.REGIONS)


def make_classifier(
    session: Session, heads: Mapping[Concept, ConceptHead], fits: StoredFits | None
) -> ConceptClassifier:
    """Return the classifier of heads without a calibration: from a stored fit, or without `fits` fitted anew."""
    return open_set_classifier(session.recogniser_config, heads, None, fits)
