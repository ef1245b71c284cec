"""Check whether models trained only on storybook drawings can process a concept's photos."""

from collections.abc import Iterable

from engine.core.types import Concept, Reference
from engine.photos.metadata.exif import read_software
from engine.vision.config import RecogniserConfig
from engine.vlms.config import VlmConfig
from engine.vlms.in_use import DRAWN_BY


def are_drawn(references: Iterable[Reference]) -> bool:
    """Return whether the reference photos are storybook drawings, by the first that exists; True if none exists."""
    path = next((r.path for r in references if r.path.is_file()), None)
    return path is None or read_software(path).startswith(DRAWN_BY)


def vlm_knows(config: VlmConfig, concept: Concept) -> bool:
    """Return whether a VLM can process a concept's photos."""
    return not config.world or are_drawn(concept.references)


def recogniser_knows(config: RecogniserConfig, concept: Concept) -> bool:
    """Return whether a recogniser can process a concept's photos."""
    return not config.drawn_only or are_drawn(concept.references)
