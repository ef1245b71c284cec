"""Compute the image features of regions with open_clip."""

import warnings
from dataclasses import dataclass

import engine.core.device  # noqa: F401

import numpy as np
import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from engine.core.errors import WeightsMissingError, first_line, is_out_of_memory
from engine.vision.encoding import Encoding

BATCH = 32
"""Images that are encoded at a time."""


@dataclass(frozen=True)
class EncoderSource:
    """An encoder's name in myvlm, and in open_clip.

    model: with a `pretrained` tag, or `local-dir:PATH`, or `hf-hub:ID`.
    """

    name: str
    model: str
    pretrained: str | None = None


def load_model(source: EncoderSource) -> open_clip.CLIP:
    """Load both towers of an encoder in float32, on the CPU.

    Raises:
        WeightsMissingError: its weights are not on this disk.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return open_clip.create_model(source.model, source.pretrained, require_pretrained=True)
    except (OSError, RuntimeError, ValueError, FileNotFoundError) as err:
        if is_out_of_memory(err):
            raise
        raise WeightsMissingError(
            f"the image encoder {source.name!r} cannot be loaded: {first_line(err)}",
            hint=f"Fetch its weights on a machine with network: open_clip model {source.model!r}, "
            f"pretrained {source.pretrained!r}.",
        ) from err


class ImageEncoder:
    """An open_clip image encoder; features are projected class tokens of unit length."""

    def __init__(self, source: EncoderSource, device: torch.device, dtype: torch.dtype) -> None:
        """Load an encoder.

        Raises:
            WeightsMissingError: its weights are not on this disk.
        """
        self.name, self.device, self.dtype = source.name, device, dtype
        model = load_model(source)
        self._transform = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
        self._visual = model.visual.eval().requires_grad_(False).to(device=device, dtype=dtype)

    @torch.inference_mode()
    def encode(self, images: list[Image.Image]) -> np.ndarray:
        """Compute the features of N > 0 RGB images: (N, D) float32 of unit length."""
        features = []
        for start in range(0, len(images), BATCH):
            pixel_values = torch.stack([self._transform(i) for i in images[start : start + BATCH]])  # (B, 3, S, S)
            out = self._visual(pixel_values.to(self.device, self.dtype))
            pooled = out[0] if isinstance(out, tuple) else out  # (B, D)
            features.append(torch.nn.functional.normalize(pooled.float(), dim=-1).cpu().numpy())
        return np.concatenate(features)

    def describe(self, images: list[Image.Image]) -> Encoding:
        """Compute the features of N > 0 RGB images; this encoder guesses no class words."""
        return Encoding(self.encode(images), ("",) * len(images))
