"""Object boxes, by any object detector of transformers (RT-DETR, D-FINE, YOLOS, …)."""

from pathlib import Path

import engine.device  # noqa: F401

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForObjectDetection

from engine.boxes import Box, iou
from engine.errors import WeightsMissingError

_SAME_OBJECT = 0.7
"""Detections that overlap more (IoU) are one object; set-prediction models repeat themselves at times."""
MOST_OBJECTS = 24


class ObjectDetector:
    """Class-agnostic use of a detector: where something is, not what."""

    def __init__(self, source: str, threshold: float, device: torch.device) -> None:
        """Load a detector from a folder or from the local hub cache.

        Raises:
            WeightsMissingError: it is not on this disk.
        """
        try:
            self._processor = AutoImageProcessor.from_pretrained(source, local_files_only=True, backend="pil")
            model = AutoModelForObjectDetection.from_pretrained(source, local_files_only=True, dtype=torch.float32)
        except OSError as err:
            raise WeightsMissingError(
                f"the object detector {Path(source).name!r} is not on this disk", hint=f"Fetch {source} first."
            ) from err
        self._model = model.eval().requires_grad_(False).to(device)
        self._threshold, self._device = threshold, device

    @torch.inference_mode()
    def find(self, images: list[Image.Image]) -> list[list[Box]]:
        """Boxes of each image's objects, most certain first, in its own pixels."""
        inputs = self._processor(images, return_tensors="pt").to(self._device)
        outputs = self._model(**inputs)
        sizes = [(i.height, i.width) for i in images]
        found = self._processor.post_process_object_detection(outputs, self._threshold, target_sizes=sizes)
        return [_distinct(f["scores"].tolist(), f["boxes"].tolist(), i) for f, i in zip(found, images, strict=True)]


def _distinct(scores: list[float], boxes: list[list[float]], image: Image.Image) -> list[Box]:
    kept: list[Box] = []
    for _, values in sorted(zip(scores, boxes, strict=True), key=lambda pair: -pair[0]):
        box = Box(*values).clipped(*image.size)
        if box.x1 - box.x0 >= 4 and box.y1 - box.y0 >= 4 and all(iou(box, k) <= _SAME_OBJECT for k in kept):
            kept.append(box)
    return kept[:MOST_OBJECTS]
