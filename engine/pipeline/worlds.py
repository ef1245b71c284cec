"""Whether models that only know the drawn world can make sense of a concept's photos."""

from collections.abc import Iterable

from engine.errors import PhotoError
from engine.photos.decode import load_photo
from engine.pipeline.session import DRAWN_BY, Session
from engine.types import Concept, Reference


def are_drawn(references: Iterable[Reference]) -> bool:
    """Whether reference photos are drawings of the storybook, by the first that can be read; True when none can."""
    for reference in references:
        try:
            return load_photo(reference.path).software.startswith(DRAWN_BY)
        except PhotoError:
            continue
    return True


def vlm_knows(session: Session, concept: Concept) -> bool:
    """Whether the session's VLM can make sense of a concept's photos."""
    return not session.vlm_config.world or are_drawn(concept.references)


def recogniser_knows(session: Session, concept: Concept) -> bool:
    """Whether the session's recogniser can make sense of a concept's photos."""
    return not session.recogniser_config.drawn_only or are_drawn(concept.references)
