"""Whether models that only know the drawn world can make sense of a concept's photos."""

from collections.abc import Iterable

from engine.core.types import Concept, Reference
from engine.photos.metadata.exif import read_software
from engine.vision.config import RecogniserConfig
from engine.vlms.config import VlmConfig
from engine.vlms.in_use import DRAWN_BY


def are_drawn(references: Iterable[Reference]) -> bool:
    """Whether reference photos are drawings of the storybook, by the first that is there; True when none is."""
    there = next((r.path for r in references if r.path.is_file()), None)
    return there is None or read_software(there).startswith(DRAWN_BY)


def vlm_knows(config: VlmConfig, concept: Concept) -> bool:
    """Whether a VLM can make sense of a concept's photos."""
    return not config.world or are_drawn(concept.references)


def recogniser_knows(config: RecogniserConfig, concept: Concept) -> bool:
    """Whether a recogniser can make sense of a concept's photos."""
    return not config.drawn_only or are_drawn(concept.references)
