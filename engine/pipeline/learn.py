"""Training a concept's embedding from its references: photos and captions in, a stored vector out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from engine.errors import NoUsablePhotoError, PhotoError, UsageError
from engine.heads.regions import crop
from engine.kinds import nouns_of
from engine.photos.decode import load_photo
from engine.pipeline.session import Session
from engine.store.concepts import Embedding
from engine.store.tensors import load_tensors, save_tensors
from engine.training.captions import check_coverage, load_captions, name_in_caption, shared_noun, vary, with_identifier
from engine.types import Concept, Kind, Reference
from engine.vlms.config import Training
from engine.vlms.wording import noun_phrases

SAVE_EVERY = 25
_WORKING_EDGE = 2
_ROOM, _ROOM_AROUND_FACE = 1.2, 3.0
"""How much of the photo around a concept's box its close-up takes in."""


@dataclass(frozen=True)
class Plan:
    """What training will use: the concept, its photos with their captions, and the settings."""

    concept: Concept
    captions: tuple[tuple[Path, tuple[str, ...]], ...]
    written_by: str  # "you" or the VLM's name
    settings: Training
    seed: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Progress:
    """One training step of one concept."""

    concept: Concept
    step: int
    steps: int
    cross_entropy: float
    penalty: float


def learn(
    session: Session,
    concept: Concept,
    *,
    captions: Path | None = None,
    steps: int | None = None,
    seed: int = 0,
) -> Iterator[Plan | Progress | Embedding]:
    """Train a concept's embedding: yields the plan, every step, and the stored embedding at the end.

    An interrupted training goes on where it was when it is started again with the same settings.

    Raises:
        NoUsablePhotoError: none of the references can be read any more.
        UsageError: the captions file does not fit.
    """
    from engine.training.trainer import EmbeddingTrainer, Example

    settings = session.vlm_config.training
    if concept.kind is Kind.PERSON and settings.person_steps is not None:
        settings = replace(settings, steps=settings.person_steps)
    settings = replace(settings, steps=steps) if steps else settings
    photos, notes = _load_references(concept, session)
    texts, writer, more = _captions(session, concept, photos, captions)
    plan = Plan(
        concept,
        tuple((p, t) for (p, _, _), t in zip(photos, texts, strict=True)),
        writer,
        settings,
        seed,
        (*notes, *more),
    )
    yield plan
    examples = [Example(image, t) for (_, image, _), t in zip(photos, texts, strict=True)]
    request = session.vlm_config.request("caption_of", (concept.identifier,))
    trainer = EmbeddingTrainer(session.vlm, examples, request, settings, seed)
    state_file = session.store.training_file(concept, session.vlm_id)
    signature = _signature(session, plan)
    _resume(trainer, state_file, signature)
    tail: list[float] = []
    for step in trainer.run():
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
    )
    session.store.save_embedding(embedding)
    state_file.unlink(missing_ok=True)
    yield embedding


def _load_references(concept: Concept, session: Session) -> tuple[list[tuple[Path, Image.Image, Reference]], list[str]]:
    from engine.training.augment import working_size

    edge = _WORKING_EDGE * session.vlm.image_edge
    found, notes = [], []
    for reference in concept.references:
        try:
            photo = load_photo(reference.path)
        except PhotoError as err:
            notes.append(str(err))
            continue
        if photo.facts.content_hash != reference.content_hash:
            notes.append(f"{reference.path.name} has changed since it was enrolled")
        found.append((reference.path, working_size(photo.image, edge), _scaled(reference, photo.image.size, edge)))
    if not found:
        raise NoUsablePhotoError(
            f"none of the photos of {concept.name!r} can be read any more",
            hint="Run myvlm add-concept again with photos that are there.",
        )
    return found, notes


def _scaled(reference: Reference, size: tuple[int, int], edge: int) -> Reference:
    """The reference with its box in the pixels of the working image."""
    if reference.box is None or min(size) <= edge:
        return reference
    factor = edge / min(size)
    b = reference.box
    return replace(reference, box=type(b)(b.x0 * factor, b.y0 * factor, b.x1 * factor, b.y1 * factor))


def _captions(
    session: Session, concept: Concept, photos: Sequence[tuple[Path, Image.Image, Reference]], path: Path | None
) -> tuple[list[tuple[str, ...]], str, list[str]]:
    """Captions of each photo with the identifier in them, who wrote them, and notes."""
    given = load_captions(path) if path else {}
    if path:
        check_coverage(given, [p.name for p, _, _ in photos], path)
    texts: list[tuple[str, ...]] = []
    notes = []
    missing = [photo for photo in photos if photo[0].name not in given]
    drafts = dict(zip([p for p, _, _ in missing], _write(session, concept, missing), strict=True))
    for file, _, _ in photos:
        own = [
            with_identifier(t, (concept.name, concept.identifier), concept.identifier) for t in given.get(file.name, ())
        ]
        if any(t is None for t in own):
            raise UsageError(
                f"{path}: a caption of {file.name} does not name {concept.name!r}",
                hint="Every caption must hold the name.",
            )
        if not own:
            if path:
                notes.append(f"{path.name} says nothing of {file.name}; the VLM wrote its caption")
            own = [drafts[file]]
        kept = [t for t in own if t]
        texts.append(tuple(kept) if len(kept) > 1 else vary(kept[0], concept.identifier, session.vlm_config.openings))
    return texts, "you" if path else session.vlm_config.name, notes


def _write(session: Session, concept: Concept, photos: Sequence[tuple[Path, Image.Image, Reference]]) -> list[str]:
    """Captions by the un-personalised VLM, with the concept's noun phrase replaced by its identifier."""
    from engine import tasks

    wholes, closeups = [], []
    for _, image, reference in photos:
        views = [image]
        if reference.box is not None:
            room = _ROOM_AROUND_FACE if concept.kind is Kind.PERSON else _ROOM
            views.append(crop(image, reference.box.grown(room, *image.size)))
        said = tasks.caption(session.vlm, views, [[] for _ in views])
        wholes.append(said[0].text)
        closeups.append(said[-1].text)
    own, shared = nouns_of(concept.kind, concept.category), shared_noun(closeups)
    return [
        name_in_caption(whole, own if noun_phrases(whole, *own) else shared, concept.identifier, closeup)
        for whole, closeup in zip(wholes, closeups, strict=True)
    ]


def _signature(session: Session, plan: Plan) -> str:
    from engine.files import sha256_of

    parts = (
        session.vlm_id,
        session.vlm_revision,
        plan.captions,
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
