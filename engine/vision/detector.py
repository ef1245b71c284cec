"""Object boxes, by any object detector of transformers (RT-DETR, D-FINE, YOLOS, …)."""

from pathlib import Path

import engine.core.device  # noqa: F401

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForObjectDetection

from engine.core.boxes import Box, iou
from engine.core.errors import WeightsMissingError, is_out_of_memory
from engine.vision.regions import Region

_SAME_OBJECT = 0.7
"""Detections that overlap more (IoU) are one object; set-prediction models repeat themselves at times."""
MOST_OBJECTS = 24


class ObjectDetector:
    """A detector used for where something is; its class words are no more than a guess at what."""

    def __init__(self, source: str, threshold: float, device: torch.device) -> None:
        """Load a detector from a folder or from the local hub cache.

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
    def find(self, images: list[Image.Image]) -> list[list[Region]]:
        """Each image's objects, most certain first, boxes in its own pixels."""
        inputs = self._processor(images, return_tensors="pt").to(self._device)
        outputs = self._model(**inputs)
        sizes = [(i.height, i.width) for i in images]
        found = self._processor.post_process_object_detection(outputs, self._threshold, target_sizes=sizes)
        return [self._distinct(f, image) for f, image in zip(found, images, strict=True)]

    def _distinct(self, found: dict[str, torch.Tensor], image: Image.Image) -> list[Region]:
        kept: list[Region] = []
        for i in torch.argsort(found["scores"], descending=True, stable=True).tolist():
            box = Box(*found["boxes"][i].tolist()).clipped(*image.size)
            if box.x1 - box.x0 >= 4 and box.y1 - box.y0 >= 4 and all(iou(box, k.box) <= _SAME_OBJECT for k in kept):
                kept.append(Region(box, "detector", self._model.config.id2label[int(found["labels"][i])]))
        return kept[:MOST_OBJECTS]
