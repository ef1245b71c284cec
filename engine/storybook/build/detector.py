"""Stage 5: the object detector, a YOLOS that starts from the VLM's trained tower."""

from pathlib import Path

import engine.device  # noqa: F401

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPVisionModel, YolosConfig, YolosForObjectDetection, YolosImageProcessorPil

from engine.storybook.build.drawings import Drawings
from engine.storybook.build.loop import DEVICE, Schedule, train
from engine.storybook.build.vision import GRID, MEAN, PATCH, STD, WIDTH, augment, load_batch, normalise
from engine.storybook.world import attributes as words

LAYERS = 2
QUERIES = 8
KINDS = ("pet", "thing", "person")
_KIND_OF_CATEGORY = torch.tensor([KINDS.index(words.kind_of(c)) for c in words.CATEGORIES])


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


def train_detector(
    folder: Path, tower: CLIPVisionModel, data: Drawings, schedule: Schedule, batch: int = 32
) -> YolosForObjectDetection:
    """Train the detector, or finish training it."""
    net = make_detector(tower).to(DEVICE).train()

    def step_losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((7, step))
        rows = np.sort(rng.choice(len(data), batch, replace=False))
        images, owners, boxes, labels, _ = load_batch(data, rows)
        images, owners, boxes = augment(images, owners, boxes, torch.Generator().manual_seed(step))
        truth = [_targets(labels[i, :, 0].long(), boxes[i]) for i in range(batch)]
        truth = [{name: t.to(DEVICE) for name, t in target.items()} for target in truth]
        with torch.autocast(DEVICE.type, torch.bfloat16):
            out = net(pixel_values=normalise(images).to(DEVICE), labels=truth)
        return {"detection": out.loss}

    train("detector", folder, {"net": net}, schedule, step_losses)
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
