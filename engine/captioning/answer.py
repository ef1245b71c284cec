"""Answer a question about photos; only recognised concepts are called by their names."""

import time
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engine.captioning.names_only import check_drawn
from engine.captioning.speaking import Speaking
from engine.captioning.stand_ins import StandIns, find_stand_ins, not_recognised
from engine.core.batches import in_batches
from engine.core.errors import NotTrainedError, PhotoError, UsageError
from engine.core.notes import Note, NoteCode
from engine.core.paths import common_folder
from engine.core.types import Concept, Match, Status
from engine.photos.decode import Photo, load_photo
from engine.recognition.enrolled import can_recognise, check_recognisable
from engine.recognition.gallery import Gallery, load_gallery
from engine.recognition.recognise import recognise
from engine.session import Session
from engine.store.concepts import ConceptStore
from engine.training.questions import Task
from engine.vision.cached_extractor import CachedExtractor
from engine.vision.config import RecogniserConfig
from engine.vlms.in_use import VlmInUse
from engine.vlms.name_rules import NameRules
from engine.vlms.personalised import GeneratedCaption, PersonalisedConcept
from engine.vlms.wording import find_names, has_word


@dataclass(frozen=True)
class Answer:
    """An answer about one photo, or the reason why there is none. The text itself says which names were not recognised.

    tasks: for each concept that the answer is about and whose embedding was used, its id and the task that the
    embedding was trained for. absent: names in the question that were not recognised in the photo. untrained: names
    that were recognised, but that the VLM cannot be told of.
    """

    path: Path
    status: Status
    answer: str | None = None
    matches: tuple[Match, ...] = ()
    reason: str | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    tasks: tuple[tuple[str, Task], ...] = ()
    absent: tuple[str, ...] = ()
    untrained: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Question:
    """A question, the concepts that it names, and all concepts that the VLM can be told of.

    speaking: how it is told of them. known: those concepts, by id. tasks: by id, what each embedding was trained for.
    mistakable: ids of concepts whose identifier stands in the question for another one. rules: names in answers.
    """

    text: str
    named: tuple[Concept, ...]
    speaking: Speaking
    known: dict[str, Concept]
    tasks: dict[str, Task]
    mistakable: frozenset[str] = frozenset()
    rules: NameRules | None = None

    def absent(self, matches: Sequence[Match]) -> list[Concept]:
        """Return the named concepts that were not recognised."""
        recognised = {m.concept_id for m in matches}
        return [c for c in self.named if c.id not in recognised]

    def unlearned(self, matches: Sequence[Match]) -> list[Concept]:
        """Return the named concepts that were recognised, but that the VLM cannot be told of."""
        recognised = {m.concept_id for m in matches}
        return [c for c in self.named if c.id in recognised and c.id not in self.known]

    def prompted(self, photo: Photo, matches: Sequence[Match]) -> list[PersonalisedConcept]:
        """Return the concepts that the VLM is told of: the named ones, or all that were recognised if none is named."""
        wanted = {c.id for c in self.named}
        return self.tell(photo, [m for m in matches if m.concept_id in wanted or not wanted])

    def tell(self, photo: Photo, matches: Sequence[Match]) -> list[PersonalisedConcept]:
        """Return those of some recognised concepts that the VLM can be told of, and how."""
        return self.speaking.tell(self.known, matches, (photo.facts.width, photo.facts.height))


def answer_question(
    session: Session, paths: Sequence[Path], question: str, *, concepts: tuple[str, ...] | None = None
) -> Iterator[Answer]:
    """Ask the question about each photo, in order.

    The VLM is told only of recognised concepts. A name that was not recognised is replaced by what the VLM sees of that
    class ("the red dog"); if it sees nothing of the class, it describes the photo instead, and the answer says so. A
    recognised concept that was not trained for this VLM is replaced in the same way, and its name is put back into the
    answer where the phrase is unambiguous. An embedding trained for questions is preferred to one for captions.

    Raises:
        ConceptError: a requested concept is unknown, or one that the question names cannot be recognised.
        UsageError: the VLM only captions, or `--vlm none` asks for none.
        NoVlmError: there is no VLM; or it knows the drawn world only, and a photo was not drawn.
        WeightsMissingError, EnvironmentFault: those of `ChosenModels.check_weights`.
    """
    session.models.check_has_vlm()
    from engine.vlms.generate import check_answers

    check_answers(session.vlm_config)
    session.models.check_weights()
    if not question.strip():
        raise UsageError("the question is empty", hint='Example: myvlm ask photo.jpg "What is Rex holding?"')
    if session.vlm_config.world:
        check_drawn(session.vlm_in_use, paths, way_out="")
    chosen = session.store.select(concepts)
    vlm = session.vlm_in_use
    parsed = _read_question(session.store, session.recogniser_config, vlm, question, chosen)
    wanted = [c for c in chosen if c in parsed.named or c.id in parsed.known or c.id in parsed.mistakable]
    gallery = load_gallery(session.store, session.recogniser_config, session.recognition, wanted, common_folder(paths))
    size = session.vlm_config.batch if session.vlm_config.server is None else 1  # a request to a server can fail
    for batch in in_batches(paths, _read, size):
        photos = [p for p in batch if isinstance(p, Photo)]
        done = dict(
            zip([p.path for p in photos], _try_answer(session.extractor, vlm, photos, gallery, parsed), strict=True)
        )
        yield from (p if isinstance(p, Answer) else done[p.path] for p in batch)


def _read(path: Path) -> Photo | Answer:
    began = time.monotonic()
    try:
        return load_photo(path)
    except PhotoError as err:
        return Answer(path, Status.FAILED, reason=str(err), seconds=time.monotonic() - began)


def _read_question(
    store: ConceptStore, config: RecogniserConfig, vlm: VlmInUse, question: str, chosen: Sequence[Concept]
) -> _Question:
    """Find the concepts that a question names, and those that the VLM can be told of.

    The VLM is not told of a concept whose identifier stands in the question for someone else: in "Is Bob here?", asked
    of a VLM that has learned Anna under the identifier Bob, it would answer about Anna.

    Raises:
        ConceptError: one that the question names cannot be recognised.
    """
    spans = find_names(question, [c.name for c in chosen])
    names = {name for _, _, name in spans}
    named = tuple(c for c in chosen if c.name in names)
    for concept in named:
        check_recognisable(store, config, concept)
    composed = unicodedata.normalize("NFC", question)
    for start, stop, _ in reversed(spans):
        composed = f"{composed[:start]}\0{composed[stop:]}"
    recognisable = [c for c in chosen if can_recognise(store, config, c)]
    embeddings, tasks = _load_embeddings(store, vlm, recognisable)
    speaking = Speaking(vlm.config, vlm.speak, embeddings)
    known = {c.id: c for c in recognisable if speaking.way(c.id) is not None}
    words = {i: c.identifier for i, c in known.items() if _uses_identifier(speaking, i)}
    mistakable = frozenset(i for i, word in words.items() if has_word(composed, word))
    rules = NameRules(tuple(c.name for c in store.all()), strict=vlm.config.follows_instructions)
    known = {i: c for i, c in known.items() if i not in mistakable}
    return _Question(question, named, speaking, known, tasks, mistakable, rules)


def _uses_identifier(speaking: Speaking, concept_id: str) -> bool:
    """Whether the VLM may be told of a concept by its identifier instead of its display name."""
    naming = speaking.config.naming
    return naming is None or naming.word == "identifier" or concept_id in speaking.embeddings


def _try_answer(
    extractor: CachedExtractor, vlm: VlmInUse, photos: Sequence[Photo], gallery: Gallery, question: _Question
) -> list[Answer]:
    """Answer the question about each photo of a batch; where the VLM gives no answer, say why."""
    try:
        return _answer(extractor, vlm, photos, gallery, question)
    except PhotoError as err:
        return [Answer(p.path, Status.FAILED, reason=f"{p.path}: {err}") for p in photos]


def _answer(
    extractor: CachedExtractor, vlm: VlmInUse, photos: Sequence[Photo], gallery: Gallery, question: _Question
) -> list[Answer]:
    """Answer the question about each photo of a batch."""
    if not photos:
        return []
    from engine.vlms import generate

    began = time.monotonic()
    matches = recognise(extractor, photos, gallery)
    told = [question.prompted(photo, own) for photo, own in zip(photos, matches, strict=True)]
    stand_ins, described = _stand_ins(vlm, photos, matches, question)
    open_ones = [i for i, s in enumerate(stand_ins) if not s.unnamed]
    images = [photos[i].image for i in open_ones]
    questions = [stand_ins[i].question(question.text) for i in open_ones]
    known = [told[i] for i in open_ones]
    spoken = generate.answer(vlm.model, images, known, questions, question.rules) if images else []
    said = described | dict(zip(open_ones, spoken, strict=True))
    share = (time.monotonic() - began) / len(photos)
    return [
        replace(_reply(question, photo, own, told[i], stand_ins[i], said[i]), seconds=share)
        for i, (photo, own) in enumerate(zip(photos, matches, strict=True))
    ]


def _stand_ins(
    vlm: VlmInUse, photos: Sequence[Photo], matches: Sequence[Sequence[Match]], question: _Question
) -> tuple[list[StandIns], dict[int, GeneratedCaption]]:
    """Return the words that stand for names in the question about each photo, and descriptions of photos by index."""
    from engine.vlms import captions

    needed = [i for i, own in enumerate(matches) if question.absent(own) or question.unlearned(own)]
    images = [photos[i].image for i in needed]
    known = [question.tell(photos[i], matches[i]) for i in needed]
    rules = [question.rules or NameRules()] * len(needed)
    spoken = captions.caption(vlm.model, images, known, rules=rules) if needed else []
    described = dict(zip(needed, spoken, strict=True))
    found = [StandIns({}) for _ in matches]
    for i, description in described.items():
        names = [k.concept.name for k in question.prompted(photos[i], matches[i])]
        absent, unlearned = question.absent(matches[i]), question.unlearned(matches[i])
        found[i] = find_stand_ins(absent, unlearned, names, description.text)
    return found, described


def _reply(
    question: _Question,
    photo: Photo,
    matches: tuple[Match, ...],
    told: Sequence[PersonalisedConcept],
    stand_ins: StandIns,
    said: GeneratedCaption,
) -> Answer:
    absent = stand_ins.absent
    notes = tuple(not_recognised([name]) for name in absent)
    untrained = tuple(c.name for c in question.unlearned(matches) if c.id not in question.mistakable)
    reply = Answer(photo.path, Status.OK, None, matches, notes=notes, absent=absent, untrained=untrained)
    if not said.text.strip():
        names = " and ".join(said.removed)
        why = f"left out an answer about {names}: not recognised in this photo" if names else "the VLM said nothing"
        return replace(reply, status=Status.FAILED, reason=why)
    if said.capped:
        reply = replace(reply, notes=(*notes, str(Note(NoteCode.CUT_SHORT))))
    learned = [k.concept.id for k in told if k.vector is not None and not stand_ins.unnamed]
    return replace(reply, answer=stand_ins.reply(said.text), tasks=tuple((i, question.tasks[i]) for i in learned))


def _load_embeddings(
    store: ConceptStore, vlm: VlmInUse, concepts: Iterable[Concept]
) -> tuple[dict[str, np.ndarray], dict[str, Task]]:
    """Load the embeddings of the concepts that have one, for questions or else for captions, and their tasks, by id."""
    embeddings: dict[str, np.ndarray] = {}
    tasks: dict[str, Task] = {}
    for concept in concepts:
        try:
            tasks[concept.id], embeddings[concept.id] = _load(store, vlm, concept)
        except NotTrainedError:
            continue
    return embeddings, tasks


def _load(store: ConceptStore, vlm: VlmInUse, concept: Concept) -> tuple[Task, np.ndarray]:
    def load(task: Task) -> np.ndarray:
        return store.load_embedding(concept, vlm.id, vlm.revision, task).vector

    try:
        return "vqa", load("vqa")
    except NotTrainedError:
        return "caption", load("caption")
