"""The VLM of a run: its config, the names that its texts and embeddings are stored under, and its model when needed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from engine.vlms.config import VlmConfig
from engine.vlms.prompt_config import Speak
from engine.vlms.registry import NO_VLM

if TYPE_CHECKING:
    from engine.vlms.base import Vlm

DRAWN_BY = "myvlm storybook"
"""EXIF `Software` of the storybook's drawings."""


@dataclass(frozen=True)
class VlmInUse:
    """A VLM that a run uses; the model loads when it is first needed.

    id, revision: what texts and embeddings of this VLM are stored under. speak: how it is told of concepts.
    """

    config: VlmConfig
    id: str
    revision: str
    load: Callable[[], "Vlm"] = field(repr=False)
    speak: Speak = "auto"

    @cached_property
    def model(self) -> "Vlm":
        """The VLM, loaded."""
        return self.load()

    @property
    def exists(self) -> bool:
        """Whether there is a VLM: the user may ask for names only."""
        return self.config.backend != NO_VLM

    def can_describe(self, software: str) -> bool:
        """Whether the VLM knows what photos made by this EXIF `Software` show.

        The storybook's VLMs know the storybook's drawings only.
        """
        return self.exists and (self.config.world is None or software.startswith(DRAWN_BY))
