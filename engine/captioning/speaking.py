"""Decide how the VLM is told of each recognised concept: by its name in the prompt, by its embedding, or by both."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine.core.boxes import Box
from engine.core.errors import UsageError
from engine.core.types import Concept, Match
from engine.vlms.config import VlmConfig
from engine.vlms.personalised import PersonalisedConcept, tell_by_name
from engine.vlms.prompt_config import Speak

Way = Literal["names", "embedding", "both"]


@dataclass(frozen=True)
class Speaking:
    """How the VLM of a run is told of concepts. speak: what the user chose. embeddings: by concept id."""

    config: VlmConfig
    speak: Speak
    embeddings: Mapping[str, np.ndarray]

    def way(self, concept_id: str) -> Way | None:
        """Return how the VLM is told of a concept; None if it cannot be told.

        `auto` tells chat VLMs the name alone, which has measured best (benchmarks/speaking.md), and those of the paper
        by the embedding, where there is one.
        """
        has_row, by_text = concept_id in self.embeddings, self.config.naming is not None
        match self.speak:
            case "embedding":
                return "embedding" if has_row else None
            case "names":
                return "names" if by_text else None
            case "both" if by_text:
                return "both" if has_row else "names"
        if has_row and (not by_text or self.config.chat is None):
            return "embedding"
        return "names" if by_text else None

    def tell(
        self, concepts: Mapping[str, Concept], matches: Sequence[Match], size: tuple[int, int]
    ) -> list[PersonalisedConcept]:
        """Return the concepts of one photo that the VLM is told of.

        concepts: by id; matches of others are left out. size: width and height of the upright photo in pixels.
        """
        told = [
            self.tell_one(concepts[m.concept_id], self.way(m.concept_id), m.box, size)
            for m in matches
            if m.concept_id in concepts
        ]
        return [t for t in told if t is not None]

    def tell_one(
        self, concept: Concept, way: Way | None, box: Box, size: tuple[int, int]
    ) -> PersonalisedConcept | None:
        """Tell of one concept in the given way. box, size: in pixels of the upright photo."""
        place = Box(box.x0 / size[0], box.y0 / size[1], box.x1 / size[0], box.y1 / size[1])
        vector = self.embeddings.get(concept.id)
        if way == "names" and self.config.naming is not None:
            return tell_by_name(concept, place, self.config.naming)
        return None if way is None else PersonalisedConcept(concept, vector, place if way == "both" else None)


def untold(speaking: Speaking, concepts: Iterable[Concept]) -> tuple[Concept, ...]:
    """Return the concepts that the VLM cannot be told of."""
    return tuple(c for c in concepts if speaking.way(c.id) is None)


def check_speak(config: VlmConfig, speak: Speak) -> None:
    """Check that a VLM can be told of concepts in a way that the user chose.

    Raises:
        UsageError: it cannot.
    """
    if speak in ("names", "both") and config.naming is None:
        hint = "Use --speak embedding, and run `myvlm train` for each concept."
        raise UsageError(f"{config.name} cannot be told names by text", hint=hint)
    if speak in ("embedding", "both") and config.backend == "openai":
        raise UsageError(f"{config.name} runs in a server, which takes no embeddings", hint="Use --speak names.")
