"""Whether models that only know the drawn world can make sense of a concept's photos."""

from collections.abc import Iterable

from engine.core.types import Concept, Reference
from engine.photos.metadata.exif import read_software
from engine.session import DRAWN_BY, Session


def are_drawn(references: Iterable[Reference]) -> bool:
    """Whether reference photos are drawings of the storybook, by the first that is there; True when none is."""
    there = next((r.path for r in references if r.path.is_file()), None)
    return there is None or read_software(there).startswith(DRAWN_BY)


def vlm_knows(session: Session, concept: Concept) -> bool:
    """Whether the session's VLM can make sense of a concept's photos."""
    return not session.vlm_config.world or are_drawn(concept.references)


def recogniser_knows(session: Session, concept: Concept) -> bool:
    """Whether the session's recogniser can make sense of a concept's photos."""
    return not session.recogniser_config.drawn_only or are_drawn(concept.references)
