"""Answering a question about photos; only what was recognised is called by its name."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.errors import NotTrainedError, NoVlmError, PhotoError, UsageError
from engine.kinds import GENERIC
from engine.photos.decode import Photo, load_photo
from engine.pipeline.batches import in_batches
from engine.pipeline.names_only import HOW_TO_GET_A_VLM, check_drawn
from engine.pipeline.recognition import Enrolled, load_enrolled, recognise
from engine.pipeline.session import Session
from engine.store.calibrations import common_folder
from engine.training.questions import Task
from engine.types import Concept, Kind, Match, Status
from engine.vlms.wording import mentions, replace_names

if TYPE_CHECKING:
    from engine.tasks import Known

UNKNOWN_WORLD = "no VLM on this machine knows such photos"
"""Why a photo that was not drawn gets no answer from a VLM that knows drawings only."""


@dataclass(frozen=True)
class Reply:
    """An answer about one photo, or the reason why there is none.

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
    """The question, the concepts that it names, and by concept id all that the VLM has learned."""

    question: str
    named: tuple[Concept, ...]
    known: "dict[str, tuple[Known, Task]]"


def respond(
    session: Session, paths: Sequence[Path], question: str, *, concepts: tuple[str, ...] | None = None
) -> Iterator[Reply]:
    """Ask each photo the question, in order.

    The VLM is told only of concepts that were recognised. A name in the question that was not is asked about by its
    class word ("a dog"), and the reply says so: the VLM must not take somebody else for Rex. One that was recognised
    but never trained for this VLM is "the dog" to it. An embedding that was trained for questions is used where there
    is one, else the one for captions.

    Raises:
        ConceptError: an asked-for concept is unknown, or one that the question names cannot be recognised.
        UsageError: the VLM only captions, or there is none.
        NoVlmError: the VLM knows the drawn world only, and no photo was drawn; or the user chose it, and one was not.
    """
    if not session.has_vlm:
        raise UsageError("--vlm none asks for names only, which is for caption", hint="Leave it out to ask a question.")
    from engine.tasks import check_answers

    check_answers(session.vlm_config)
    if session.choices.vlm and session.vlm_config.world:
        check_drawn(session, paths)
    chosen = session.concepts(concepts)
    named = tuple(c for c in chosen if mentions(question, c.name))
    for concept in named:
        session.check_recognisable(concept)
    asked = _Asked(question, named, _known(session, chosen))
    enrolled = load_enrolled(session, [c for c in chosen if c in named or c.id in asked.known], common_folder(paths))
    answered = unknown = 0
    for batch in in_batches(paths, lambda path: _read(session, path), session.vlm_config.batch):
        photos = [p for p in batch if isinstance(p, Photo)]
        done = dict(zip([p.path for p in photos], _answer(session, photos, enrolled, asked), strict=True))
        for reply in (p if isinstance(p, Reply) else done[p.path] for p in batch):
            answered += reply.answer is not None
            unknown += reply.reason == UNKNOWN_WORLD
            yield reply
    if unknown and not answered:
        raise NoVlmError(f"nothing was answered: {UNKNOWN_WORLD}", hint=HOW_TO_GET_A_VLM)


def _read(session: Session, path: Path) -> Photo | Reply:
    began = time.monotonic()
    try:
        photo = load_photo(path)
    except PhotoError as err:
        return Reply(path, Status.FAILED, reason=str(err), seconds=time.monotonic() - began)
    if not session.can_describe(photo.software):
        return Reply(path, Status.SKIPPED, reason=UNKNOWN_WORLD, seconds=time.monotonic() - began)
    return photo


def _answer(session: Session, photos: Sequence[Photo], enrolled: Enrolled, asked: _Asked) -> list[Reply]:
    if not photos:
        return []
    from engine.tasks import answer

    began = time.monotonic()
    matches = recognise(session, photos, enrolled)
    about = [_spoken_of(asked, own) for own in matches]
    known = [[asked.known[m.concept_id][0] for m in own if m.concept_id in asked.known] for own in about]
    questions = [_question(asked, own) for own in matches]
    said = answer(session.vlm, [p.image for p in photos], known, questions)
    share = (time.monotonic() - began) / len(photos)
    replies = []
    for photo, found, own, spoken in zip(photos, matches, about, said, strict=True):
        tasks = tuple((m.concept_id, asked.known[m.concept_id][1]) for m in own if m.concept_id in asked.known)
        absent, untrained = _absent(asked, found), _untrained(asked, found)
        notes = tuple(f"{name} was not recognised in this photo" for name in absent)
        replies.append(
            Reply(
                photo.path,
                Status.OK,
                spoken.text,
                found,
                notes=notes,
                seconds=share,
                tasks=tasks,
                absent=absent,
                untrained=untrained,
            )
        )
    return replies


def _question(asked: _Asked, matches: Sequence[Match]) -> str:
    """The question as it is put to the VLM about one photo: names that it must not or cannot use are class words."""
    found = {m.concept_id for m in matches}
    words = {c.name: _class_word(c, "the") for c in asked.named if c.id in found and c.id not in asked.known}
    words |= {c.name: _class_word(c, "a") for c in asked.named if c.id not in found}
    return replace_names(asked.question, words)


def _class_word(concept: Concept, article: str) -> str:
    word = {Kind.PERSON: "person", Kind.PET: "pet", Kind.THING: "object"}[concept.kind]
    word = word if concept.category in GENERIC else concept.category
    return f"{'an' if article == 'a' and word[:1].lower() in 'aeiou' else article} {word}"


def _absent(asked: _Asked, matches: Sequence[Match]) -> tuple[str, ...]:
    found = {m.concept_id for m in matches}
    return tuple(c.name for c in asked.named if c.id not in found)


def _untrained(asked: _Asked, matches: Sequence[Match]) -> tuple[str, ...]:
    found = {m.concept_id for m in matches}
    return tuple(c.name for c in asked.named if c.id in found and c.id not in asked.known)


def _spoken_of(asked: _Asked, matches: Sequence[Match]) -> list[Match]:
    """Those whom the question names; everyone recognised when it names nobody."""
    wanted = {c.id for c in asked.named}
    return [m for m in matches if m.concept_id in wanted or not wanted]


def _known(session: Session, chosen: Iterable[Concept]) -> "dict[str, tuple[Known, Task]]":
    """Embeddings of the concepts that have one, for questions or else for captions. A concept that was imported without
    a head cannot be recognised and is left out.
    """
    from engine.tasks import Known

    found = {}
    for concept in chosen:
        try:
            task, vector = _load(session, concept)
        except NotTrainedError:
            continue
        if session.can_recognise(concept):
            found[concept.id] = (Known(concept, vector), task)
    return found


def _load(session: Session, concept: Concept) -> tuple[Task, np.ndarray]:
    def load(task: Task) -> np.ndarray:
        return session.store.load_embedding(concept, session.vlm_id, session.vlm_revision, task).vector

    try:
        return "vqa", load("vqa")
    except NotTrainedError:
        return "caption", load("caption")
