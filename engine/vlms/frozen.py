"""What the VLM families have in common: a frozen model with its image processor and tokenizer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import engine.core.device  # noqa: F401

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, AutoTokenizer, PreTrainedModel

from engine.core.boxes import Box
from engine.vlms.base import Generation, ImageFeatures, Tiles, check_complete
from engine.vlms.config import VlmConfig
from engine.vlms.decoding import Decoding
from engine.vlms.injection import inject_rows
from engine.vlms.model_types import AnyTokenizer, ImageProcessor, Model, Tokenizer

M = TypeVar("M", bound=Model)
P = TypeVar("P", bound=PreTrainedModel)


class FrozenVlm(Generic[M]):
    """A model in evaluation mode whose weights do not change."""

    def __init__(
        self, model: PreTrainedModel, image_processor: ImageProcessor | None, tokenizer: AnyTokenizer, config: VlmConfig
    ) -> None:
        """Freeze a model; `image_processor` may be None where nothing is preprocessed."""
        # transformers' own annotations hide submodules and have wide unions; the protocols name what is there.
        self.model = cast(M, model.eval().requires_grad_(False))
        self.image_processor = cast(ImageProcessor, image_processor)
        self.tokenizer = cast(Tokenizer, tokenizer)
        self.config = config
        self.decoding = Decoding()

    @property
    def width(self) -> int:
        """Return the width D of a concept embedding: the language model's, where rows join its tokens."""
        return int(self.model.config.text_config.hidden_size)

    @property
    def device(self) -> torch.device:
        """Return the device of the weights."""
        return self.model.device

    @property
    def pad_id(self) -> int:
        """Return the id that pads shorter sequences: the end token where the tokenizer has no padding token."""
        pad = self.tokenizer.pad_token_id
        return self.tokenizer.eos_token_id if pad is None else pad

    def inject(self, image_features: ImageFeatures, embeddings: list[Tensor]) -> list[Tensor]:
        """Append concept rows to each photo's image rows: (N + K_i, D); embeddings[i]: (K_i, D) raw, K_i may be 0.

        Raises:
            ArtefactError: an embedding was trained for another width.
        """
        return inject_rows(image_features, embeddings, self.width, self.config)

    def decode(self, generated_ids: Tensor) -> list[Generation]:
        """Convert generated ids (B, L) to texts."""
        end = self.tokenizer.eos_token_id
        texts = self.tokenizer.batch_decode(generated_ids, skip_special_tokens=True)
        return [
            Generation(text.strip(), capped=end not in ids.tolist())
            for text, ids in zip(texts, generated_ids, strict=True)
        ]


class SquashingVlm(FrozenVlm[M]):
    """A VLM whose vision tower receives the whole photo, squashed to a square."""

    @property
    def image_edge(self) -> int:
        """Return the side of that square in pixels."""
        return int(self.model.config.vision_config.image_size)

    def view(self, image: Image.Image) -> Box:
        """Return the whole photo as a box: nothing is cropped."""
        return Box(0.0, 0.0, float(image.width), float(image.height))

    def preprocess(self, images: list[Image.Image]) -> Tensor:
        """Convert upright RGB images to (B, 3, S, S) float32, squashed to a square."""
        return self.image_processor(images, return_tensors="pt")["pixel_values"]

    def to_model(self, pixel_values: Tensor | Tiles) -> Tensor:
        """Move pixel values (B, 3, S, S) to the model's device and number format.

        Raises:
            TypeError: they are tiles, which `preprocess` never makes here.
        """
        if isinstance(pixel_values, Tiles):
            raise TypeError(f"{self.config.name} takes whole photos, not tiles")
        return pixel_values.to(self.device, self.model.dtype)


def load_model(
    kind: type[P], folder: Path, device: torch.device, dtype: torch.dtype, *, optional: Sequence[str] = ()
) -> P:
    """Load a model of a class from a checkpoint folder; `optional` names weights that the folder may lack.

    Raises:
        ValueError: other weights are missing.
    """
    # from_pretrained is annotated to return the model alone; with output_loading_info it returns a pair.
    model, loading_info = cast(
        tuple[P, dict[str, Any]],
        kind.from_pretrained(folder, dtype=dtype, local_files_only=True, output_loading_info=True),
    )
    check_complete(loading_info, optional)
    # PreTrainedModel.to is decorated in a way that hides its arguments from a type checker; it moves weights in place.
    cast(torch.nn.Module, model).to(device)
    return model


def load_processors(folder: Path, **options: Any) -> tuple[ImageProcessor, AnyTokenizer]:
    """Load the image processor and the tokenizer of a checkpoint folder; `options` are the tokenizer's."""
    image_processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    return image_processor, AutoTokenizer.from_pretrained(folder, local_files_only=True, **options)
