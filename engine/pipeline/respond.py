"""Answering a question about photos; only what was recognised is called by its name."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.errors import NotTrainedError, PhotoError
from engine.photos.decode import Photo, load_photo
from engine.pipeline.batches import in_batches
from engine.pipeline.recognition import Enrolled, load_enrolled, recognise
from engine.pipeline.session import Session
from engine.store.calibrations import common_folder
from engine.training.questions import Task
from engine.types import Concept, Match, Status
from engine.vlms.wording import mentions

if TYPE_CHECKING:
    from engine.tasks import Known


@dataclass(frozen=True)
class Reply:
    """An answer about one photo, or the reason why there is none.

    `tasks` says of each concept that was spoken of, by its id, for what its embedding was trained.
    """

    path: Path
    status: Status
    answer: str | None = None
    matches: tuple[Match, ...] = ()
    reason: str | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    tasks: tuple[tuple[str, Task], ...] = ()


@dataclass(frozen=True)
class _Asked:
    """The question, those whom it names, and everyone the VLM was taught, by concept id."""

    question: str
    named: tuple[Concept, ...]
    known: "dict[str, tuple[Known, Task]]"


def respond(
    session: Session, paths: Sequence[Path], question: str, *, concepts: tuple[str, ...] | None = None
) -> Iterator[Reply]:
    """Ask each photo the question, in order. A concept that the question names but that is not in the photo
    makes the reply `skipped`: the VLM would answer about somebody else under that name.

    An embedding that was trained for questions is used where there is one, else the one for captions.

    Raises:
        ConceptError: an asked-for concept is unknown.
        NotTrainedError: a concept that the question names was never trained for this VLM.
        ConceptError: one that it names cannot be recognised.
        UsageError: the VLM only captions.
    """
    chosen = session.concepts(concepts)
    from engine.tasks import check_answers

    check_answers(session.vlm_config)
    named = tuple(c for c in chosen if mentions(question, c.name))
    asked = _Asked(question, named, _known(session, chosen, named))
    enrolled = load_enrolled(session, [c for c in chosen if c.id in asked.known], common_folder(paths))
    for batch in in_batches(paths, _read, session.vlm_config.batch):
        photos = [p for p in batch if isinstance(p, Photo)]
        done = dict(zip([p.path for p in photos], _answer(session, photos, enrolled, asked), strict=True))
        yield from (p if isinstance(p, Reply) else done[p.path] for p in batch)


def _read(path: Path) -> Photo | Reply:
    began = time.monotonic()
    try:
        return load_photo(path)
    except PhotoError as err:
        return Reply(path, Status.FAILED, reason=str(err), seconds=time.monotonic() - began)


def _answer(session: Session, photos: Sequence[Photo], enrolled: Enrolled, asked: _Asked) -> list[Reply]:
    if not photos:
        return []
    from engine.tasks import answer

    began = time.monotonic()
    matches = recognise(session, photos, enrolled)
    absent = [_absent(asked, own) for own in matches]
    open_ones = [i for i, names in enumerate(absent) if not names]
    spoken_of = {i: _spoken_of(asked, matches[i]) for i in open_ones}
    own = [[asked.known[m.concept_id][0] for m in spoken_of[i]] for i in open_ones]
    images = [photos[i].image for i in open_ones]
    said = dict(zip(open_ones, answer(session.vlm, images, own, asked.question) if images else [], strict=True))
    share = (time.monotonic() - began) / len(photos)
    replies = []
    for i, (photo, found) in enumerate(zip(photos, matches, strict=True)):
        if i in said:
            tasks = tuple((m.concept_id, asked.known[m.concept_id][1]) for m in spoken_of[i])
            notes = session.world_note(photo.software)
            replies.append(Reply(photo.path, Status.OK, said[i].text, found, notes=notes, seconds=share, tasks=tasks))
        else:
            reason = f"{' and '.join(absent[i])} not recognised in this photo"
            replies.append(Reply(photo.path, Status.SKIPPED, matches=found, reason=reason, seconds=share))
    return replies


def _absent(asked: _Asked, matches: Sequence[Match]) -> list[str]:
    found = {m.concept_id for m in matches}
    return [c.name for c in asked.named if c.id not in found]


def _spoken_of(asked: _Asked, matches: Sequence[Match]) -> list[Match]:
    """Those whom the question names; everyone recognised when it names nobody."""
    wanted = {c.id for c in asked.named}
    return [m for m in matches if m.concept_id in wanted or not wanted]


def _known(session: Session, chosen: Iterable[Concept], named: Iterable[Concept]) -> "dict[str, tuple[Known, Task]]":
    """Embeddings of the concepts that have one, for questions or else for captions; those named must have one.
    A concept that was imported without a head cannot be recognised and is left out.
    """
    from engine.tasks import Known

    must = {c.id for c in named}
    found = {}
    for concept in chosen:
        try:
            task, vector = _load(session, concept)
        except NotTrainedError:
            if concept.id in must:
                raise
            continue
        if concept.id in must:
            session.check_recognisable(concept)
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
