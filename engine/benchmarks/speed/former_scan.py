"""Recognise as before photos were decoded at a reduced size: the baseline of the scan benchmark.

Copies of all pixels, a photo's faces embedded alone, 16 images in a batch, and ONNX Runtime's own number of threads,
which wait busily.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from engine.photos.decode import Photo
from engine.vision.config import RecogniserConfig
from engine.vision.face_pixels import FacePixels
from engine.vision.faces import Face, FaceAnalyser
from engine.vision.onnx_encoder import FEATURES, IMAGES, to_input
from engine.vision.regions import RegionFeatures, crop, grid_regions

_BATCH = 16


class _CopiedPixels(FacePixels):
    @cached_property
    def whole(self) -> np.ndarray:
        """The picture: (H, W, 3) uint8 BGR, copied once more to turn the channels round."""
        return np.ascontiguousarray(np.asarray(self.image)[..., ::-1])


class FormerExtractor:
    """The former way from decoded photos to faces and region features, for recognisers whose encoder is ONNX."""

    def __init__(self, config: RecogniserConfig) -> None:
        """Load the models on the CPU."""
        import onnxruntime

        faces, providers = config.faces, ["CPUExecutionProvider"]
        self._size = config.image_size
        self._analyser = FaceAnalyser(faces.folder, name=faces.name, det_size=faces.det_size, use_cuda=False)
        self._analyser.replace_sessions(lambda file: onnxruntime.InferenceSession(file, providers=providers))
        self._encoder = onnxruntime.InferenceSession(str(config.onnx_file), providers=providers)

    def find_faces(self, photos: Sequence[Photo]) -> list[list[Face]]:
        """Return the faces in each photo."""
        return [self._analyser.find_all([_CopiedPixels(p.image, None)])[0] for p in photos]

    def find_regions(self, photos: Sequence[Photo]) -> list[RegionFeatures]:
        """Return the grid of each photo with its features; class words are left out."""
        regions = [grid_regions(*p.image.size) for p in photos]
        crops = [crop(p.image, r.box) for of, p in zip(regions, photos, strict=True) for r in of]
        batches = []
        for start in range(0, len(crops), _BATCH):
            pixels = np.stack([to_input(c, self._size) for c in crops[start : start + _BATCH]])  # (B, 3, S, S)
            (features,) = self._encoder.run([FEATURES], {IMAGES: pixels})
            batches.append(features / np.linalg.norm(features, axis=1, keepdims=True))
        by_photo = np.split(np.concatenate(batches), np.cumsum([len(of) for of in regions])[:-1])
        return [RegionFeatures(tuple(of), features) for of, features in zip(regions, by_photo, strict=True)]
