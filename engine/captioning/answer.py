"""Answering a question about photos; only what was recognised is called by its name."""

import time
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.captioning.names_only import HOW_TO_GET_A_VLM, UNKNOWN_WORLD, check_drawn
from engine.captioning.stand_ins import StandIns, find_stand_ins, not_recognised
from engine.core.batches import in_batches
from engine.core.errors import NotTrainedError, NoVlmError, PhotoError, UsageError
from engine.core.types import Concept, Match, Status
from engine.photos.decode import Photo, load_photo
from engine.recognition.enrolled import can_recognise, check_recognisable
from engine.recognition.gallery import Gallery, load_gallery
from engine.recognition.recognise import recognise
from engine.session import Session
from engine.store.calibrations import common_folder
from engine.training.questions import Task
from engine.vlms.wording import find_names, has_word

if TYPE_CHECKING:
    from engine.vlms.generate import PersonalisedConcept


@dataclass(frozen=True)
class Answer:
    """An answer about one photo, or the reason why there is none. The answer itself says who was not recognised.

    tasks: of each concept that the answer is about, by its id, for what its embedding was trained. absent: the names in
    the question that were not recognised in the photo; untrained: those that were, but that the VLM has not learned.
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
class _Asked:
    """The question, the concepts that it names, and by concept id all that the VLM can be told of. mistakable: ids of
    those whose identifier the question has for somebody else.
    """

    question: str
    named: tuple[Concept, ...]
    known: "dict[str, tuple[PersonalisedConcept, Task]]"
    mistakable: frozenset[str] = frozenset()

    def absent(self, matches: Sequence[Match]) -> list[Concept]:
        """Those named that were not recognised."""
        found = {m.concept_id for m in matches}
        return [c for c in self.named if c.id not in found]

    def unspoken(self, matches: Sequence[Match]) -> list[Concept]:
        """Those named that were recognised, but that the VLM cannot be told of."""
        found = {m.concept_id for m in matches}
        return [c for c in self.named if c.id in found and c.id not in self.known]

    def told(self, matches: Sequence[Match]) -> "list[tuple[PersonalisedConcept, Task]]":
        """Those that the VLM is told of: whom the question names; everyone recognised when it names nobody."""
        wanted = {c.id for c in self.named}
        return [
            self.known[m.concept_id]
            for m in matches
            if m.concept_id in self.known and (m.concept_id in wanted or not wanted)
        ]


def answer_question(
    session: Session, paths: Sequence[Path], question: str, *, concepts: tuple[str, ...] | None = None
) -> Iterator[Answer]:
    """Ask each photo the question, in order.

    The VLM is told only of concepts that were recognised. In place of a name that was not, it is asked about what it
    sees of that class ("the red dog"); where it sees nothing of it, it describes the photo. The answer says so. A
    recognised one that was never trained for this VLM is "the red dog" to it, too, and gets its name back in the answer
    where that can mean nobody else. An embedding that was trained for questions is used where there is one, else the
    one for captions.

    Raises:
        ConceptError: an asked-for concept is unknown, or one that the question names cannot be recognised.
        UsageError: the VLM only captions, or there is none.
        NoVlmError: the VLM knows the drawn world only, and no photo was drawn; or the user chose it, and one was not.
    """
    if not session.has_vlm:
        raise UsageError("--vlm none asks for names only, which is for caption", hint="Leave it out to ask a question.")
    from engine.vlms.generate import check_answers

    check_answers(session.vlm_config)
    if not question.strip():
        raise UsageError("the question is empty", hint='Example: myvlm ask photo.jpg "What is Rex holding?"')
    if session.choices.vlm and session.vlm_config.world:
        check_drawn(session, paths, way_out="")
    chosen = session.store.select(concepts)
    asked = _asked(session, question, chosen)
    wanted = [c for c in chosen if c in asked.named or c.id in asked.known or c.id in asked.mistakable]
    enrolled = load_gallery(session.store, session.recogniser_config, session.recognition, wanted, common_folder(paths))
    answered = unknown = 0
    for batch in in_batches(paths, lambda path: _read(session, path), session.vlm_config.batch):
        photos = [p for p in batch if isinstance(p, Photo)]
        done = dict(zip([p.path for p in photos], _answer(session, photos, enrolled, asked), strict=True))
        for reply in (p if isinstance(p, Answer) else done[p.path] for p in batch):
            answered += reply.answer is not None
            unknown += reply.reason == UNKNOWN_WORLD
            yield reply
    if unknown and not answered:
        raise NoVlmError("no VLM on this machine can answer questions about real photos", hint=HOW_TO_GET_A_VLM)


def _read(session: Session, path: Path) -> Photo | Answer:
    began = time.monotonic()
    try:
        photo = load_photo(path)
    except PhotoError as err:
        return Answer(path, Status.FAILED, reason=str(err), seconds=time.monotonic() - began)
    if not session.can_describe(photo.software):
        return Answer(path, Status.SKIPPED, reason=UNKNOWN_WORLD, seconds=time.monotonic() - began)
    return photo


def _asked(session: Session, question: str, chosen: Sequence[Concept]) -> _Asked:
    """Find the concepts that a question names, and those that the VLM can be told of.

    A concept whose identifier stands in the question for somebody else ("Is Bob here?", when the VLM knows Anna as Bob)
    is not told: the VLM would answer about Anna.

    Raises:
        ConceptError: one that the question names cannot be recognised.
    """
    spans = find_names(question, [c.name for c in chosen])
    names = {name for _, _, name in spans}
    named = tuple(c for c in chosen if c.name in names)
    for concept in named:
        check_recognisable(session.store, session.recogniser_config, concept)
    composed = unicodedata.normalize("NFC", question)
    for start, stop, _ in reversed(spans):
        composed = f"{composed[:start]}\0{composed[stop:]}"
    known = _known(session, chosen)
    mistakable = frozenset(i for i, (k, _) in known.items() if has_word(composed, k.concept.identifier))
    return _Asked(question, named, {i: k for i, k in known.items() if i not in mistakable}, mistakable)


def _answer(session: Session, photos: Sequence[Photo], enrolled: Gallery, asked: _Asked) -> list[Answer]:
    if not photos:
        return []
    from engine.vlms import generate

    began = time.monotonic()
    matches = recognise(session.extractor, photos, enrolled)
    told = [asked.told(own) for own in matches]
    stand_ins, described = _stand_ins(session, photos, matches, asked)
    open_ones = [i for i, s in enumerate(stand_ins) if not s.unnamed]
    images = [photos[i].image for i in open_ones]
    known = [[k for k, _ in told[i]] for i in open_ones]
    questions = [stand_ins[i].question(asked.question) for i in open_ones]
    spoken = generate.answer(session.vlm, images, known, questions) if images else []
    said = described | {i: s.text for i, s in zip(open_ones, spoken, strict=True)}
    share = (time.monotonic() - began) / len(photos)
    return [
        replace(_reply(asked, photo, own, told[i], stand_ins[i], said[i]), seconds=share)
        for i, (photo, own) in enumerate(zip(photos, matches, strict=True))
    ]


def _stand_ins(
    session: Session, photos: Sequence[Photo], matches: Sequence[Sequence[Match]], asked: _Asked
) -> tuple[list[StandIns], dict[int, str]]:
    """Of each photo the words that stand for names in the question, and descriptions of the photos that need any."""
    from engine.vlms import generate

    needed = [i for i, own in enumerate(matches) if asked.absent(own) or asked.unspoken(own)]
    images = [photos[i].image for i in needed]
    known = [[asked.known[m.concept_id][0] for m in matches[i] if m.concept_id in asked.known] for i in needed]
    spoken = generate.caption(session.vlm, images, known) if needed else []
    described = {i: s.text for i, s in zip(needed, spoken, strict=True)}
    found = [StandIns({}) for _ in matches]
    for i, text in described.items():
        names = [k.concept.name for k, _ in asked.told(matches[i])]
        found[i] = find_stand_ins(asked.absent(matches[i]), asked.unspoken(matches[i]), names, text)
    return found, described


def _reply(
    asked: _Asked,
    photo: Photo,
    matches: tuple[Match, ...],
    told: "Sequence[tuple[PersonalisedConcept, Task]]",
    stand_ins: StandIns,
    said: str,
) -> Answer:
    absent = stand_ins.absent
    notes = tuple(not_recognised([name]) for name in absent)
    untrained = tuple(c.name for c in asked.unspoken(matches) if c.id not in asked.mistakable)
    reply = Answer(photo.path, Status.OK, None, matches, notes=notes, absent=absent, untrained=untrained)
    if not said.strip():
        return replace(reply, status=Status.FAILED, reason="the VLM said nothing")
    generate = () if stand_ins.unnamed else tuple((k.concept.id, task) for k, task in told)
    return replace(reply, answer=stand_ins.reply(said), tasks=generate)


def _known(session: Session, chosen: Iterable[Concept]) -> "dict[str, tuple[PersonalisedConcept, Task]]":
    """Embeddings of the concepts that have one, for questions or else for captions. A concept that was imported without
    a head cannot be recognised and is left out.
    """
    from engine.vlms.generate import PersonalisedConcept

    found = {}
    for concept in chosen:
        try:
            task, vector = _load(session, concept)
        except NotTrainedError:
            continue
        if can_recognise(session.store, session.recogniser_config, concept):
            found[concept.id] = (PersonalisedConcept(concept, vector), task)
    return found


def _load(session: Session, concept: Concept) -> tuple[Task, np.ndarray]:
    def load(task: Task) -> np.ndarray:
        return session.store.load_embedding(concept, session.vlm_id, session.vlm_revision, task).vector

    try:
        return "vqa", load("vqa")
    except NotTrainedError:
        return "caption", load("caption")
