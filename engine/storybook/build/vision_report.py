"""Measure how well the tower's tokens tell what is in a scene, on scenes that it was not trained on."""

import engine.core.device  # noqa: F401

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPVisionModel

from engine.storybook.build.drawings import Drawings
from engine.storybook.build.labels import COLUMNS
from engine.storybook.build.vision import Supervision, load_batch, normalise, patch_owners


@torch.inference_mode()
def report_vision(tower: CLIPVisionModel, heads: Supervision, data: Drawings, n: int = 1000) -> dict[str, float]:
    """Measure the accuracy of each attribute, predicted from the mean over a character's patches; box IoU; place."""
    tower.eval()
    right: dict[str, list[float]] = {name: [] for name in (*COLUMNS, "second_category", "place", "box_iou")}
    for start in range(0, n, 100):
        batch = load_batch(data, np.arange(start, min(start + 100, n)))
        out = heads(tower(pixel_values=normalise(batch.images)).last_hidden_state)
        who, _ = patch_owners(batch.owners)
        right["place"] += (out["place"][:, 1:].mean(1).argmax(-1) == batch.places).float().tolist()
        for i in range(3):
            mine = (who == i).float()
            visible = mine.sum(1) > 0
            mean = mine[visible] / mine[visible].sum(1, keepdim=True)  # (N, 64)
            logits = torch.einsum("bp,bpd->bd", mean, out["attributes"][visible]).split(heads.sizes, -1)
            for name, values, truth in zip(COLUMNS, logits, batch.labels[visible][:, i].long().unbind(1), strict=True):
                hits = (values.argmax(-1) == truth)[truth >= 0].float().tolist()
                right[name] += hits
                if name == "category" and i > 0:
                    right["second_category"] += hits
            boxes = torch.einsum("bp,bpd->bd", mean, out["box"][visible])  # (N, 4)
            right["box_iou"] += _iou(boxes, batch.boxes[visible][:, i]).tolist()
    return {name: round(float(np.mean(values)), 4) for name, values in right.items()}


def _iou(a: Tensor, b: Tensor) -> Tensor:
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    areas = [(v[:, 2:] - v[:, :2]).clamp(min=0).prod(-1) for v in (a, b)]
    return shared / (areas[0] + areas[1] - shared).clamp(min=1e-9)
