"""The VLM of a run: its config, the names that its texts and embeddings are stored under, and its model when needed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, TypeVar

from engine.core.batches import in_parallel
from engine.core.errors import PhotoError
from engine.vlms.config import VlmConfig
from engine.vlms.halving import BatchLimit
from engine.vlms.prompt_config import Speak
from engine.vlms.registry import NO_VLM

if TYPE_CHECKING:
    from engine.vlms.base import Vlm

T = TypeVar("T")
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

    @cached_property
    def _batch_limit(self) -> BatchLimit:
        return BatchLimit()

    @property
    def exists(self) -> bool:
        """Whether there is a VLM: the user may ask for names only."""
        return self.config.backend != NO_VLM

    def ask_by_photo(self, count: int, ask: Callable[[Sequence[int]], Sequence[T]]) -> list[T | PhotoError]:
        """Ask about photos 0 to `count` - 1 of a batch; returns in order what was said of each, or why nothing.

        A VLM that is loaded here takes the whole batch at once, or what of it fits into memory. One in a server gets
        each photo in a request of its own, a few at a time, and a photo whose request fails does not stop the others.

        ask: asks about the photos of some indices.
        """
        if self.config.server is None:
            return self._batch_limit.run(lambda some: list[T | PhotoError](ask(some)), list(range(count)))
        from engine.vlms.server.adapter import ServerVlm

        model = self.model  # connects once, before any thread does
        assert isinstance(model, ServerVlm)

        def ask_one(index: int) -> T | PhotoError:
            try:
                return ask([index])[0]
            except PhotoError as err:
                return err

        return in_parallel([partial(ask_one, i) for i in range(count)], self.config.server.parallel, model.stop)

    def can_describe(self, software: str) -> bool:
        """Whether the VLM knows what photos made by this EXIF `Software` show.

        The storybook's VLMs know the storybook's drawings only.
        """
        return self.exists and (self.config.world is None or software.startswith(DRAWN_BY))
