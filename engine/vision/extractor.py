"""Extract faces and region features from photos; the encoder, detector and face pack are loaded on first use."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from engine.core.boxes import Box
from engine.photos.decode import Photo
from engine.vision.config import RecogniserConfig
from engine.vision.face_pixels import FacePixels
from engine.vision.faces import Face, FaceAnalyser
from engine.vision.picture_edge import detector_view_edge, encoder_edge, encoder_view_edge
from engine.vision.regions import Region, RegionFeatures, crop, grid_regions, view

if TYPE_CHECKING:
    import torch

    from engine.vision.detector import ObjectDetector
    from engine.vision.encoder import ImageEncoder
    from engine.vision.onnx_encoder import OnnxEncoder


class FeatureExtractor:
    """Converts photos to faces and region features, which do not depend on the enrolled concepts.

    torch is imported only for an encoder of open_clip and for a detector.
    """

    def __init__(
        self,
        config: RecogniserConfig,
        placement: "Callable[[], tuple[torch.device, torch.dtype]]",
        *,
        onnx_on_cuda: bool,
    ) -> None:
        """Use a recogniser.

        placement: returns the device of encoder and detector, and the encoder's number format; not called for ONNX
        models. onnx_on_cuda: whether ONNX models run on the GPU.
        """
        self.config, self._placement, self._onnx_on_cuda = config, placement, onnx_on_cuda

    @cached_property
    def encoder(self) -> "ImageEncoder | OnnxEncoder":
        """Load and return the image encoder."""
        config = self.config
        if config.onnx_file is not None:
            from engine.vision.class_guess import imagenet_words
            from engine.vision.onnx_encoder import OnnxEncoder

            words = imagenet_words(config.least_word)
            return OnnxEncoder(config.onnx_file, image_size=config.image_size, words=words, use_cuda=self._onnx_on_cuda)
        from engine.vision.encoder import EncoderSource, ImageEncoder

        return ImageEncoder(EncoderSource(config.name, config.encoder, config.pretrained), *self._placement())

    @cached_property
    def detector(self) -> "ObjectDetector | None":
        """Load and return the object detector; None when the config has none."""
        if self.config.detector is None:
            return None
        from engine.vision.detector import ObjectDetector

        return ObjectDetector(self.config.detector, self.config.detector_threshold, self._placement()[0])

    @cached_property
    def face_analyser(self) -> FaceAnalyser:
        """Load and return the face pack."""
        faces = self.config.faces
        return FaceAnalyser(
            faces.folder,
            name=faces.name,
            det_size=faces.det_size,
            use_cuda=self._onnx_on_cuda,
            min_sharpness=faces.gate.min_sharpness,
        )

    def find_faces(self, photos: Sequence[Photo]) -> list[list[Face]]:
        """Return the faces in each photo, largest first, with boxes in pixels of its picture."""
        pixels = (FacePixels(p.image, p.at_full_size if p.full else None) for p in photos)
        return self.face_analyser.find_all(pixels)

    def find_regions(self, photos: Sequence[Photo]) -> list[RegionFeatures]:
        """Return the regions of photos with their features, with boxes in pixels of the pictures.

        The regions of all photos are computed together.

        The regions of a photo are its detected objects or, if there are none, the whole photo and grid cells. An
        encoder with a classifier guesses the class words of regions that were not detected.
        """
        detected: list[list[Region]] = self._detect(photos) if self.detector else [[] for _ in photos]
        regions = [objects or grid_regions(*p.image.size) for objects, p in zip(detected, photos, strict=True)]
        crops = [c for in_photo, photo in zip(regions, photos, strict=True) for c in self._crops(photo, in_photo)]
        encoding = self.encoder.describe(crops)  # of the regions of all photos
        words = iter(encoding.words)
        named = [tuple(replace(r, word=r.word or w) for r, w in zip(of, words, strict=False)) for of in regions]
        ends = np.cumsum([len(in_photo) for in_photo in regions])[:-1]
        by_photo = zip(named, np.split(encoding.features, ends), strict=True)
        return [RegionFeatures(in_photo, of_photo) for in_photo, of_photo in by_photo]

    def _detect(self, photos: Sequence[Photo]) -> list[list[Region]]:
        """Return the objects in each photo, with boxes in pixels of its picture."""
        edge = detector_view_edge(self.config)
        views = [view(p.image, edge) if p.full else p.image for p in photos]
        return self.detector.find(views, [p.image.size for p in photos]) if self.detector else []

    def _crops(self, photo: Photo, regions: Sequence[Region]) -> Iterator[Image.Image]:
        """Return what the encoder sees of regions.

        Regions of a reduced photo are cut from a view with as many pixels as the encoder needs of the cells of the
        grid; a region that is smaller than the encoder's input, from all pixels of the file.
        """
        if photo.full is None:
            yield from (crop(photo.image, r.box) for r in regions)
            return
        size, least = photo.image.size, encoder_edge(self.config)
        picture = view(photo.image, encoder_view_edge(self.config))
        full: Image.Image | None = None
        for box in (r.box for r in regions):
            source = picture
            if max(box.x1 - box.x0, box.y1 - box.y0) < least:
                full = source = full or photo.at_full_size()
            yield crop(source, box.scaled(size, source.size))

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
