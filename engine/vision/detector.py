"""Find objects with an object detector of transformers (RT-DETR, D-FINE, YOLOS, …)."""

from collections.abc import Sequence
from pathlib import Path

import engine.core.device  # noqa: F401

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForObjectDetection

from engine.core.boxes import Box, iou
from engine.core.errors import WeightsMissingError, is_out_of_memory
from engine.vision.regions import Region

_SAME_OBJECT = 0.7
"""Intersection over union above which two detections are one object; set-prediction models may repeat one."""
_SMALLEST_SIDE = 4
"""Detections with a shorter side, in pixels, are dropped."""
MOST_OBJECTS = 24
"""The largest number of objects for each photo."""


class ObjectDetector:
    """A detector that tells where objects are; its class words are only a guess."""

    def __init__(self, source: str, threshold: float, device: torch.device) -> None:
        """Load a detector from a folder or from the local hub cache; `threshold` is the least score, 0..1.

        Raises:
            WeightsMissingError: it is not on this disk.
        """
        try:
            self._processor = AutoImageProcessor.from_pretrained(source, local_files_only=True, backend="pil")
            model = AutoModelForObjectDetection.from_pretrained(source, local_files_only=True, dtype=torch.float32)
        except OSError as err:
            if is_out_of_memory(err):
                raise
            raise WeightsMissingError(
                f"the object detector {Path(source).name!r} is not on this disk", hint=f"Fetch {source} first."
            ) from err
        self._model = model.eval().requires_grad_(False).to(device)
        self._threshold, self._device = threshold, device

    @torch.inference_mode()
    def find(self, images: Sequence[Image.Image], sizes: Sequence[tuple[int, int]]) -> list[list[Region]]:
        """Find each image's objects, highest score first; boxes are in pixels of a picture of that width and height."""
        inputs = self._processor(list(images), return_tensors="pt").to(self._device)
        outputs = self._model(**inputs)
        targets = [(height, width) for width, height in sizes]
        detections = self._processor.post_process_object_detection(outputs, self._threshold, target_sizes=targets)
        return [self._distinct(of_image, size) for of_image, size in zip(detections, sizes, strict=True)]

    def _distinct(self, detections: dict[str, torch.Tensor], size: tuple[int, int]) -> list[Region]:
        """Drop detections that are too small or repeat one with a higher score.

        detections: scores (R,), labels (R,) and boxes (R, 4), xyxy in pixels of the picture of that size.
        """
        kept: list[Region] = []
        for i in torch.argsort(detections["scores"], descending=True, stable=True).tolist():
            box = Box(*detections["boxes"][i].tolist()).clipped(*size)
            if min(box.x1 - box.x0, box.y1 - box.y0) < _SMALLEST_SIDE:
                continue
            if all(iou(box, region.box) <= _SAME_OBJECT for region in kept):
                kept.append(Region(box, "detector", self._model.config.id2label[int(detections["labels"][i])]))
        return kept[:MOST_OBJECTS]
