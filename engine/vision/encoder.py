"""Image features for object heads, by open_clip."""

import warnings
from dataclasses import dataclass

import engine.core.device  # noqa: F401

import numpy as np
import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from engine.core.errors import WeightsMissingError, first_line, is_out_of_memory

BATCH = 32


@dataclass(frozen=True)
class EncoderSource:
    """How open_clip names an encoder: `model` with a `pretrained` tag, or `local-dir:PATH`, or `hf-hub:ID`."""

    name: str
    model: str
    pretrained: str | None = None


class ImageEncoder:
    """An open_clip image tower; features are projected class tokens of unit length."""

    def __init__(self, source: EncoderSource, device: torch.device, dtype: torch.dtype) -> None:
        """Load a tower.

        Raises:
            WeightsMissingError: its weights are not on this disk.
        """
        self.name, self.device, self.dtype = source.name, device, dtype
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = open_clip.create_model(source.model, source.pretrained, require_pretrained=True)
        except (OSError, RuntimeError, ValueError, FileNotFoundError) as err:
            if is_out_of_memory(err):
                raise
            raise WeightsMissingError(
                f"the image encoder {source.name!r} cannot be loaded: {first_line(err)}",
                hint=f"Fetch its weights on a machine with network: open_clip model {source.model!r}, "
                f"pretrained {source.pretrained!r}.",
            ) from err
        self._transform = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
        self._visual = model.visual.eval().requires_grad_(False).to(device=device, dtype=dtype)

    @torch.inference_mode()
    def encode(self, images: list[Image.Image]) -> np.ndarray:
        """Unit features of RGB images: (N, D) float32."""
        found = []
        for start in range(0, len(images), BATCH):
            pixels = torch.stack([self._transform(i) for i in images[start : start + BATCH]])
            out = self._visual(pixels.to(self.device, self.dtype))
            pooled = out[0] if isinstance(out, tuple) else out
            found.append(torch.nn.functional.normalize(pooled.float(), dim=-1).cpu().numpy())
        return np.concatenate(found)
