"""Training a concept's embedding from its references: photos and captions in, a stored vector out."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from engine.core.errors import DivergedError, NotTrainedError, UsageError
from engine.core.tensors import load_tensors, save_tensors
from engine.core.types import Concept, Kind
from engine.session import Session
from engine.store.concepts import Embedding
from engine.store.rows import photos_key
from engine.training.questions import Task, Turn
from engine.training.targets import TargetBuilder, TrainingExample, load_references
from engine.vlms.config import Training

if TYPE_CHECKING:
    from engine.training.optimiser import Step

SAVE_EVERY = 25


class Need(StrEnum):
    """Whether a concept should be trained for a VLM."""

    NOTHING = "trained"
    UNTRAINED = "not trained yet"
    NEW_PHOTOS = "trained on other photos than it has now"
    NO_PHOTOS = "imported without photos to learn from"


def training_need(session: Session, concept: Concept, task: Task = "caption") -> Need:
    """Whether a concept should be trained for the session's VLM: it has no embedding, or one that was trained here on
    other photos than the concept has now (it is used until then). Imported embeddings are left as they are.
    """
    try:
        known = session.store.load_embedding(concept, session.vlm_id, session.vlm_revision, task)
    except NotTrainedError:
        return Need.UNTRAINED if concept.references else Need.NO_PHOTOS
    changed = known.photos and concept.references and known.photos != photos_key(concept.references)
    return Need.NEW_PHOTOS if changed else Need.NOTHING


@dataclass(frozen=True)
class Plan:
    """What training will use: the concept, its photos with what is said of them, and the settings."""

    concept: Concept
    captions: tuple[tuple[Path, tuple[str, ...]], ...]
    written_by: str  # "you" or the VLM's name
    settings: Training
    seed: int
    notes: tuple[str, ...] = ()
    task: Task = "caption"
    questions: tuple[tuple[Path, tuple[Turn, ...]], ...] = ()


@dataclass(frozen=True)
class Progress:
    """One training step of one concept."""

    concept: Concept
    step: int
    steps: int
    cross_entropy: float
    penalty: float


def plan(
    session: Session,
    concept: Concept,
    *,
    task: Task = "caption",
    captions: Path | None = None,
    answers: Path | None = None,
    steps: int | None = None,
    seed: int = 0,
) -> Plan:
    """Everything that `learn` would use, without training.

    Raises:
        NoUsablePhotoError: none of the references can be read any more.
        UsageError: the captions or answers file does not fit, or the VLM does not answer.
    """
    return _prepare(session, concept, task, captions, answers, steps, seed)[0]


def train_concept(
    session: Session,
    concept: Concept,
    *,
    task: Task = "caption",
    captions: Path | None = None,
    answers: Path | None = None,
    steps: int | None = None,
    seed: int = 0,
) -> Iterator[Plan | Progress | Embedding]:
    """Train a concept's embedding: yields the plan, every step, and the stored embedding at the end.

    An interrupted training goes on where it was when it is started again with the same settings.

    Raises:
        NoUsablePhotoError: none of the references can be read any more.
        UsageError: the captions or answers file does not fit, or the VLM does not answer.
        DivergedError: the numbers are no longer finite; nothing is stored.
    """
    from engine.training.optimiser import EmbeddingTrainer, Example

    found, lessons = _prepare(session, concept, task, captions, answers, steps, seed)
    yield found
    settings = found.settings
    examples = [Example(lesson.photo.image, lesson.captions, lesson.questions) for lesson in lessons]
    request = session.vlm_config.request("caption_of", (concept.identifier,))
    weight = session.vlm_config.injection.vqa_penalty_weight if task == "vqa" else None
    trainer = EmbeddingTrainer(session.vlm, examples, request, settings, seed, penalty_weight=weight)
    state_file = session.store.training_file(concept, session.vlm_id, task)
    signature = _signature(session, found)
    _resume(trainer, state_file, signature)
    tail: list[float] = []
    for step in _named(trainer.run(), concept):
        tail = [*tail[-9:], step.cross_entropy]
        if step.step % SAVE_EVERY == 0 and step.step < step.steps:
            state = {k: v.numpy() for k, v in trainer.state().items()}
            save_tensors(state_file, state, {"signature": signature})
        yield Progress(concept, step.step, step.steps, step.cross_entropy, step.penalty)
    embedding = Embedding(
        concept.id,
        session.vlm_id,
        session.vlm_revision,
        concept.identifier,
        settings.steps,
        seed,
        sum(tail) / max(1, len(tail)),
        trainer.result().numpy(),
        task,
        photos_key(concept.references),
    )
    session.store.save_embedding(embedding)
    state_file.unlink(missing_ok=True)
    yield embedding


def _named(steps: "Iterator[Step]", concept: Concept) -> "Iterator[Step]":
    """The steps; what goes wrong in one is said of the concept."""
    try:
        yield from steps
    except DivergedError as err:
        raise DivergedError(f"training of {concept.name!r} went wrong: {err}", hint=err.hint) from err


def settings_for(training: Training, kind: Kind | None, steps: int | None = None) -> Training:
    """A VLM's training settings for a kind of concept; `steps`, where given, win."""
    own = training.person_steps if kind is Kind.PERSON else None
    return replace(training, steps=steps or own or training.steps)


def _prepare(
    session: Session,
    concept: Concept,
    task: Task,
    captions: Path | None,
    answers: Path | None,
    steps: int | None,
    seed: int,
) -> tuple[Plan, list[TrainingExample]]:
    from engine.vlms import generate

    if answers and task != "vqa":
        raise UsageError("answers are only used when answering is trained", hint="Add --task vqa.")
    if task == "vqa":
        generate.check_answers(session.vlm_config)
    settings = settings_for(session.vlm_config.training, concept.kind, steps)
    photos, notes = load_references(session, concept)
    author = TargetBuilder(session, concept, photos)
    texts = author.captions(captions)
    turns = author.questions(answers) if task == "vqa" else [()] * len(photos)
    lessons = [
        TrainingExample(p, c, tuple(Turn(generate.question_request(session.vlm, t.request), t.answers) for t in q))
        for p, c, q in zip(photos, texts, turns, strict=True)
    ]
    found = Plan(
        concept,
        tuple((lesson.photo.path, lesson.captions) for lesson in lessons),
        "you" if captions else session.vlm_config.name,
        settings,
        seed,
        (*notes, *author.notes),
        task,
        tuple((p.path, q) for p, q in zip(photos, turns, strict=True) if q),
    )
    return found, lessons


def _signature(session: Session, plan: Plan) -> str:
    from engine.core.files import sha256_of

    parts = (
        session.vlm_id,
        session.vlm_revision,
        plan.captions,
        plan.questions,
        plan.settings,
        plan.seed,
        session.vlm_config.injection,
    )
    return sha256_of(repr(parts).encode())


def _resume(trainer: object, path: Path, signature: str) -> None:
    from safetensors import safe_open

    if not path.is_file():
        return
    with safe_open(path, "np") as opened:
        if (opened.metadata() or {}).get("signature") != signature:
            return
    import torch

    trainer.restore({k: torch.from_numpy(v) for k, v in load_tensors(path).items()})  # type: ignore[attr-defined]
