"""Extract faces and region features from photos; the encoder, detector and face pack are loaded on first use."""

from functools import cached_property

import engine.core.device  # noqa: F401

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps

from engine.core.boxes import Box
from engine.vision.config import RecogniserConfig
from engine.vision.detector import ObjectDetector
from engine.vision.encoder import EncoderSource, ImageEncoder
from engine.vision.faces import Face, FaceAnalyser
from engine.vision.regions import Region, RegionFeatures, crop, grid_regions


class FeatureExtractor:
    """Converts photos to faces and region features, which do not depend on the enrolled concepts."""

    def __init__(
        self, config: RecogniserConfig, device: torch.device, dtype: torch.dtype, *, faces_on_cuda: bool
    ) -> None:
        """Use a recogniser; device and dtype: of the encoder; the detector runs on the same device."""
        self.config, self._device, self._dtype, self._faces_on_cuda = config, device, dtype, faces_on_cuda

    @cached_property
    def encoder(self) -> ImageEncoder:
        """Load and return the image encoder."""
        source = EncoderSource(self.config.name, self.config.encoder, self.config.pretrained)
        return ImageEncoder(source, self._device, self._dtype)

    @cached_property
    def detector(self) -> ObjectDetector | None:
        """Load and return the object detector; None when the config has none."""
        if self.config.detector is None:
            return None
        return ObjectDetector(self.config.detector, self.config.detector_threshold, self._device)

    @cached_property
    def face_analyser(self) -> FaceAnalyser:
        """Load and return the face pack."""
        faces = self.config.faces
        return FaceAnalyser(
            faces.folder,
            name=faces.name,
            det_size=faces.det_size,
            use_cuda=self._faces_on_cuda,
            second_look=faces.second_look,
        )

    def find_faces(self, image: Image.Image) -> list[Face]:
        """Return the faces in an upright RGB photo, largest first."""
        return self.face_analyser.find(image)

    def find_regions(self, images: list[Image.Image]) -> list[RegionFeatures]:
        """Return the regions of upright RGB photos with their features; all photos are computed in one batch.

        The regions of a photo are its detected objects or, if there are none, the whole photo and grid cells.
        """
        detected: list[list[Region]] = self.detector.find(images) if self.detector else [[] for _ in images]
        regions = [objects or grid_regions(*image.size) for objects, image in zip(detected, images, strict=True)]
        crops = [crop(image, r.box) for in_photo, image in zip(regions, images, strict=True) for r in in_photo]
        features = self.encoder.encode(crops)  # (regions of all photos, D)
        ends = np.cumsum([len(in_photo) for in_photo in regions])[:-1]
        by_photo = zip(regions, np.split(features, ends), strict=True)
        return [RegionFeatures(tuple(in_photo), of_photo) for in_photo, of_photo in by_photo]

    def encode_views(self, image: Image.Image, box: Box, rng: np.random.Generator) -> np.ndarray:
        """Return unit features (1 + A, D) float32 of a region's plain crop and of A altered crops.

        A is the config's `augmentations`.
        """
        crops = [crop(image, box)]
        for _ in range(self.config.augmentations):
            crops.append(_altered(image, box, rng))
        return self.encoder.encode(crops)


def _altered(image: Image.Image, box: Box, rng: np.random.Generator) -> Image.Image:
    """Return the crop of a region after small random changes.

    The changes are a shift by up to 0.06 sides, a scale of 0.9..1.15, mirroring in half of the cases, a brightness of
    0.75..1.25, and a rotation by up to 12 degrees.
    """
    w, h = box.x1 - box.x0, box.y1 - box.y0
    dx, dy = rng.uniform(-0.06, 0.06, 2)
    moved = Box(box.x0 + dx * w, box.y0 + dy * h, box.x1 + dx * w, box.y1 + dy * h)
    altered = crop(image, moved.grown(float(rng.uniform(0.9, 1.15)), *image.size))
    if rng.random() < 0.5:
        altered = ImageOps.mirror(altered)
    altered = ImageEnhance.Brightness(altered).enhance(float(rng.uniform(0.75, 1.25)))
    return altered.rotate(float(rng.uniform(-12, 12)), Image.Resampling.BILINEAR, fillcolor=(128, 128, 128))
