"""One recogniser: encoder, detector and face pack, loaded when first needed."""

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
from engine.vision.regions import RegionFeatures, crop, grid_regions


class FeatureExtractor:
    """Turns photos into faces and region features; knows nothing of concepts."""

    def __init__(
        self, config: RecogniserConfig, device: torch.device, dtype: torch.dtype, *, faces_on_cuda: bool
    ) -> None:
        self.config, self._device, self._dtype, self._faces_on_cuda = config, device, dtype, faces_on_cuda

    @cached_property
    def encoder(self) -> ImageEncoder:
        """The image encoder."""
        source = EncoderSource(self.config.name, self.config.encoder, self.config.pretrained)
        return ImageEncoder(source, self._device, self._dtype)

    @cached_property
    def detector(self) -> ObjectDetector | None:
        """The object detector, when this recogniser has one."""
        if self.config.detector is None:
            return None
        return ObjectDetector(self.config.detector, self.config.detector_threshold, self._device)

    @cached_property
    def face_analyser(self) -> FaceAnalyser:
        """The face pack."""
        f = self.config.faces
        return FaceAnalyser(f.folder, name=f.name, det_size=f.det_size, use_cuda=self._faces_on_cuda)

    def find_faces(self, image: Image.Image) -> list[Face]:
        """Faces of an upright photo, largest first."""
        return self.face_analyser.find(image)

    def find_regions(self, images: list[Image.Image]) -> list[RegionFeatures]:
        """Regions of upright photos with their features, all photos in one batch.

        Detected objects when there is a detector and it finds any, else the whole photo and a grid.
        """
        detected = self.detector.find(images) if self.detector else [[] for _ in images]
        regions = [found or grid_regions(*image.size) for found, image in zip(detected, images, strict=True)]
        crops = [crop(image, r.box) for own, image in zip(regions, images, strict=True) for r in own]
        features = self.encoder.encode(crops)
        ends = np.cumsum([len(own) for own in regions])[:-1]
        return [RegionFeatures(tuple(own), f) for own, f in zip(regions, np.split(features, ends), strict=True)]

    def encode_views(self, image: Image.Image, box: Box, rng: np.random.Generator) -> np.ndarray:
        """Unit features of a region and of `augmentations` altered views of it: (1 + A, D)."""
        views = [crop(image, box)]
        for _ in range(self.config.augmentations):
            views.append(_altered(image, box, rng))
        return self.encoder.encode(views)


def _altered(image: Image.Image, box: Box, rng: np.random.Generator) -> Image.Image:
    """A region seen a little differently: shifted, rescaled, mirrored, turned, lighter or darker."""
    w, h = box.x1 - box.x0, box.y1 - box.y0
    dx, dy = rng.uniform(-0.06, 0.06, 2)
    moved = Box(box.x0 + dx * w, box.y0 + dy * h, box.x1 + dx * w, box.y1 + dy * h)
    view = crop(image, moved.grown(float(rng.uniform(0.9, 1.15)), *image.size))
    if rng.random() < 0.5:
        view = ImageOps.mirror(view)
    view = ImageEnhance.Brightness(view).enhance(float(rng.uniform(0.75, 1.25)))
    return view.rotate(float(rng.uniform(-12, 12)), Image.Resampling.BILINEAR, fillcolor=(128, 128, 128))
