"""Train a concept's embedding for one VLM from its reference photos, and store it (docs/method.md, section 1)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from engine.core.errors import DivergedError, NotTrainedError, UsageError
from engine.core.tensors import load_tensors, save_tensors
from engine.core.types import Concept, Kind
from engine.session import Session
from engine.store.concepts import ConceptStore, Embedding
from engine.store.rows import photos_key
from engine.training.questions import Task, Turn
from engine.training.reference_photos import WORKING_EDGES, check_references, load_references
from engine.training.targets import TargetBuilder
from engine.vlms.config import Training, VlmConfig
from engine.vlms.in_use import VlmInUse

if TYPE_CHECKING:
    import numpy as np

    from engine.training.optimiser import EmbeddingTrainer, Step, TrainingExample

SAVE_EVERY = 25
"""Steps between two savings of an unfinished training."""
_LOSS_STEPS = 10
"""The stored loss is the mean cross-entropy of this many last steps."""


class Need(StrEnum):
    """Whether a concept should be trained for a VLM."""

    NOTHING = "trained"
    UNTRAINED = "not trained yet"
    NEW_PHOTOS = "trained on other photos than it has now"
    NO_PHOTOS = "imported without photos to learn from"


def training_need(session: Session, concept: Concept, task: Task = "caption") -> Need:
    """Return whether a concept should be trained for the session's VLM.

    It should if it has no embedding, or one that was trained here on other photos than it has now; such an embedding is
    used until then. Imported embeddings need no training.
    """
    try:
        embedding = session.store.load_embedding(concept, session.vlm_id, session.vlm_revision, task)
    except NotTrainedError:
        return Need.UNTRAINED if concept.references else Need.NO_PHOTOS
    is_outdated = embedding.photos and concept.references and embedding.photos != photos_key(concept.references)
    return Need.NEW_PHOTOS if is_outdated else Need.NOTHING


@dataclass(frozen=True)
class Plan:
    """What a training uses: the concept, the captions and questions of its photos, and the settings.

    written_by: "you" where captions came from the user's file, else the VLM's name.
    questions: for each photo that has any, questions with answers; empty unless the task is "vqa".
    """

    concept: Concept
    captions: tuple[tuple[Path, tuple[str, ...]], ...]
    written_by: str
    settings: Training
    seed: int
    notes: tuple[str, ...] = ()
    task: Task = "caption"
    questions: tuple[tuple[Path, tuple[Turn, ...]], ...] = ()


@dataclass(frozen=True)
class Progress:
    """One training step of one concept; losses are those before the update."""

    concept: Concept
    step: int
    steps: int
    cross_entropy: float
    penalty: float


@dataclass(frozen=True)
class _Options:
    """The arguments of `plan` and `learn`; steps None is the VLM's own number."""

    task: Task
    captions: Path | None
    answers: Path | None
    steps: int | None
    seed: int


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
    """Return everything that `train` would use, without training.

    captions, answers: the user's `captions.json` and `answers.json`.

    Raises:
        NoUsablePhotoError: none of the references can be read any more.
        UsageError: the captions or answers file does not fit, or the VLM does not answer.
    """
    return _prepare(session, concept, _Options(task, captions, answers, steps, seed))[0]


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

    An interrupted training continues where it stopped when it is started again with the same settings.

    Raises:
        NoUsablePhotoError: none of the references can be read any more.
        UsageError: the captions or answers file does not fit, or the VLM does not answer.
        DivergedError: the numbers are no longer finite; nothing is stored.
    """
    training_plan, examples = _prepare(session, concept, _Options(task, captions, answers, steps, seed))
    yield training_plan
    vlm = session.vlm_in_use
    trainer = _make_trainer(vlm, training_plan, examples)
    state_file = session.store.training_file(concept, vlm.id, task)
    last_losses: list[float] = []
    for step in _run(trainer, state_file, _signature(vlm, training_plan), concept):
        last_losses = [*last_losses[1 - _LOSS_STEPS :], step.cross_entropy]
        yield Progress(concept, step.step, step.steps, step.cross_entropy, step.penalty)
    loss = sum(last_losses) / max(1, len(last_losses))
    embedding = _to_embedding(vlm, training_plan, trainer.result().numpy(), loss)
    session.store.save_embedding(embedding)
    state_file.unlink(missing_ok=True)
    yield embedding


def settings_for(training: Training, kind: Kind | None, steps: int | None = None) -> Training:
    """Return a VLM's training settings for a kind of concept; `steps`, where given, replace the VLM's number."""
    default = (training.person_steps if kind is Kind.PERSON else None) or training.steps
    return replace(training, steps=steps or default)


def _prepare(session: Session, concept: Concept, options: _Options) -> "tuple[Plan, list[TrainingExample]]":
    """Check the options before the VLM is loaded, then make the plan and the training examples."""
    _check_options(session.vlm_config, options)
    check_references(concept)
    return _plan_with(session.vlm_in_use, session.store, concept, options)


def _check_options(config: VlmConfig, options: _Options) -> None:
    """Check that the VLM can learn the task.

    Raises:
        UsageError: it cannot, or answers are given for another task than "vqa".
    """
    if options.answers and options.task != "vqa":
        raise UsageError("answers are only used when answering is trained", hint="Add --task vqa.")
    if options.task == "vqa":
        from engine.vlms import generate

        generate.check_answers(config)


def _plan_with(
    vlm: VlmInUse, store: ConceptStore, concept: Concept, options: _Options
) -> "tuple[Plan, list[TrainingExample]]":
    """Make the plan of a training, and an example of each photo that can be read."""
    from engine.training.optimiser import TrainingExample
    from engine.vlms import generate

    photos, notes = load_references(concept, edge=WORKING_EDGES * vlm.model.image_edge)
    builder = TargetBuilder(vlm, store, concept, photos)
    captions = builder.captions(options.captions)
    questions = builder.questions(options.answers) if options.task == "vqa" else [()] * len(photos)
    examples = []
    for photo, texts, turns in zip(photos, captions, questions, strict=True):
        asked = tuple(Turn(generate.question_request(vlm.model, t.request), t.answers) for t in turns)
        examples.append(TrainingExample(photo.image, texts, asked))
    training_plan = Plan(
        concept,
        tuple((photo.path, texts) for photo, texts in zip(photos, captions, strict=True)),
        "you" if options.captions else vlm.config.name,
        settings_for(vlm.config.training, concept.kind, options.steps),
        options.seed,
        (*notes, *builder.notes),
        options.task,
        tuple((photo.path, turns) for photo, turns in zip(photos, questions, strict=True) if turns),
    )
    return training_plan, examples


def _make_trainer(vlm: VlmInUse, training_plan: Plan, examples: "list[TrainingExample]") -> "EmbeddingTrainer":
    """Make the trainer of a plan; questions have a penalty weight of their own where the VLM's config has one."""
    from engine.training.optimiser import EmbeddingTrainer

    request = vlm.config.request("caption_of", (training_plan.concept.identifier,))
    weight = vlm.config.injection.vqa_penalty_weight if training_plan.task == "vqa" else None
    return EmbeddingTrainer(
        vlm.model, examples, request, training_plan.settings, training_plan.seed, penalty_weight=weight
    )


def _to_embedding(vlm: VlmInUse, training_plan: Plan, vector: "np.ndarray", loss: float) -> Embedding:
    """Make the embedding to store; vector: (1, D) float32 of unit length."""
    concept = training_plan.concept
    return Embedding(
        concept.id,
        vlm.id,
        vlm.revision,
        concept.identifier,
        training_plan.settings.steps,
        training_plan.seed,
        loss,
        vector,
        training_plan.task,
        photos_key(concept.references),
    )


def _run(trainer: "EmbeddingTrainer", state_file: Path, signature: str, concept: Concept) -> "Iterator[Step]":
    """Train to the end; the state is saved every `SAVE_EVERY` steps, and continued where it has the same signature.

    Raises:
        DivergedError: the numbers are no longer finite; the message names the concept.
    """
    _resume(trainer, state_file, signature)
    try:
        for step in trainer.run():
            if step.step % SAVE_EVERY == 0 and step.step < step.steps:
                state = {name: tensor.numpy() for name, tensor in trainer.state().items()}
                save_tensors(state_file, state, {"signature": signature})
            yield step
    except DivergedError as err:
        raise DivergedError(f"training of {concept.name!r} went wrong: {err}", hint=err.hint) from err


def _signature(vlm: VlmInUse, training_plan: Plan) -> str:
    """Return a fingerprint of everything that a training depends on; a saved state of another one is not used.

    It is the SHA-256 of the values' `repr`, so that renaming a field of `Turn`, `Training` or `Injection` changes it.
    """
    from engine.core.files import sha256_of

    p = training_plan
    parts = (vlm.id, vlm.revision, p.captions, p.questions, p.settings, p.seed, vlm.config.injection)
    return sha256_of(repr(parts).encode())


def _resume(trainer: "EmbeddingTrainer", path: Path, signature: str) -> None:
    """Continue from a saved state, where there is one with this signature."""
    from safetensors import safe_open

    if not path.is_file():
        return
    with safe_open(path, "np") as opened:
        if (opened.metadata() or {}).get("signature") != signature:
            return
    import torch

    trainer.restore({name: torch.from_numpy(array) for name, array in load_tensors(path).items()})
