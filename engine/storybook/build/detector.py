"""Stage 5: the object detector, a YOLOS that starts from the VLM's trained tower."""

from dataclasses import dataclass
from pathlib import Path

import engine.core.device  # noqa: F401

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPVisionModel, YolosConfig, YolosForObjectDetection, YolosImageProcessorPil

from engine.storybook.build.drawings import Drawings
from engine.storybook.build.loop import DEVICE, Schedule, train
from engine.storybook.build.vision import GRID, MEAN, PATCH, STD, WIDTH, augment, load_batch, normalise
from engine.storybook.world import attributes as words
from engine.storybook.world.scenes import Scene, render

LAYERS = 2
QUERIES = 8
KINDS = ("pet", "thing", "person")
_KIND_OF_CATEGORY = torch.tensor([KINDS.index(words.kind_of(c)) for c in words.CATEGORIES])


@dataclass(frozen=True)
class DetectorLesson:
    """Settings of the detector's stage: from a step on, a share of the batches shows scenes of four."""

    schedule: Schedule
    crowds_from: int
    crowds: float = 0.35


def make_detector(tower: CLIPVisionModel) -> YolosForObjectDetection:
    """A YOLOS whose patch embedding and first layers are the tower's."""
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
        known = inner.embeddings.position_embedding.weight
        embeddings.position_embeddings[0, : len(known)].copy_(known)
        embeddings.position_embeddings[0, len(known) :].normal_(0, 0.1)
    for layer, source in zip(net.vit.encoder.layer, inner.encoder.layers, strict=False):
        attention = source.self_attn
        pairs = (
            (layer.layernorm_before, source.layer_norm1),
            (layer.layernorm_after, source.layer_norm2),
            (layer.attention.attention.query, attention.q_proj),
            (layer.attention.attention.key, attention.k_proj),
            (layer.attention.attention.value, attention.v_proj),
            (layer.attention.output.dense, attention.out_proj),
            (layer.intermediate.dense, source.mlp.fc1),
            (layer.output.dense, source.mlp.fc2),
        )
        for target, origin in pairs:
            target.load_state_dict(origin.state_dict())


def draw_crowd_pictures(folder: Path, scenes: list[Scene]) -> dict[str, np.ndarray]:
    """Pictures of scenes of four: images (N, 128, 128, 3) and owners (N, 64, 64) uint8, boxes (N, 4, 4) float32 in
    0..1, categories (N, 4) int64; opened when they are there.
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
    with np.load(path) as kept:
        return dict(kept)


def train_detector(
    folder: Path,
    tower: CLIPVisionModel,
    data: Drawings,
    crowds: dict[str, np.ndarray],
    lesson: DetectorLesson,
    batch: int = 32,
) -> YolosForObjectDetection:
    """Train the detector, or finish training it."""
    net = make_detector(tower).to(DEVICE).train()

    def pictures(rng: np.random.Generator, *, crowded: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if crowded:
            rows = np.sort(rng.choice(len(crowds["images"]), min(batch, len(crowds["images"])), replace=False))
            images = torch.from_numpy(crowds["images"][rows]).permute(0, 3, 1, 2).float() / 255
            return images, *(torch.from_numpy(crowds[n][rows]) for n in ("owners", "boxes", "categories"))  # type: ignore[return-value]
        rows = np.sort(rng.choice(len(data), batch, replace=False))
        images, owners, boxes, labels, _ = load_batch(data, rows)
        return images, owners, boxes, labels[:, :, 0].long()

    def step_losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((7, step))
        crowded = step >= lesson.crowds_from and bool(rng.random() < lesson.crowds)
        images, owners, boxes, categories = pictures(rng, crowded=crowded)
        images, owners, boxes = augment(images, owners, boxes, torch.Generator().manual_seed(step))
        truth = [_targets(c, b) for c, b in zip(categories, boxes, strict=True)]
        truth = [{name: t.to(DEVICE) for name, t in target.items()} for target in truth]
        with torch.autocast(DEVICE.type, torch.bfloat16):
            out = net(pixel_values=normalise(images).to(DEVICE), labels=truth)
        return {"detection": out.loss}

    train("detector", folder, {"net": net}, lesson.schedule, step_losses)
    return net.cpu().eval()


def _targets(categories: Tensor, boxes: Tensor) -> dict[str, Tensor]:
    """DETR's targets: class labels, and boxes as (cx, cy, w, h) in 0..1."""
    sides = boxes[:, 2:] - boxes[:, :2]
    there = (categories >= 0) & (sides > 0.04).all(-1)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    return {
        "class_labels": _KIND_OF_CATEGORY[categories[there]],
        "boxes": torch.cat([middles, sides], -1)[there].float(),
    }


def save_detector(net: YolosForObjectDetection, folder: Path) -> None:
    """Write the detector as transformers loads it, in half precision."""
    size = {"height": PATCH * GRID, "width": PATCH * GRID}
    net.half().save_pretrained(folder)
    YolosImageProcessorPil(size=size, do_pad=False, image_mean=list(MEAN), image_std=list(STD)).save_pretrained(folder)
