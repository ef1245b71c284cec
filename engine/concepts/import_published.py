"""Import a concept that was trained elsewhere: store the embedding and head that the paper's authors publish."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.concepts.concept_warnings import ConceptWarning, WarningCode
from engine.core.errors import EnvironmentFault, UsageError, WeightsMissingError, first_line
from engine.core.types import Concept, Kind
from engine.recognition.enrolled import can_recognise
from engine.session import Session
from engine.store.concepts import ConceptStore, Embedding
from engine.store.heads import ConceptHead, ObjectHead
from engine.store.names import check_name
from engine.training.questions import Task
from engine.vision.cached_extractor import CachedExtractor
from engine.vision.config import RecogniserConfig
from engine.vlms.config import VlmConfig, list_configs
from engine.vlms.registry import find_weights, how_to_get

_FILE = re.compile(r"concept_embeddings_(?P<vlm>.+)_(?P<task>[A-Za-z]+)$")
_TASKS: dict[str, Task] = {"caption": "caption", "captioning": "caption", "vqa": "vqa"}
_WIDTHS = {
    "llava-next": "text_config",
    "blip-2": "vision_config",
    "minigpt-v2": "text_config",
}
"""The part of each VLM family's config whose `hidden_size` is the width of an embedding."""


@dataclass(frozen=True)
class Source:
    """The files to import: an embedding, and for pets and things a linear head."""

    embedding: Path
    head: Path | None = None
    iteration: int | None = None
    task: Task | None = None


@dataclass(frozen=True)
class Identity:
    """The concept to import into.

    identifier: the word that the embedding was trained with; the paper uses "sks". Without a kind or category an
    existing concept keeps the one it has, and a new concept is a thing.
    """

    name: str
    kind: Kind | None = None
    category: str | None = None
    identifier: str = "sks"


@dataclass(frozen=True)
class ImportResult:
    """The stored concept, embedding and head, with warnings."""

    concept: Concept
    embedding: Embedding
    head: ConceptHead | None
    warnings: tuple[ConceptWarning, ...]


def guess_vlm(path: Path) -> str | None:
    """Return the name of the VLM config that a file name refers to, or None."""
    parts = _FILE.match(path.stem)
    if not parts:
        return None
    vlm = _plain(parts["vlm"])
    names = [c.name for c in list_configs() if _plain(c.name).startswith(vlm) or vlm.startswith(_plain(c.name))]
    return names[0] if len(names) == 1 else next((n for n in names if _plain(n) == vlm), None)


def guess_task(path: Path) -> Task | None:
    """Return the task that a file name refers to, or None."""
    parts = _FILE.match(path.stem)
    return _TASKS.get(parts["task"].lower()) if parts else None


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def import_published(session: Session, source: Source, who: Identity, *, replacing: bool = False) -> ImportResult:
    """Store an embedding for the session's VLM and, if given, a head for its recogniser.

    They are added to the concept with this name, or to a new concept without photos. replacing: replace the embedding
    and head that the concept already has.

    Raises:
        UsageError: a file has another form, or contradicts the concept stored under the name; or there is no VLM.
        ArtefactError: a width does not fit the VLM or the recogniser.
        WeightsMissingError: the VLM's weights are not on this disk, so nothing can be checked.
    """
    from engine.store.published import check_width, read_classifier, read_embeddings

    check_name(who.name)
    session.models.check_has_vlm()
    task = source.task or guess_task(source.embedding)
    if task is None:
        raise UsageError(f"{source.embedding.name} does not say for which task it is", hint="Give --task caption|vqa.")
    published = read_embeddings(source.embedding, source.iteration)
    check_width(published.vector.shape[1], _vlm_width(session), source.embedding, session.vlm_config.name)
    weight_and_bias = read_classifier(source.head) if source.head else None
    existing = session.store.find(who.name)
    if existing:
        _check_same(existing, who)
        if not replacing:
            _check_free(session, existing, task, head=weight_and_bias is not None)
    kind = existing.kind if existing else who.kind or Kind.THING
    if weight_and_bias and kind is Kind.PERSON:
        raise UsageError("people are recognised by their faces, not by a linear head", hint="Leave out --head.")
    if weight_and_bias and source.head:
        check_width(
            weight_and_bias[0].shape[1], _head_width(session.extractor), source.head, session.recogniser_config.name
        )
    concept, warnings = (existing, []) if existing else _create(session.store, who, kind)
    facts = (session.vlm_id, session.vlm_revision, concept.identifier, published.iteration, 0, 0.0)
    embedding = Embedding(concept.id, *facts, published.vector, task)
    session.store.save_embedding(embedding)
    head = _save_head(session.store, session.recogniser_config, concept, *weight_and_bias) if weight_and_bias else None
    concept = session.store.get(who.name)
    if not can_recognise(session.store, session.recogniser_config, concept):
        warnings.append(ConceptWarning(WarningCode.NOT_RECOGNISED, concept))
    return ImportResult(concept, embedding, head, tuple(warnings))


def _check_same(concept: Concept, who: Identity) -> None:
    """Check that the stored concept has the identifier, kind and category of the imported one.

    Raises:
        UsageError: one of them differs.
    """
    hint = "Import it under another name, or forget the concept first."
    if concept.identifier != who.identifier:
        raise UsageError(
            f"{concept.name!r} goes by {concept.identifier!r} in prompts, the file's embedding by {who.identifier!r}",
            hint=hint,
        )
    if who.kind not in (None, concept.kind):
        raise UsageError(f"{concept.name!r} is a {concept.kind}, not a {who.kind}", hint=hint)
    if who.category not in (None, concept.category):
        raise UsageError(f"{concept.name!r} has the category {concept.category!r}, not {who.category!r}", hint=hint)


def _check_free(session: Session, concept: Concept, task: Task, *, head: bool) -> None:
    """Check that the import would replace no stored embedding or head.

    Raises:
        UsageError: it would.
    """
    embeddings = session.store.facts(concept).embeddings
    lost = ["an embedding"] if any((e.vlm, e.task) == (session.vlm_id, task) for e in embeddings) else []
    if head and session.store.load_head(concept.id, session.recogniser_config.head_id(concept.kind)):
        lost.append("a head")
    if lost:
        raise UsageError(
            f"{concept.name!r} has {' and '.join(lost)} for {session.vlm_config.name} already",
            hint="Give --replace to put the file's in its place, or import it under another name.",
        )


def _create(store: ConceptStore, who: Identity, kind: Kind) -> tuple[Concept, list[ConceptWarning]]:
    same = tuple(c for c in store.all() if c.identifier == who.identifier)
    category = who.category or ("person" if kind is Kind.PERSON else "thing")
    concept = store.put(who.name, kind, category, (who.identifier,), ())
    return concept, [ConceptWarning(WarningCode.SHARED_IDENTIFIER, concept, same)] if same else []


def _save_head(
    store: ConceptStore, config: RecogniserConfig, concept: Concept, weight: np.ndarray, bias: np.ndarray
) -> ConceptHead:
    """Store an imported head without training views, and return it; the user's feedback is kept.

    weight: (2, D); bias: (2,).
    """
    from engine.store.heads import FeedbackFeatures

    no_views = np.zeros((0, weight.shape[1]), np.float32)
    feedback = FeedbackFeatures.of(store.load_head(concept.id, config.id))
    head = ObjectHead(
        concept_id=concept.id,
        encoder=config.id,
        threshold=0.5,
        views=no_views,
        feedback=feedback,
        weight=weight,
        bias=bias,
        scale=1.0,
        background=no_views,
    )
    store.save_head(head)
    return head


def _vlm_width(session: Session) -> int:
    """Return the width of the VLM's embeddings, from its `config.json` and the family's defaults, without its weights.

    Raises:
        WeightsMissingError: the VLM is not on this disk.
        EnvironmentFault: its config cannot be read.
    """
    from transformers import AutoConfig

    from engine.vlms.minigpt_v2 import MiniGptConfig

    config: VlmConfig = session.vlm_config
    folder = find_weights(config)
    if folder is None:
        raise WeightsMissingError(
            f"the weights of {config.name} are not on this disk, and the embedding belongs to their version",
            hint=how_to_get(config),
        )
    reader = MiniGptConfig if config.backend == "minigpt-v2" else AutoConfig
    try:
        shapes = reader.from_pretrained(folder, local_files_only=True)
        return int(getattr(shapes, _WIDTHS[config.backend]).hidden_size)
    except (OSError, ValueError, KeyError, AttributeError) as err:
        raise EnvironmentFault(f"the config of {config.name} in {folder} cannot be read: {first_line(err)}") from err


def _head_width(extractor: CachedExtractor) -> int:
    """Return the width of the recogniser's features: that of its bank, else that of one encoded image."""
    from PIL import Image

    from engine.vision.feature_bank import load_bank

    bank = load_bank(extractor.config)
    if len(bank.features):
        return int(bank.features.shape[1])
    return int(extractor.models.encoder.encode([Image.new("RGB", (64, 64))]).shape[1])
