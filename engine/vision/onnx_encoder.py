"""Compute the image features of regions with ONNX Runtime; torch is not imported.

The file of an encoder takes images (N, 3, S, S), float32 RGB in 0..255, and gives features (N, D) and class logits
(N, K). `build/encoder.py` makes it.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from engine.core.errors import EnvironmentFault, WeightsMissingError, first_line, is_out_of_memory
from engine.vision.class_guess import ClassWords
from engine.vision.encoding import Encoding
from engine.vision.onnx_threads import CUDA, open_session

IMAGES, FEATURES, LOGITS = "images", "features", "logits"
"""Names of the input and the outputs in the file."""
BATCH_ON_CPU, BATCH_ON_GPU = 4, 32
"""Images that are encoded at a time. The features do not depend on it: they are equal to the bit on a CPU.

On one core, 16 images took 195 ms in one batch and 164 ms in four: the values between layers stay in the core's cache.
"""


class OnnxEncoder:
    """An image encoder with a classifier, in one ONNX file."""

    def __init__(self, file: Path, *, image_size: int, words: ClassWords, use_cuda: bool) -> None:
        """Load an encoder. image_size: side S in pixels to which images are scaled.

        Raises:
            WeightsMissingError: there is no such file.
            EnvironmentFault: the file cannot be loaded.
        """
        if not file.is_file():
            raise WeightsMissingError(f"the image encoder {file} is not on this disk", hint="Install myvlm again.")
        self._size, self._words = image_size, words
        self._batch = BATCH_ON_GPU if use_cuda else BATCH_ON_CPU
        try:
            self._session = open_session(str(file), [CUDA] * use_cuda + ["CPUExecutionProvider"])
        except Exception as err:  # onnxruntime raises library-specific types for damaged files
            if is_out_of_memory(err):
                raise
            raise EnvironmentFault(
                f"the image encoder {file} cannot be loaded: {first_line(err)}", hint="Install myvlm again."
            ) from err

    def encode(self, images: list[Image.Image]) -> np.ndarray:
        """Compute the features of N > 0 RGB images: (N, D) float32 of unit length."""
        return self.describe(images).features

    def describe(self, images: list[Image.Image]) -> Encoding:
        """Compute the features of N > 0 RGB images, and guess what they show."""
        features, logits = [], []
        for start in range(0, len(images), self._batch):
            pixels = np.stack([to_input(i, self._size) for i in images[start : start + self._batch]])  # (B, 3, S, S)
            pooled, classes = self._session.run([FEATURES, LOGITS], {IMAGES: pixels})
            features.append(pooled / np.linalg.norm(pooled, axis=1, keepdims=True))
            logits.append(classes)
        return Encoding(np.concatenate(features), self._words.guess(np.concatenate(logits)))


def to_input(image: Image.Image, size: int) -> np.ndarray:
    """Scale an image to a square, without keeping its proportions: (3, S, S) float32, 0..255."""
    scaled = image.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(scaled, np.float32).transpose(2, 0, 1)
