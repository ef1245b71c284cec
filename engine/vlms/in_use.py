"""The VLM of a run: its config, the names that its texts and embeddings are stored under, and its model when needed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from engine.vlms.config import VlmConfig
from engine.vlms.registry import NO_VLM

if TYPE_CHECKING:
    from engine.vlms.base import Vlm

DRAWN_BY = "myvlm storybook"
"""EXIF `Software` of the storybook's drawings."""


@dataclass(frozen=True)
class VlmInUse:
    """A VLM that a run uses; the model loads when it is first needed.

    id, revision: what texts and embeddings of this VLM are stored under.
    """

    config: VlmConfig
    id: str
    revision: str
    load: Callable[[], "Vlm"] = field(repr=False)
    find_precision: Callable[[], str] = field(repr=False, default=lambda: "")

    @cached_property
    def model(self) -> "Vlm":
        """The VLM, loaded."""
        return self.load()

    @cached_property
    def precision(self) -> str:
        """The number format of its weights: "float32", "bfloat16", "float16", "int8", "nf4", "int4" or "quantised".

        Texts depend on it; embeddings that were trained in one format are used in any.
        """
        return self.find_precision()

    @property
    def exists(self) -> bool:
        """Whether there is a VLM: the user may ask for names only."""
        return self.config.backend != NO_VLM

    def can_describe(self, software: str) -> bool:
        """Whether the VLM knows what photos made by this EXIF `Software` show.

        The storybook's VLMs know the storybook's drawings only.
        """
        return self.exists and (self.config.world is None or software.startswith(DRAWN_BY))
