"""One run's models and stores, each loaded once, when first needed."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from engine.chosen_models import ChosenModels, ModelOptions
from engine.core.paths import home
from engine.core.types import Kind, RecognitionOptions
from engine.store.concepts import ConceptStore
from engine.vision.cache import FeatureCache
from engine.vision.config import RecogniserConfig, list_recognisers
from engine.vlms.config import VlmConfig
from engine.vlms.in_use import VlmInUse
from engine.vlms.memory import largest_batch
from engine.vlms.prompt_config import Speak
from engine.vlms.quantise import quantise_option
from engine.vlms.registry import NO_VLM, connect_vlm, find_weights, load_vlm, revision_of

if TYPE_CHECKING:
    import torch

    from engine.store.known_contents import KnownContents
    from engine.vision.cached_extractor import CachedExtractor
    from engine.vision.extractor import FeatureExtractor
    from engine.vlms.base import Vlm


@dataclass(frozen=True)
class SessionOptions(ModelOptions):
    """Options of a run: its models, and how concepts are recognised."""

    heads: Literal["open-set", "paper"] = "open-set"
    allow_body: bool = False  # people whose face is not visible may be named by their body
    decode: Literal["exact", "scaled"] = "scaled"  # with all pixels, or as many as the recogniser needs


class Session:
    """The store, the VLM and the recogniser of one run."""

    def __init__(
        self, choices: SessionOptions | None = None, folder: Path | None = None, *, create: bool = True
    ) -> None:
        """Prepare a run. create: whether a missing data folder is created."""
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

    def contents(self, *, verify: bool = False) -> "KnownContents":
        """Return the content hashes of photos that look as they did. verify: every photo is read."""
        from engine.store.known_contents import KnownContents

        return KnownContents(self.folder / "cache" if self.folder.is_dir() and not verify else None)

    @cached_property
    def models(self) -> ChosenModels:
        """Which models are in use, and why."""
        return ChosenModels(self.choices, self.folder)

    @cached_property
    def device(self) -> "torch.device":
        """Where models run."""
        return self.models.device

    @cached_property
    def dtype(self) -> "torch.dtype":
        """The models' number format."""
        return self.models.dtype

    @cached_property
    def vlm_config(self) -> VlmConfig:
        """The VLM in use; without one a stand-in (`ChosenModels.vlm_config`)."""
        return self.models.vlm_config

    @property
    def has_vlm(self) -> bool:
        """Whether there is a VLM; without one photos get names only."""
        return self.vlm_config.backend != NO_VLM

    @cached_property
    def vlm(self) -> "Vlm":
        """The VLM, loaded."""
        self.models.check_has_vlm()
        if self.vlm_config.server is not None:
            return connect_vlm(self.vlm_config)
        self.models.check_weights()
        models = self.models
        return load_vlm(models.vlm_config, models.device, models.vlm_dtype, quantise_option(models.vlm_format))

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

    @property
    def vlm_in_use(self) -> VlmInUse:
        """The VLM with the names that its texts and embeddings are stored under; its model loads when needed."""
        speak = cast(Speak, self.models.setting("speak").value)
        return VlmInUse(
            self.vlm_config, self.vlm_id, self.vlm_revision, lambda: self.vlm, speak, lambda: self.vlm_precision
        )

    @property
    def batch(self) -> int:
        """How many photos are processed at a time."""
        if not self.uses_cuda:
            return self.vlm_config.batch
        return largest_batch(self.vlm_config, self.models.room, self.vlm_precision)

    @cached_property
    def vlm_precision(self) -> str:
        """The number format of the VLM's weights, such as "bfloat16", "int8" or "nf4"; "" where none are loaded."""
        no_weights = self.vlm_config.backend in (NO_VLM, "openai")
        return "" if no_weights else self.models.vlm_format

    @cached_property
    def recognition(self) -> RecognitionOptions:
        """How concepts are recognised."""
        return RecognitionOptions(paper_heads=self.choices.heads == "paper", allow_body=self.choices.allow_body)

    @cached_property
    def recogniser_config(self) -> RecogniserConfig:
        """The recogniser in use."""
        return self.models.recogniser_config

    @cached_property
    def recogniser(self) -> "FeatureExtractor":
        """The recogniser's models; its parts load when needed."""
        from engine.vision.extractor import FeatureExtractor

        on_cuda = self.uses_cuda and onnx_can_use_cuda()
        return FeatureExtractor(self.recogniser_config, lambda: (self.device, self.dtype), onnx_on_cuda=on_cuda)

    @property
    def uses_cuda(self) -> bool:
        """Whether models run on a CUDA GPU."""
        return self.models.uses_cuda

    @cached_property
    def extractor(self) -> "CachedExtractor":
        """The recogniser's detections, cached; models load when first needed."""
        from engine.vision.cached_extractor import CachedExtractor

        exact = self.choices.decode == "exact"
        return CachedExtractor(self.recogniser_config, self.cache, lambda: self.recogniser, exact=exact)

    def with_recogniser(self, name: str) -> "Session":
        """Return a session on the same open store and cache with another recogniser."""
        other = Session(replace(self.choices, recogniser=name), self.folder, create=self._create)
        other.__dict__ |= {"store": self.store, "cache": self.cache}
        return other

    def renewed(self) -> "Session":
        """Return a session on the store and `config.toml` as they are now, and close the store of this one.

        Models that are loaded stay so where the same ones are chosen.
        """
        new = Session(self.choices, self.folder, create=self._create)
        if "recogniser" in self.__dict__ and new._places(new.recogniser_config) == self._places(self.recogniser_config):
            new.__dict__["recogniser"] = self.recogniser
        if "vlm" in self.__dict__ and new._places(*new._vlm_choice) == self._places(*self._vlm_choice):
            new.__dict__["vlm"] = self.vlm
        self.close()
        return new

    @property
    def _vlm_choice(self) -> tuple[object, ...]:
        return self.vlm_config, self.vlm_revision, self.vlm_precision

    def _places(self, *chosen: object) -> tuple[object, ...]:
        """Return what was chosen, with where and in which number format models run."""
        return (*chosen, *(self.models.setting(key).value for key in ("device", "dtype")))

    def close(self) -> None:
        """Close the store, if it was opened."""
        if "store" in self.__dict__:
            self.__dict__.pop("store").close()

    def extractors(self, kind: Kind) -> "tuple[CachedExtractor, ...]":
        """Return this and every other recogniser that makes heads of its own for a kind of concept; loads no model."""
        configs = {c.head_id(kind): c for c in reversed((self.recogniser_config, *list_recognisers()))}
        return tuple(self.with_recogniser(c.name).extractor for c in reversed(configs.values()))


def onnx_can_use_cuda() -> bool:
    """Whether ONNX Runtime has its CUDA provider (see `myvlm doctor`)."""
    import onnxruntime

    from engine.vision.onnx_threads import CUDA

    return CUDA in onnxruntime.get_available_providers()
