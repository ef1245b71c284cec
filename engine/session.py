"""One run's models and stores, each loaded once, when first needed."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engine.core.errors import ConceptError, UsageError
from engine.core.paths import home
from engine.core.types import Concept
from engine.store.concepts import ConceptStore
from engine.vision.cache import FeatureCache
from engine.vision.config import RecogniserConfig, find_recogniser
from engine.vlms.config import VlmConfig, find_config
from engine.vlms.registry import (
    DEFAULT,
    NO_VLM,
    PREFERENCE,
    default_vlm,
    find_weights,
    load_vlm,
    revision_of,
    without_vlm,
)

if TYPE_CHECKING:
    import torch

    from engine.vision.extractor import FeatureExtractor
    from engine.vlms.base import Vlm

DRAWN_BY = "myvlm storybook"
"""EXIF `Software` of the storybook's drawings."""


@dataclass(frozen=True)
class SessionOptions:
    """What the user may choose; None or "auto" leaves it to myvlm."""

    vlm: str | None = None
    recogniser: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    heads: Literal["open-set", "paper"] = "open-set"
    allow_body: bool = False  # people whose face does not show may be named by their body


class Session:
    """The store, the VLM and the recogniser of one run."""

    def __init__(
        self, choices: SessionOptions | None = None, folder: Path | None = None, *, create: bool = True
    ) -> None:
        """`create` False leaves a data folder that is not there not there."""
        self.choices = choices or SessionOptions()
        self.folder = folder or home()
        self._create = create

    @cached_property
    def store(self) -> ConceptStore:
        """The concept store."""
        return ConceptStore(self.folder, create=self._create)

    @cached_property
    def cache(self) -> FeatureCache:
        """The feature cache."""
        return FeatureCache(self.folder / "cache")

    @cached_property
    def device(self) -> "torch.device":
        """Where models run."""
        from engine.core.device import pick_device

        return pick_device(self.choices.device)

    @cached_property
    def dtype(self) -> "torch.dtype":
        """The models' number format."""
        from engine.core.device import pick_dtype

        return pick_dtype(self.choices.dtype, self.device)

    @cached_property
    def vlm_config(self) -> VlmConfig:
        """The VLM in use; with `--vlm none` a stand-in with the recogniser and identifiers of the default one."""
        if self.choices.vlm and self.choices.vlm != NO_VLM:
            return find_config(self.choices.vlm)
        default = self._default_vlm()
        return without_vlm(default) if self.choices.vlm == NO_VLM else default

    def _default_vlm(self) -> VlmConfig:
        if not any(find_weights(find_config(name)) for name in PREFERENCE):
            return find_config(DEFAULT)  # torch, which knows the GPU's memory, takes seconds to load
        from engine.core.device import gpu_memory_gb

        return default_vlm(gpu_memory_gb() if self.device.type == "cuda" else 0.0)

    @property
    def has_vlm(self) -> bool:
        """Whether there is a VLM: the user may ask for names only."""
        return self.vlm_config.backend != NO_VLM

    def can_describe(self, software: str) -> bool:
        """Whether the VLM knows what photos made by this EXIF `Software` show: the storybook's VLMs know the
        storybook's drawings only.
        """
        return self.has_vlm and (self.vlm_config.world is None or software.startswith(DRAWN_BY))

    @cached_property
    def vlm(self) -> "Vlm":
        """The VLM, loaded."""
        return load_vlm(self.vlm_config, self.device, self.dtype)

    @cached_property
    def vlm_id(self) -> str:
        """What embeddings are stored under: the hub id or the folder's name, and the variant."""
        repo = self.vlm_config.repo_id
        return (f"folder:{Path(repo).name}" if Path(repo).is_absolute() else repo) + self.vlm_config.variant

    @cached_property
    def vlm_revision(self) -> str:
        """The version of the VLM's weights; embeddings of another are refused."""
        folder = find_weights(self.vlm_config)
        return revision_of(self.vlm_config, folder) if folder else self.vlm_config.revision

    @cached_property
    def recogniser_config(self) -> RecogniserConfig:
        """The recogniser in use: the one that belongs to the VLM unless another was chosen."""
        return find_recogniser(self.choices.recogniser or self.vlm_config.recogniser)

    @cached_property
    def recogniser(self) -> "FeatureExtractor":
        """The recogniser; its parts load when needed."""
        from engine.vision.extractor import FeatureExtractor

        cuda = self.device.type == "cuda"
        return FeatureExtractor(
            self.recogniser_config, self.device, self.dtype, faces_on_cuda=cuda and faces_can_use_cuda()
        )

    def with_recogniser(self, name: str) -> "Session":
        """A session on the same open store with another recogniser."""
        other = Session(replace(self.choices, recogniser=name), self.folder, create=self._create)
        other.__dict__["store"] = self.store
        return other

    def can_recognise(self, concept: Concept) -> bool:
        """Whether a concept can be looked for in photos: all that have references can, one that was imported
        only with a head of its kind for the recogniser in use.
        """
        model = self.recogniser_config.head_id(concept.kind)
        return bool(concept.references) or self.store.has_head(concept.id, model)

    def check_recognisable(self, concept: Concept) -> None:
        """Make sure that a concept can be looked for in photos.

        Raises:
            ConceptError: it was imported without a head for the recogniser in use.
        """
        if not self.can_recognise(concept):
            raise ConceptError(
                f"{concept.name!r} cannot be recognised: it was imported without a head for"
                f" {self.recogniser_config.name}",
                hint="Give it photos with myvlm add-concept, or import its head.",
            )

    def concepts(self, names: tuple[str, ...] | None) -> tuple[Concept, ...]:
        """The concepts of some names, or all of them, in the order of their names.

        Raises:
            ConceptError: a name is unknown.
            UsageError: no name at all was given.
        """
        if names is None:
            return self.store.all()
        if not names:
            raise UsageError("no concept names given", hint="Example: --concepts rex,anna")
        found = {c.id: c for c in (self.store.get(n) for n in names)}
        return tuple(sorted(found.values(), key=lambda c: c.name.casefold()))


def faces_can_use_cuda() -> bool:
    """Whether ONNX Runtime has its CUDA provider (see `myvlm doctor`)."""
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()
