"""What the families of VLMs have in common: a frozen model with its processor and tokenizer."""

from pathlib import Path
from typing import Any

import engine.core.device  # noqa: F401

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, AutoTokenizer, PreTrainedModel

from engine.core.boxes import Box
from engine.vlms.base import Generation, ImageFeatures
from engine.vlms.config import VlmConfig
from engine.vlms.injection import inject_rows


class FrozenVlm:
    """A model in evaluation mode whose weights stay as they are."""

    def __init__(self, model: PreTrainedModel, image_processor: Any, tokenizer: Any, config: VlmConfig) -> None:
        self.model: Any = model.eval().requires_grad_(False)
        self.image_processor, self.tokenizer, self.config = image_processor, tokenizer, config

    @property
    def width(self) -> int:
        """Width D of a concept embedding: the language model's, where rows stand among its tokens."""
        return int(self.model.config.text_config.hidden_size)

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return self.model.device

    @property
    def pad_id(self) -> int:
        """The id that fills up shorter lines."""
        pad = self.tokenizer.pad_token_id
        return self.tokenizer.eos_token_id if pad is None else pad

    def inject(self, seen: ImageFeatures, embeddings: list[Tensor]) -> list[Tensor]:
        """Rows of each photo: (N + K_i, D); embeddings[i]: (K_i, D), K_i may be 0.

        Raises:
            ArtefactError: an embedding was trained for another width.
        """
        return inject_rows(seen, embeddings, self.width, self.config)

    def read(self, out: Tensor) -> list[Generation]:
        """Generated ids (B, L) as texts."""
        end = self.tokenizer.eos_token_id
        texts = self.tokenizer.batch_decode(out, skip_special_tokens=True)
        return [Generation(t.strip(), capped=end not in o.tolist()) for t, o in zip(texts, out, strict=True)]


class SquashingVlm(FrozenVlm):
    """A VLM whose tower sees the whole photo, squashed to a square."""

    @property
    def image_edge(self) -> int:
        """Side in pixels of that square."""
        return int(self.model.config.vision_config.image_size)

    def view(self, image: Image.Image) -> Box:
        """The whole photo: it is squashed, not cropped."""
        return Box(0.0, 0.0, float(image.width), float(image.height))

    def preprocess(self, images: list[Image.Image]) -> Tensor:
        """Upright RGB images to (B, 3, S, S) float32: squashed to a square."""
        return self.image_processor(images, return_tensors="pt")["pixel_values"]


def load_readers(folder: Path, **options: Any) -> tuple[Any, Any]:
    """The image processor and the tokenizer of a checkpoint folder; `options` are the tokenizer's."""
    images = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    return images, AutoTokenizer.from_pretrained(folder, local_files_only=True, **options)
