"""Answering a question about photos; only what was recognised is called by its name."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.errors import NotTrainedError, PhotoError
from engine.photos.decode import load_photo
from engine.pipeline.recognition import recognise
from engine.pipeline.session import DRAWN_BY, Session
from engine.tasks import Known, answer
from engine.types import Concept, Match, Status
from engine.vlms.wording import mentions


@dataclass(frozen=True)
class Reply:
    """An answer about one photo, or the reason why there is none."""

    path: Path
    status: Status
    answer: str | None = None
    matches: tuple[Match, ...] = ()
    reason: str | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


def respond(
    session: Session, paths: Iterable[Path], question: str, *, concepts: tuple[str, ...] | None = None
) -> Iterator[Reply]:
    """Ask each photo the question. A concept that the question names but that is not in the photo makes
    the reply `skipped`: the VLM would answer about somebody else under that name.

    Raises:
        ConceptError: an asked-for concept is unknown.
        NotTrainedError: a concept that the question names was never trained for this VLM.
    """
    chosen = session.concepts(concepts)
    named = [c for c in chosen if mentions(question, c.name)]
    known = _known(session, chosen, named)
    enrolled = [c for c in chosen if c.id in known]
    for path in paths:
        began = time.monotonic()
        try:
            photo = load_photo(path)
            matches = recognise(session, [photo], enrolled)[0]
        except PhotoError as err:
            yield Reply(path, Status.FAILED, reason=str(err), seconds=time.monotonic() - began)
            continue
        found = {m.concept_id for m in matches}
        absent = [c.name for c in named if c.id not in found]
        if absent:
            reason = f"{' and '.join(absent)} not recognised in this photo"
            yield Reply(path, Status.SKIPPED, matches=matches, reason=reason, seconds=time.monotonic() - began)
            continue
        wanted = {c.id for c in named} or found
        own = [known[m.concept_id] for m in matches if m.concept_id in wanted]
        said = answer(session.vlm, [photo.image], [own], question)[0]
        drawn = photo.software.startswith(DRAWN_BY)
        notes = ("the storybook VLM only knows its own drawn world",) if session.vlm_config.world and not drawn else ()
        yield Reply(path, Status.OK, said.text, matches, notes=notes, seconds=time.monotonic() - began)


def _known(session: Session, chosen: Iterable[Concept], named: Iterable[Concept]) -> dict[str, Known]:
    """Embeddings of the concepts that have one; those that the question names must."""
    must = {c.id for c in named}
    found = {}
    for concept in chosen:
        try:
            embedding = session.store.load_embedding(concept, session.vlm_id, session.vlm_revision)
        except NotTrainedError:
            if concept.id in must:
                raise
            continue
        found[concept.id] = Known(concept, embedding.vector)
    return found
