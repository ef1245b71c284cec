"""Stage 7: the object detector, a YOLOS (Fang et al. 2021) that starts from the VLM's trained vision tower.

Measured in `docs/experiments.md#detector-and-crowds`.
"""

from dataclasses import dataclass
from pathlib import Path

import engine.core.device  # noqa: F401

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPVisionModel, YolosConfig, YolosForObjectDetection, YolosImageProcessorPil

from engine.storybook.build.drawings import Drawings
from engine.storybook.build.loop import DEVICE, Schedule, to_device, train
from engine.storybook.build.vision import GRID, MEAN, PATCH, STD, WIDTH, augment, load_batch, normalise, to_pixels
from engine.storybook.world import attributes as words
from engine.storybook.world.scenes import Scene, render

LAYERS = 2
QUERIES = 8
KINDS = ("pet", "thing", "person")
_LAYER_NAMES = {
    "layernorm_before": "layer_norm1",
    "layernorm_after": "layer_norm2",
    "attention.attention.query": "self_attn.q_proj",
    "attention.attention.key": "self_attn.k_proj",
    "attention.attention.value": "self_attn.v_proj",
    "attention.output.dense": "self_attn.out_proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}
"""Parts of a layer: YOLOS's names, and those of CLIP's vision tower."""
_KIND_OF_CATEGORY = torch.tensor([KINDS.index(words.kind_of(c)) for c in words.CATEGORIES])


@dataclass(frozen=True)
class DetectorSettings:
    """Settings of the detector's stage: from step `crowds_from` on, a share `crowds` of the batches is crowded."""

    schedule: Schedule
    crowds_from: int
    crowds: float = 0.35


def make_detector(tower: CLIPVisionModel) -> YolosForObjectDetection:
    """Make a YOLOS whose patch embedding and layers are copies of the tower's first ones."""
    torch.manual_seed(0)
    size = PATCH * GRID
    config = YolosConfig(
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=6,
        intermediate_size=4 * WIDTH,
        hidden_act="gelu",
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        image_size=[size, size],
        patch_size=PATCH,
        num_detection_tokens=QUERIES,
        use_mid_position_embeddings=False,
        id2label=dict(enumerate(KINDS)),
        label2id={k: i for i, k in enumerate(KINDS)},
        eos_coefficient=0.2,
    )
    net = YolosForObjectDetection(config)
    net.set_attn_implementation("eager")
    _copy_tower(net, tower)
    return net


def _copy_tower(net: YolosForObjectDetection, tower: CLIPVisionModel) -> None:
    inner = getattr(tower, "vision_model", tower)
    with torch.no_grad():
        embeddings = net.vit.embeddings
        embeddings.patch_embeddings.projection.weight.copy_(inner.embeddings.patch_embedding.weight)
        embeddings.patch_embeddings.projection.bias.zero_()
        embeddings.cls_token.copy_(inner.embeddings.class_embedding.view(1, 1, -1))
        embeddings.detection_tokens.normal_(0, 0.1)
        positions = inner.embeddings.position_embedding.weight  # (65, W)
        embeddings.position_embeddings[0, : len(positions)].copy_(positions)
        embeddings.position_embeddings[0, len(positions) :].normal_(0, 0.1)
    for target, source in zip(net.vit.encoder.layer, inner.encoder.layers, strict=False):
        for yolos_name, clip_name in _LAYER_NAMES.items():
            target.get_submodule(yolos_name).load_state_dict(source.get_submodule(clip_name).state_dict())


def draw_crowd_pictures(folder: Path, scenes: list[Scene]) -> dict[str, np.ndarray]:
    """Draw scenes of four, or load them where they were drawn before.

    Returns images (N, 128, 128, 3) and owners (N, 64, 64) uint8, boxes (N, 4, 4) float32 in 0..1, categories (N, 4)
    int64.
    """
    path = folder / "crowd_pictures.npz"
    if not path.is_file():
        pictures = [render(s) for s in scenes]
        np.savez(
            path,
            images=np.stack([np.asarray(p.image) for p in pictures]),
            owners=np.stack([p.owners for p in pictures]),
            boxes=np.stack([np.array(p.boxes, np.float32) / p.image.width for p in pictures]),
            categories=np.array([[words.CATEGORIES.index(c.who.category) for c in s.characters] for s in scenes]),
        )
    with np.load(path) as arrays:
        return dict(arrays)


@dataclass(frozen=True)
class _Pictures:
    """A batch: images (B, 3, S, S) in 0..1, owners (B, 64, 64), boxes (B, C, 4) in 0..1, categories (B, C)."""

    images: Tensor
    owners: Tensor
    boxes: Tensor
    categories: Tensor


def _load_pictures(rng: np.random.Generator, data: Drawings, batch: int) -> _Pictures:
    drawn = load_batch(data, np.sort(rng.choice(len(data), batch, replace=False)))
    return _Pictures(drawn.images, drawn.owners, drawn.boxes, drawn.labels[:, :, 0].long())


def _load_crowds(rng: np.random.Generator, crowds: dict[str, np.ndarray], batch: int) -> _Pictures:
    rows = np.sort(rng.choice(len(crowds["images"]), min(batch, len(crowds["images"])), replace=False))
    owners, boxes, categories = (torch.from_numpy(crowds[n][rows]) for n in ("owners", "boxes", "categories"))
    return _Pictures(to_pixels(crowds["images"][rows]), owners, boxes, categories)


def train_detector(
    folder: Path,
    tower: CLIPVisionModel,
    data: Drawings,
    crowds: dict[str, np.ndarray],
    settings: DetectorSettings,
    batch: int = 32,
) -> YolosForObjectDetection:
    """Train the detector, or continue from its checkpoint."""
    net = to_device(make_detector(tower)).train()

    def step_losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((7, step))
        crowded = step >= settings.crowds_from and bool(rng.random() < settings.crowds)
        drawn = _load_crowds(rng, crowds, batch) if crowded else _load_pictures(rng, data, batch)
        images, _, boxes = augment(drawn.images, drawn.owners, drawn.boxes, torch.Generator().manual_seed(step))
        targets = [_targets(c, b) for c, b in zip(drawn.categories, boxes, strict=True)]
        targets = [{name: t.to(DEVICE) for name, t in target.items()} for target in targets]
        with torch.autocast(DEVICE.type, torch.bfloat16):
            out = net(pixel_values=normalise(images).to(DEVICE), labels=targets)
        return {"detection": out.loss}

    train("detector", folder, {"net": net}, settings.schedule, step_losses)
    return net.cpu().eval()


def _targets(categories: Tensor, boxes: Tensor) -> dict[str, Tensor]:
    """Make DETR's targets of one picture: class labels, and boxes as (cx, cy, w, h) in 0..1."""
    sides = boxes[:, 2:] - boxes[:, :2]
    visible = (categories >= 0) & (sides > 0.04).all(-1)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    return {
        "class_labels": _KIND_OF_CATEGORY[categories[visible]],
        "boxes": torch.cat([middles, sides], -1)[visible].float(),
    }


def save_detector(net: YolosForObjectDetection, folder: Path) -> None:
    """Write the detector as transformers loads it, in half precision."""
    size = {"height": PATCH * GRID, "width": PATCH * GRID}
    net.half().save_pretrained(folder)
    YolosImageProcessorPil(size=size, do_pad=False, image_mean=list(MEAN), image_std=list(STD)).save_pretrained(folder)
